//! A keep in which everything has happened: forks of forks, merges, rewinds, restores, signals, tools, interrupted
//! turns, deletions, checkpoints, runs, crystals, keys, old observations. Random, and the same for the same seed.

use std::collections::BTreeMap;

use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::run::{Piece, Run};
use membrane_core::session::NewSession;
use membrane_core::turn::{SignalKind, TurnStatus};
use membrane_store::change::Origin;
use membrane_store::conformance::fixture::{Fixture, LONG_LEASE, append, create_root, text_pieces};
use membrane_store::{Thread, Write};

use crate::keep::Keep;

/// A small generator of its own, so that a run can be repeated.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides.max(1)
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.roll(u64::try_from(among.len()).unwrap())).unwrap()]
    }
}

/// What a keep shows of a session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub(super) thread: Thread,
    checkpoints: Vec<Checkpoint>,
    crystal: Option<Crystal>,
    run: Option<Run>,
    pieces: Vec<Piece>,
    family: Vec<BranchNode>,
}

/// Everything that a keep shows.
pub(super) async fn shown(f: &Fixture) -> BTreeMap<String, Shown> {
    let page = f.store.list_sessions(&SessionFilter::default(), &PageRequest::first(1000)).await.unwrap();
    let mut all = BTreeMap::new();
    for session in page.sessions {
        let run = f.store.find_run(&session.id).await.unwrap();
        let pieces = match &run {
            Some(run) => f.store.list_pieces(&run.id, 0).await.unwrap(),
            None => Vec::new(),
        };
        let mut family = f.store.list_family(&session.family).await.unwrap();
        family.sort_by(|a, b| a.id().cmp(b.id()));
        let shown = Shown {
            thread: f.thread(&session.id).await,
            checkpoints: f.store.list_checkpoints(&session.id).await.unwrap(),
            crystal: f.store.find_crystal(&session.id).await.unwrap(),
            run,
            pieces,
            family,
        };
        all.insert(session.id.to_string(), shown);
    }
    all
}

/// Fills a keep and closes it.
pub(super) async fn fill(keep: &Keep, seed: u64) -> BTreeMap<String, Shown> {
    let f = keep.open().await;
    let mut dice = Dice::new(seed);
    let mut known = Vec::new();
    for _ in 0..3 {
        known.push(f.session(2).await);
    }
    // Nothing is left to luck that a kind of damage needs.
    let old = f.session_id();
    let legacy = vec![LegacySet { origin: old.clone(), alpha: 3.5, beta: 1.25 }];
    let create = Write::CreateSession {
        session: NewSession::root(old.clone()),
        origin: Origin::Empty { legacy },
        created_at: None,
    };
    f.write(create).await;
    f.append(&old, 3).await;
    f.signal(&old, 1, SignalKind::Negative).await;
    let fork = f.fork(&old, 2).await;
    f.append(&fork, 2).await;
    let fork_of_fork = f.fork(&fork, 3).await;
    let rewound = f.rewind(&old, 1).await;
    f.name_place(&fork, "here").await;
    known.extend([old.clone(), fork.clone(), fork_of_fork]);
    known.push(f.merge(&known[0], &fork).await);
    f.restore(&old, &rewound).await;
    f.rewind(&known[1], 0).await;
    let keyed = f.session_id();
    let key = f.key(None, "create", keyed.as_str());
    f.commit(f.change().once(Some(key)).write(create_root(&keyed))).await;
    let key = f.key(Some(&keyed), "send", "x");
    let turns = f.turns(2);
    f.commit(f.change().once(Some(key)).write(append(&keyed, turns))).await;
    let doomed = f.fork(&fork, 4).await;
    f.append(&doomed, 1).await;
    let child = f.fork(&doomed, 4).await;
    f.delete(&doomed).await;
    known.push(child);
    crystallize(&f, &fork).await;
    for _ in 0..30 {
        step(&f, &mut known, &mut dice).await;
    }
    // A segment that its owner has turned away from, a named checkpoint and a turned turn, whatever was deleted.
    let turned = f.session(2).await;
    f.name_place(&turned, "before").await;
    f.rewind(&turned, 1).await;
    let signalled = f.session(1).await;
    f.signal(&signalled, 0, SignalKind::Negative).await;
    let busy = f.session(1).await;
    let run = f.begin(&busy, LONG_LEASE).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(0, &["half", " an answer"]) })
        .await;
    let waiting = f.session(1).await;
    let run = f.begin(&waiting, LONG_LEASE).await;
    f.write(Write::SuspendRun { run: run.id }).await;
    let all = shown(&f).await;
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
    f.store.close().await.unwrap();
    all
}

async fn crystallize(f: &Fixture, session: &SessionId) {
    f.write(Write::SaveCrystal(Crystal {
        session: session.clone(),
        title: "t".to_owned(),
        summary: "s".to_owned(),
        key_decisions: vec!["d".to_owned()],
        artifacts: Vec::new(),
        final_evidence: Json::empty_object(),
        final_turn_count: 4,
        created_at: f.now(),
    }))
    .await;
}

/// One random operation.
async fn step(f: &Fixture, known: &mut Vec<SessionId>, dice: &mut Dice) {
    let id = dice.pick(known).clone();
    let session = f.get(&id).await;
    let count = session.turn_count();
    match dice.roll(12) {
        0 => {
            f.append(&id, 1 + dice.roll(3)).await;
        }
        1..=3 => {
            let mut turn = match dice.roll(3) {
                0 => f.turn("ünïcode ```code```\0🙂"),
                1 => f.tool_turn("tools", true),
                _ => f.tool_turn("tools that fail", false),
            };
            if dice.roll(4) == 0 {
                turn.status = TurnStatus::Interrupted;
            }
            // Its place in an old total is of no matter here.
            turn.is_legacy = turn.status == TurnStatus::Complete && dice.roll(4) == 0;
            turn.model = (dice.roll(2) == 0).then(|| "m".to_owned());
            f.write(append(&id, vec![turn])).await;
        }
        4 | 5 => known.push(f.fork(&id, dice.roll(count + 1)).await),
        6 if count > 0 => {
            f.rewind(&id, dice.roll(count)).await;
        }
        7 => {
            let other = dice.pick(known).clone();
            if other != id {
                known.push(f.merge(&id, &other).await);
            }
        }
        8 | 9 if count > 0 => {
            let kinds = [SignalKind::Positive, SignalKind::Negative, SignalKind::Correction];
            f.signal(&id, dice.roll(count), *dice.pick(&kinds)).await;
        }
        10 => {
            f.name_place(&id, "a place").await;
        }
        11 if known.len() > 6 => {
            f.delete(&id).await;
            known.retain(|other| *other != id);
        }
        _ => {}
    }
}
