//! What is derived comes back, whatever was done to it.

use std::fs;

use membrane_core::time::Timestamp;
use membrane_sqlite::check::check_file;
use membrane_sqlite::repair::{RepairError, RepairOptions, Repaired, repair_file};
use membrane_store::conformance::fixture::is_full;

use super::damage::{REPAIRABLE, damage};
use super::world::{Dice, fill, shown};
use crate::keep::Keep;

/// At the beginning of 1970.
pub(super) fn options(prune: bool) -> RepairOptions {
    RepairOptions { prune, now: Timestamp::from_micros(0) }
}

pub(super) fn repair(keep: &Keep) -> Repaired {
    repair_file(&keep.path(), options(false)).unwrap()
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the seed of the test command; no configuration")]
    let seed = std::env::var("MEMBRANE_TEST_SEED");
    seed.map_or(20_260_101, |text| text.parse().unwrap())
}

/// A keep with the content of another.
fn copy(keep: &Keep) -> Keep {
    let copy = Keep::new();
    fs::copy(keep.path(), copy.path()).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_found_and_repaired_and_every_session_is_as_it_was() {
    let worlds = if is_full() { 40 } else { 2 };
    for world in 0..worlds {
        let seed = seed().wrapping_add(world);
        let keep = Keep::new();
        let before = fill(&keep, seed).await;
        let name = keep.open().await.store.keep_name().await.unwrap();
        let mut dice = Dice::new(seed);
        for kind in REPAIRABLE {
            let broken = copy(&keep);
            damage(&broken.plain(), kind, &mut dice);
            let (report, _) = check_file(&broken.path()).unwrap();
            assert!(!report.is_clean(), "seed {seed}: {} is not found", kind.0);
            let repaired = repair(&broken);
            assert_eq!(
                repaired.after.lines(),
                Vec::<String>::new(),
                "seed {seed}: {}: {repaired:#?}",
                kind.0
            );
            assert!(
                !repaired.done.is_empty() && repaired.lost.is_empty(),
                "seed {seed}: {}: {repaired:#?}",
                kind.0
            );
            let copy = repaired.copy.expect("a copy is made first");
            assert!(copy.is_file(), "{}", copy.display());
            let f = broken.open().await;
            assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new(), "seed {seed}: {}", kind.0);
            assert_ne!(
                f.store.keep_name().await.unwrap(),
                name,
                "what was read before may not be so any more"
            );
            let after = shown(&f).await;
            for (id, there) in &before {
                assert_eq!(
                    after.get(id),
                    Some(there),
                    "seed {seed}: {}: session {id}: {:?}",
                    kind.0,
                    repaired.done
                );
            }
            assert_eq!(after.len(), before.len());
            // And it goes on.
            for id in before
                .values()
                .filter(|shown| shown.thread.session.state == membrane_core::state::State::Idle)
            {
                f.append(&id.thread.session.id, 1).await;
            }
            assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new(), "seed {seed}: {}", kind.0);
            f.store.close().await.unwrap();
        }
        println!("campaign: law=each_damage_is_repaired store=sqlite cases={} seed={seed}", REPAIRABLE.len());
    }
}

/// What tells a session's number of turns: of these, only one at a time is damaged.
const TELLING: [&str; 12] = [
    "number of turns",
    "context size",
    "successes",
    "failures",
    "tool calls",
    "characters",
    "code blocks",
    "place in time",
    "evidence",
    "head",
    "seal",
    "owner",
];

/// Kinds of which one excludes the others.
const TOGETHER: [&[&str]; 5] = [
    &["turn's place in time", "facts", "observes", "running totals"],
    &["that nothing points at", "that nothing reads"],
    &["turned a turn", "turned turn", "no signal turned"],
    &["index"],
    &["the view", "trigger"],
];

