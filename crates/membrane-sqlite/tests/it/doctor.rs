//! What the doctor says of a file, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use membrane_core::time::Timestamp;
use membrane_sqlite::doctor::{Check, Examination, Question, SessionTrace, Status, examine, trace_session};
use membrane_store::conformance::fixture::LONG_LEASE;

use crate::keep::Keep;

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T00:00:00Z").unwrap()
}

/// Examines deeply, and sees to it that no byte of the folder changes.
#[track_caller]
fn examined(keep: &Keep) -> Examination {
    let before = keep.files();
    let question = Question { path: &keep.path(), deep: true, session: Some("nobody"), now: now() };
    let found = examine(&question);
    let after = keep.files();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after, "the bytes changed");
    for check in &found.checks {
        assert_eq!(
            check.status == Status::Problem,
            check.status == Status::Problem && check.remedy.is_some(),
            "{check:?}"
        );
        assert!(!check.found.is_empty() && !check.found.contains('\n'), "{check:?}");
    }
    found
}

#[track_caller]
fn problem(found: &Examination, name: &str, words: &[&str]) {
    let has = |check: &&Check| check.name == name && check.status == Status::Problem;
    let check = found.checks.iter().find(has).unwrap_or_else(|| panic!("no problem with {name}: {found:#?}"));
    let text = format!("{} {}", check.found, check.remedy.as_deref().unwrap());
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {check:?}");
}

