//! Checkpoints, rewinds and restores: each gives back what was, and each can be undone.
//!
//! What they do to evidence alone is in [`super::evidence`].

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::error::DomainError;
use proptest::prelude::*;

use super::campaign::{Case, Verdict, holds, holds_along};
use super::ops::{Draft, Mood, Op, up_to};
use super::played::Played;
use super::world::{Thread, World};

/// A checkpoint of every session, with what it showed when it was left.
fn leave_everywhere(played: &mut Played) -> Vec<(usize, usize, Thread)> {
    (0..played.world.len())
        .map(|session| {
            let checkpoint = played.checkpoint(session);
            (session, checkpoint, played.world.thread(played.world.cut(session)))
        })
        .collect()
}

/// The operations before and after the moment that the case picks.
fn split(case: &Case) -> (&[Op], &[Op]) {
    case.ops.split_at(usize::from(case.picks[0]) % (case.ops.len() + 1))
}

#[test]
fn restoring_a_checkpoint_gives_the_session_back_whatever_happened_since() {
    holds_along("restore_of_a_checkpoint_is_the_session", |case| {
        let (before, since) = split(case);
        let mut played = Played::after(before)?;
        let left = leave_everywhere(&mut played);
        for op in since {
            // The law is for a fixed set of signals; the next one is for any.
            if !matches!(op, Op::Signal { .. }) {
                played.play(op)?;
            }
        }
        for (session, checkpoint, thread) in left {
            played.world.restore(session, checkpoint);
            shows(&played.world, session, &thread)?;
        }
        Ok(played.facts)
    });
}

#[test]
fn restoring_after_signals_gives_the_turns_back_and_derives_the_evidence_afresh() {
    holds_along("restore_derives_evidence_afresh", |case| {
        let (before, since) = split(case);
        let mut played = Played::after(before)?;
        let left = leave_everywhere(&mut played);
        for op in since {
            played.play(op)?;
        }
        for (session, checkpoint, thread) in left {
            played.world.restore(session, checkpoint);
            let cut = played.world.cut(session);
            prop_assert_eq!(&played.world.thread(cut).turns, &thread.turns);
            let list = &played.plain.checkpoints[session][checkpoint];
            let counted = played.plain.evidence(list);
            prop_assert!(played.world.session(session).evidence().is_equivalent(&counted));
        }
        Ok(played.facts)
    });
}

#[test]
fn rewinding_by_the_turns_just_added_gives_back_what_was_before() {
    holds("rewind_of_added_turns_is_the_session", |played, case| {
        for session in 0..played.world.len() {
            let before = played.world.thread(played.world.cut(session));
            for draft in &case.drafts {
                played.world.append(session, draft);
            }
            played.world.signal(session, last(&played.world, session), Mood::Correction).unwrap();
            let added = u64::try_from(case.drafts.len()).unwrap();
            played.world.rewind(session, added).unwrap();
            shows(&played.world, session, &before)?;
        }
        Ok(())
    });
}

#[test]
fn a_rewind_and_its_undoing_can_both_be_undone() {
    holds("undo_of_a_rewind_is_the_session", |played, case| {
        for session in 0..played.world.len() {
            let before = played.world.thread(played.world.cut(session));
            let turns = up_to(case.picks[1], played.world.cut(session).turn_count);
            can_be_undone(&mut played.world, session, turns, &[])?;
            shows(&played.world, session, &before)?;
            // The same when another answer was tried in between.
            can_be_undone(&mut played.world, session, turns, &case.drafts)?;
            shows(&played.world, session, &before)?;
        }
        Ok(())
    });
}

#[test]
fn what_lies_beyond_the_end_is_refused_and_changes_nothing() {
    holds("nothing_is_clamped", |played, case| {
        let beyond = i64::from(case.picks[2]);
        for session in 0..played.world.len() {
            let before = played.world.thread(played.world.cut(session));
            let turn_count = played.world.cut(session).turn_count;
            let end = i64::try_from(turn_count).unwrap();
            for fork_point in [-1 - beyond, end + 1 + beyond] {
                let refused = DomainError::ForkPointBeyondEnd { fork_point, turn_count };
                prop_assert_eq!(played.world.fork(session, Some(fork_point)), Err(refused));
            }
            let turns = turn_count + 1 + u64::from(case.picks[2]);
            let refused = DomainError::RewindTooFar { turns, turn_count };
            prop_assert_eq!(played.world.rewind(session, turns), Err(refused));
            for turn_number in [-1 - beyond, end + beyond] {
                let id = played.world.session(session).id;
                let refused = DomainError::NoSuchTurn { session: id, turn_number, turn_count };
                prop_assert_eq!(played.world.signal(session, turn_number, Mood::Negative), Err(refused));
            }
            shows(&played.world, session, &before)?;
        }
        Ok(())
    });
}

/// Rewinds, appends, goes back by the checkpoint that the rewind left, and there and back once more.
fn can_be_undone(world: &mut World, session: usize, turns: u64, drafts: &[Draft]) -> Verdict {
    let before = world.thread(world.cut(session));
    let of_rewind = world.rewind(session, turns).unwrap();
    prop_assert_eq!(world.checkpoints(session)[of_rewind].kind, CheckpointKind::Rewind);
    for draft in drafts {
        world.append(session, draft);
    }
    let after = world.thread(world.cut(session));
    let of_restore = world.restore(session, of_rewind);
    prop_assert_eq!(world.checkpoints(session)[of_restore].kind, CheckpointKind::Restore);
    shows(world, session, &before)?;
    let once_more = world.restore(session, of_restore);
    shows(world, session, &after)?;
    world.restore(session, once_more);
    shows(world, session, &before)
}

fn last(world: &World, session: usize) -> i64 {
    i64::try_from(world.cut(session).turn_count).unwrap() - 1
}

fn shows(world: &World, session: usize, expected: &Thread) -> Verdict {
    let shown = world.thread(world.cut(session));
    prop_assert!(shown.is_equivalent(expected), "session {session} shows {shown:?}, not {expected:?}");
    prop_assert!(world.session(session).evidence().is_equivalent(&expected.evidence));
    Ok(())
}
