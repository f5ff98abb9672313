//! A turn keeps its identity and its content for ever, and nothing that happens elsewhere changes a thread.

use std::collections::{BTreeMap, BTreeSet};

use membrane_core::history::TurnRef;
use membrane_core::turn::Turn;
use proptest::prelude::*;

use super::campaign::{Verdict, holds_along};
use super::played::Played;
use super::world::Thread;

#[test]
fn an_identity_is_never_given_twice() {
    holds_along("an_identity_is_never_given_twice", |case| {
        let mut played = Played::new();
        let mut given = BTreeSet::new();
        for op in &case.ops {
            for at in played.play(op)?.given {
                prop_assert!(given.insert(at), "{at:?} was given twice");
            }
        }
        Ok(played.facts)
    });
}

#[test]
fn an_identity_shows_the_same_content_in_every_thread_at_any_time() {
    holds_along("an_identity_keeps_its_content", |case| {
        let mut played = Played::new();
        let mut seen: BTreeMap<TurnRef, Turn> = BTreeMap::new();
        for op in &case.ops {
            played.play(op)?;
            for session in 0..played.world.len() {
                let cut = played.world.cut(session);
                for (at, turn) in played.world.refs(cut).into_iter().zip(played.world.thread(cut).turns) {
                    let first = seen.entry(at).or_insert_with(|| (*turn).clone());
                    prop_assert_eq!(&*turn, &*first);
                }
            }
        }
        let names: BTreeSet<_> = seen.values().map(|turn| &turn.id).collect();
        prop_assert_eq!(names.len(), seen.len(), "one name for two turns");
        Ok(played.facts)
    });
}

#[test]
fn a_thread_changes_only_by_what_is_done_to_it() {
    holds_along("a_fork_outlives_changes_to_its_parent", |case| {
        let mut played = Played::new();
        let mut held: Vec<Thread> = vec![shown(&played, 0)];
        for op in &case.ops {
            let changed = played.play(op)?.session;
            for session in 0..played.world.len() {
                let now = shown(&played, session);
                if session == held.len() {
                    held.push(now);
                } else if changed == Some(session) {
                    held[session] = now;
                } else {
                    is_unchanged(&held[session], &now)?;
                }
            }
        }
        Ok(played.facts)
    });
}

fn shown(played: &Played, session: usize) -> Thread {
    played.world.thread(played.world.cut(session))
}

fn is_unchanged(held: &Thread, now: &Thread) -> Verdict {
    prop_assert_eq!(&held.turns, &now.turns);
    Ok(())
}