#[track_caller]
fn no_problem(found: &Examination) {
    let problems: Vec<_> = found.checks.iter().filter(|check| check.status == Status::Problem).collect();
    assert!(problems.is_empty() && !found.is_locked, "{problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_in_order_has_no_problem_whether_it_is_closed_open_or_was_left_by_a_crash() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(3).await;
    let session = f.session(1).await;
    f.begin(&session, LONG_LEASE).await;
    // The index of a log that is in use is shared memory: readers leave marks in it. Nothing else changes.
    let without_index = |keep: &Keep| -> BTreeMap<String, Vec<u8>> {
        keep.files().into_iter().filter(|(name, _)| !name.ends_with("-shm")).collect()
    };
    let before = without_index(&keep);
    no_problem(&examine(&Question { path: &keep.path(), deep: true, session: None, now: now() }));
    assert!(before == without_index(&keep));
    let crashed = Keep::new();
    for (name, bytes) in before {
        fs::write(crashed.folder().join(name), bytes).unwrap();
    }
    assert!(crashed.log_bytes() > 4096, "the test needs a log with content");
    let found = examined(&crashed);
    no_problem(&found);
    assert!(found.checks.iter().any(|check| check.found.contains("sessions: 2, turns: 4")), "{found:#?}");
    // And with an index that a crash left behind.
    fs::write(crashed.folder().join("keep.db-shm"), keep.files()["keep.db-shm"].clone()).unwrap();
    no_problem(&examined(&crashed));
    f.store.close().await.unwrap();
    no_problem(&examined(&keep));
}

#[test]
fn what_is_not_there_is_not_made() {
    let keep = Keep::new();
    problem(&examined(&keep), "file", &["not initialised", "there is no file", "membrane migrate"]);
    let folder = keep.folder().join("no").join("where").join("keep.db");
    let found = examine(&Question { path: &folder, deep: true, session: None, now: now() });
    problem(&found, "file", &["not initialised", "there is no folder"]);
    assert_eq!(keep.files().len(), 0);
    fs::write(keep.path(), "").unwrap();
    problem(&examined(&keep), "file", &["is empty", "membrane migrate"]);
    fs::write(keep.path(), "somebody's work").unwrap();
    problem(&examined(&keep), "file", &["no SQLite database", "somebody's work"]);
    let found = examine(&Question { path: keep.folder(), deep: false, session: None, now: now() });
    problem(&found, "file", &["is a folder"]);
}

#[test]
fn other_schemas_are_told_apart() {
    for (sql, status, words) in [
        (
            "CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB, created_at REAL, causal_parent TEXT, metadata TEXT)",
            Status::Problem,
            &["Universe", "import kgents"][..],
        ),
        (
            "CREATE TABLE chat_sessions (id TEXT); CREATE TABLE chat_turns (id INTEGER)",
            Status::Note,
            &["first layout", "membrane migrate"],
        ),
        ("CREATE TABLE things (id TEXT)", Status::Problem, &["things", "another make"]),
    ] {
        for mode in ["WAL", "DELETE"] {
            let keep = Keep::new();
            keep.plain().execute_batch(&format!("PRAGMA journal_mode = {mode}; {sql}")).unwrap();
            let found = examined(&keep);
            let check = found.checks.iter().find(|check| check.name == "schema").unwrap();
            let text = format!("{} {:?}", check.found, check.remedy);
            assert!(
                check.status == status && words.iter().all(|word| text.contains(word)),
                "{mode}: {check:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_what_to_type() {
    for (sql, name, words) in [
        ("DROP VIEW chat_turns", "tables", &["chat_turns", "check --repair"][..]),
        ("DROP INDEX slices_segment_idx", "tables", &["slices_segment_idx", "check --repair"]),
        (
            "PRAGMA foreign_keys = OFF; DROP TABLE turn_signals",
            "tables",
            &["turn_signals", "membrane restore"],
        ),
        ("UPDATE chat_sessions SET sum_chars = 0", "keep", &["totals", "check --repair"]),
        (
            "UPDATE schema_version SET checksum = 'other' WHERE version = 1001",
            "schema",
            &["other", "never released"],
        ),
        (
            "INSERT INTO schema_version (version, checksum) VALUES (9000, 'x')",
            "schema",
            &["9000", "newer membrane"],
        ),
    ] {
        let keep = Keep::new();
        let f = keep.open().await;
        f.session(2).await;
        f.store.close().await.unwrap();
        keep.plain().execute_batch(sql).unwrap();
        problem(&examined(&keep), name, words);
    }
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(200).await;
    f.store.close().await.unwrap();
    let mut bytes = fs::read(keep.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x5a);
    fs::write(keep.path(), bytes).unwrap();
    problem(&examined(&keep), "pages", &["damaged", "membrane restore"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_is_told_and_what_can_be_looked_at_is() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(2).await;
    f.store.close().await.unwrap();
    let other = keep.plain();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let found = examine(&Question { path: &keep.path(), deep: false, session: None, now: now() });
    assert!(found.is_locked, "{found:#?}");
    assert!(found.checks.iter().any(|check| check.name == "sessions"), "reading goes on: {found:#?}");
    other.execute_batch("ROLLBACK").unwrap();
    let found = examine(&Question { path: &keep.path(), deep: false, session: None, now: now() });
    assert!(!found.is_locked, "{found:#?}");
    drop(other);
    let plain = Keep::new();
    let other = plain.plain();
    other.execute_batch("CREATE TABLE things (id TEXT); BEGIN EXCLUSIVE").unwrap();
    let found = examine(&Question { path: &plain.path(), deep: false, session: None, now: now() });
    assert!(found.is_locked, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_journal_is_told_and_stays() {
    let keep = Keep::new();
    let plain = keep.plain();
    plain.execute_batch("CREATE TABLE things (id TEXT); INSERT INTO things VALUES ('a')").unwrap();
    plain.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE things SET id = 'b'").unwrap();
    let crashed = Keep::new();
    for (name, bytes) in keep.files() {
        fs::write(crashed.folder().join(name), bytes).unwrap();
    }
    let journal = crashed.folder().join("keep.db-journal");
    let mut bytes = fs::read(&journal).unwrap();
    // The count of its pages is written when it is synced: a crash after that leaves this.
    bytes[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(&journal, bytes).unwrap();
    problem(&examined(&crashed), "journal", &["cut off", "never delete it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_found_wherever_it_is() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(2).await;
    let fork = f.fork(&id, 1).await;
    f.delete(&fork).await;
    f.store.close().await.unwrap();
    let before = keep.files();
    let trace = |id: &str| trace_session(&keep.path(), id);
    assert_eq!(trace(id.as_str()), SessionTrace::Here(2));
    assert!(matches!(trace(fork.as_str()), SessionTrace::Deleted(_)));
    let odd = format!(" {}\t", id.as_str().to_uppercase());
    assert_eq!(trace(&odd), SessionTrace::Similar(vec![id.to_string()]));
    assert_eq!(trace("session-x"), SessionTrace::Unknown);
    assert_eq!(trace_session(Path::new("/nowhere/keep.db"), "x"), SessionTrace::NoDatabase);
    assert!(before == keep.files());
    let universe = Keep::new();
    universe
        .plain()
        .execute_batch(
            "CREATE TABLE data (id TEXT, content BLOB, created_at REAL, causal_parent TEXT, metadata TEXT);
             INSERT INTO data VALUES ('1', CAST('{\"session_id\": \"session-x\"}' AS BLOB), 1, NULL, '{}'), ('2', x'ff', 1, NULL, '')",
        )
        .unwrap();
    assert_eq!(trace_session(&universe.path(), "session-x"), SessionTrace::InUniverse);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_and_files_that_are_left_over_are_noted() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(1).await;
    f.store.close().await.unwrap();
    for name in ["keep.db-instance-dead.lock", "keep.db.before-repair-1"] {
        fs::write(keep.folder().join(name), "").unwrap();
    }
    fs::create_dir(keep.folder().join("beside")).unwrap();
    let past = Timestamp::parse("2020-01-01T00:00:00Z").unwrap();
    let found = examine(&Question { path: &keep.path(), deep: false, session: None, now: past });
    no_problem(&found);
    for (name, word) in [
        ("clock", "is or was wrong"),
        ("instances", "keep.db-instance-dead.lock"),
        ("left over", "before-repair-1"),
    ] {
        let noted =
            |check: &&Check| check.name == name && check.status == Status::Note && check.found.contains(word);
        assert!(found.checks.iter().any(|check| noted(&check)), "{name}: {found:#?}");
    }
    assert!(keep.folder().join("keep.db-instance-dead.lock").exists());
}
