//! Many writers of every kind at once: whatever they do to each other, the keep agrees with itself.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::{Arc, Mutex, PoisonError};

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_core::run::RunShape;
use membrane_core::session::SessionPatch;
use membrane_core::state::Action;
use membrane_core::turn::{Signal, SignalKind};

use super::fixture::{Fixture, LONG_LEASE, append, create_root, is_full};
use crate::{Change, Requirement, Store, StoreError, Write};

/// A small generator of its own, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX constants; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The sessions that are thought to live.
#[derive(Debug, Clone, Default)]
struct Known(Arc<Mutex<Vec<SessionId>>>);

impl Known {
    fn add(&self, id: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn any(&self, dice: &mut Dice) -> Option<SessionId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = dice.roll(u64::try_from(known.len()).unwrap().max(1));
        known.get(usize::try_from(index).unwrap()).cloned()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn forget(&self, id: &SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != id);
    }
}

/// Decides one random operation on what it reads; `None` when there is nothing to do it to.
async fn decide(
    f: &Fixture,
    known: &Known,
    dice: &mut Dice,
) -> Result<Option<(Change, Option<SessionId>)>, StoreError> {
    let Some(id) = known.any(dice) else {
        let id = f.session_id();
        return Ok(Some((f.change().write(create_root(&id)), Some(id))));
    };
    let Some(session) = f.store.find_session(&id).await? else {
        known.forget(&id);
        return Ok(None);
    };
    let some = dice.roll(session.cut.turn_count + 1);
    let to = Cut { turn_count: some, ..session.cut };
    let sees = Requirement::Sees { session: id.clone(), cut: session.cut };
    let allows = |action| Requirement::Allows { session: id.clone(), action };
    // Few sessions, so that writers meet.
    let (change, new) = match if known.len() > 30 { 19 } else { dice.roll(20) } {
        0..=5 => {
            let turns = f.turns(dice.roll(3) + 1);
            (f.change().require(allows(Action::Send)).write(append(&id, turns)), None)
        }
        6..=8 => {
            let (new, change) = f.fork_of(&session, some);
            (change, Some(new))
        }
        9..=10 => {
            (f.move_to(&id, to, CheckpointKind::Rewind).1.require(sees).require(allows(Action::Rewind)), None)
        }
        11 => {
            let checkpoints = f.store.list_checkpoints(&id).await?;
            let index = dice.roll(u64::try_from(checkpoints.len()).unwrap().max(1));
            let Some(checkpoint) = checkpoints.get(usize::try_from(index).unwrap()) else { return Ok(None) };
            (f.restore_of(checkpoint), None)
        }
        12 => {
            let create = Write::CreateCheckpoint {
                id: CheckpointId::generate(&*f.ids),
                session: id.clone(),
                name: None,
                cut: session.cut,
            };
            (f.change().require(sees).write(create), None)
        }
        13 => {
            let checkpoints = f.store.list_checkpoints(&id).await?;
            let Some(checkpoint) = checkpoints.last() else { return Ok(None) };
            let delete = Write::DeleteCheckpoint { session: id.clone(), id: checkpoint.id.clone() };
            (f.change().write(delete), None)
        }
        14 => {
            let Some(other) = known.any(dice).filter(|other| *other != id) else { return Ok(None) };
            let Some(other) = f.store.find_session(&other).await? else { return Ok(None) };
            let (new, change) = f.merge_of(&session, &other).await?;
            (change, Some(new))
        }
        15..=16 => {
            let Some(history) = f.store.find_history(session.cut.history).await? else { return Ok(None) };
            let Some(at) = some.checked_sub(1).and_then(|number| history.locate(number)) else {
                return Ok(None);
            };
            let kind = [SignalKind::Positive, SignalKind::Negative, SignalKind::Correction]
                [usize::try_from(dice.roll(3)).unwrap()];
            let signal = Signal { kind, comment: None, created_at: f.now() };
            (f.change().write(Write::AddSignal { at, signal }), None)
        }
        17 => match f.store.find_run(&id).await? {
            None => (f.change().write(Write::BeginRun { run: f.run(&id, "?"), lease_for: LONG_LEASE }), None),
            Some(run) => {
                let lease = Requirement::Lease { run: run.id.clone(), token: run.lease.token };
                let turn = Box::new(f.turn("answer"));
                (
                    f.change().require(lease).write(Write::FinishRun {
                        run: run.id,
                        turn,
                        shape: RunShape::default(),
                    }),
                    None,
                )
            }
        },
        18 => {
            let patch = SessionPatch { pinned: Some(some.is_multiple_of(2)), ..SessionPatch::default() };
            let version = Requirement::Version { session: id.clone(), version: session.version };
            (f.change().require(version).write(Write::PatchSession { session: id, patch }), None)
        }
        _ => (f.change().write(Write::DeleteSession { session: id }), None),
    };
    Ok(Some((change, new)))
}

/// What may happen to a decision that others overtook.
fn is_overtaken(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. }
            | StoreError::Conflict { .. }
            | StoreError::Changed { .. }
            | StoreError::Busy { .. }
            | StoreError::Refused(_)
            | StoreError::LeaseLost { .. }
            | StoreError::Gap { .. }
    )
}

pub async fn many_writers_of_every_kind_leave_a_keep_that_agrees_with_itself(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let known = Known::default();
    for _ in 0..4 {
        known.add(f.session(4).await);
    }
    let steps = if is_full() { 1_000 } else { 80 };
    let tasks: Vec<_> = (0..8_u64)
        .map(|writer| {
            let (f, known, mut dice) = (f.clone(), known.clone(), Dice(writer));
            tokio::spawn(async move {
                let mut done = 0_u64;
                for _ in 0..steps {
                    let decided = match decide(&f, &known, &mut dice).await {
                        Ok(Some(decided)) => decided,
                        Ok(None) => continue,
                        Err(error) if is_overtaken(&error) => continue,
                        Err(error) => panic!("{error:?}"),
                    };
                    let (change, new) = decided;
                    match f.store.commit(change).await {
                        Ok(_) => {
                            done += 1;
                            if let Some(id) = new {
                                known.add(id);
                            }
                        }
                        Err(error) => assert!(is_overtaken(&error), "{error:?}"),
                    }
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert!(done > steps, "most of what was decided was done: {done} of {}", 8 * steps);
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
    f.snapshot().await;
}