#[tokio::test(flavor = "multi_thread")]
async fn several_kinds_at_once_are_repaired() {
    let cases = if is_full() { 1000 } else { 25 };
    let seed = seed();
    let keep = Keep::new();
    let before = fill(&keep, seed).await;
    let mut dice = Dice::new(seed ^ 0x5eed);
    for case in 0..cases {
        let broken = copy(&keep);
        let mut told = false;
        let mut names = Vec::new();
        let conn = broken.plain();
        for _ in 0..2 + dice.roll(6) {
            let index = dice.roll(u64::try_from(REPAIRABLE.len()).unwrap());
            let kind = &REPAIRABLE[usize::try_from(index).unwrap()];
            let tells = TELLING.iter().any(|word| kind.0.contains(word));
            // What is told twice or thrice is damaged once; the same row is not made twice.
            let clashes = names.contains(&kind.0)
                || TOGETHER.iter().any(|words| {
                    let has = |name: &str| words.iter().any(|word| name.contains(word));
                    has(kind.0) && names.iter().any(|name: &&str| has(name))
                });
            if clashes || tells && told {
                continue;
            }
            told |= tells;
            damage(&conn, kind, &mut dice);
            names.push(kind.0);
        }
        drop(conn);
        let repaired = repair(&broken);
        assert!(repaired.after.is_clean(), "seed {seed}, case {case}: {names:?}: {repaired:#?}");
        let f = broken.open().await;
        let after = shown(&f).await;
        for (id, there) in &before {
            assert_eq!(
                after.get(id),
                Some(there),
                "seed {seed}, case {case}: {names:?}: {id}: {:?}",
                repaired.done
            );
        }
        assert_eq!(
            f.store.check().await.unwrap(),
            Vec::<String>::new(),
            "seed {seed}, case {case}: {names:?}"
        );
        f.store.close().await.unwrap();
    }
    println!("campaign: law=damages_are_repaired_together store=sqlite cases={cases} seed={seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_in_order_stays_as_it_is_byte_for_byte() {
    let keep = Keep::new();
    fill(&keep, 1).await;
    let before = keep.files();
    let repaired = repair(&keep);
    assert!(
        repaired.before.is_clean() && repaired.copy.is_none() && repaired.done.is_empty(),
        "{repaired:?}"
    );
    assert!(before == keep.files(), "{:?} became {:?}", before.keys(), keep.files().keys());
    let (report, stats) = check_file(&keep.path()).unwrap();
    assert!(report.is_clean() && stats.unwrap().sessions > 0);
    assert!(before == keep.files(), "checking changed something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_content_stays_too_where_nothing_is_to_be_done() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(3).await;
    // A copy made while it is open is what a crash leaves behind.
    let crashed = Keep::new();
    for (name, bytes) in keep.files().into_iter().filter(|(name, _)| !name.ends_with("-shm")) {
        fs::write(crashed.folder().join(name), bytes).unwrap();
    }
    let before = crashed.files();
    assert!(before["keep.db-wal"].len() > 4096, "the test needs a log with content");
    assert!(repair(&crashed).before.is_clean());
    assert!(before == crashed.files(), "{:?} became {:?}", before.keys(), crashed.files().keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_in_use_is_not_touched() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(2).await;
    keep.plain().execute("UPDATE chat_sessions SET sum_chars = 5", []).unwrap();
    let refused = repair_file(&keep.path(), options(false));
    assert!(matches!(&refused, Err(RepairError::InUse { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("in use by another process"));
    f.append(&id, 1).await;
    f.store.close().await.unwrap();
    assert!(repair(&keep).after.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_holds_what_there_was_before() {
    let keep = Keep::new();
    fill(&keep, 2).await;
    keep.plain().execute("UPDATE chat_sessions SET sum_chars = 5", []).unwrap();
    let (found, _) = check_file(&keep.path()).unwrap();
    let copy = repair(&keep).copy.unwrap();
    let name = copy.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name, "keep.db.before-repair-19700101T000000Z");
    assert_eq!(check_file(&copy).unwrap().0, found);
    keep.plain().execute("UPDATE chat_sessions SET sum_chars = 6", []).unwrap();
    let second = repair(&keep).copy.unwrap();
    assert!(second.to_str().unwrap().ends_with("Z-2"), "{}", second.display());
}
