//! Comparing two threads: both sides add up, and seen from the other side it is the same comparison.

use std::collections::BTreeSet;

use membrane_core::diff::{Diff, diff};
use membrane_core::history::{Cut, TurnRef};
use proptest::prelude::*;

use super::campaign::{Verdict, holds};
use super::world::{Lawful, World};

#[test]
fn a_comparison_inverted_is_the_comparison_from_the_other_side() {
    holds("diff_inverted_is_the_diff_of_the_other_side", |played, _| {
        for_all_pairs(&played.world, |left, right| {
            let world = &played.world;
            let found = diff(&world.spans(left), &world.spans(right));
            prop_assert_eq!(found.inverted(), diff(&world.spans(right), &world.spans(left)));
            Ok(())
        })
    });
}

#[test]
fn what_is_common_and_what_is_not_add_up_to_each_side() {
    holds("diff_adds_up", |played, _| {
        for_all_pairs(&played.world, |left, right| {
            let found = diff(&played.world.spans(left), &played.world.spans(right));
            let count = |refs: Vec<TurnRef>| u64::try_from(refs.len()).unwrap();
            prop_assert_eq!(found.common + count(found.left_refs().collect()), left.turn_count);
            prop_assert_eq!(found.common + count(found.right_refs().collect()), right.turn_count);
            Ok(())
        })
    });
}

#[test]
fn a_comparison_is_that_of_the_two_sets_in_each_sides_order() {
    holds("diff_is_the_difference_of_sets", |played, _| {
        for_all_pairs(&played.world, |left, right| {
            let (left_refs, right_refs) = (played.world.refs(left), played.world.refs(right));
            let found = diff(&played.world.spans(left), &played.world.spans(right));
            prop_assert_eq!(found.left_refs().collect::<Vec<_>>(), without(&left_refs, &right_refs));
            prop_assert_eq!(found.right_refs().collect::<Vec<_>>(), without(&right_refs, &left_refs));
            Ok(())
        })
    });
}

#[test]
fn a_thread_compared_with_its_own_beginning_lacks_only_the_rest() {
    holds("diff_with_a_beginning_is_the_rest", |played, _| {
        for session in 0..played.world.len() {
            let cut = played.world.cut(session);
            let spans = played.world.spans(cut);
            for turn_count in 0..=cut.turn_count {
                let Diff { common, only_left, only_right } =
                    diff(&spans, &played.world.spans(Cut { turn_count, ..cut }));
                prop_assert_eq!(common, turn_count);
                prop_assert!(only_right.is_empty());
                prop_assert_eq!(only_left.is_empty(), turn_count == cut.turn_count);
            }
        }
        Ok(())
    });
}

#[test]
fn threads_are_equivalent_when_turns_and_evidence_are_the_same_and_only_then() {
    holds("equivalence_is_same_turns_and_same_evidence", |played, case| {
        let session = played.select(case.picks[0]);
        let cut = played.world.cut(session);
        // An empty session out of an old file brings evidence and no turns.
        let old = played.world.create(Some((3.0, 2.0)));
        let more_sure = played.world.merge(cut, played.world.cut(old), Lawful::Sequential);
        let (thread, other) = (played.world.thread(cut), played.world.thread(more_sure));
        prop_assert_eq!(&thread.turns, &other.turns);
        prop_assert!(thread.is_equivalent(&thread));
        prop_assert!(!thread.is_equivalent(&other), "{:?} against {:?}", thread.evidence, other.evidence);
        for_all_pairs(&played.world, |left, right| {
            let (left, right) = (played.world.thread(left), played.world.thread(right));
            let same_turns = left.turns == right.turns;
            prop_assert!(same_turns || !left.is_equivalent(&right));
            prop_assert_eq!(left.is_equivalent(&right), right.is_equivalent(&left));
            Ok(())
        })
    });
}

fn without(refs: &[TurnRef], others: &[TurnRef]) -> Vec<TurnRef> {
    let others: BTreeSet<_> = others.iter().collect();
    refs.iter().filter(|at| !others.contains(at)).copied().collect()
}

fn for_all_pairs(world: &World, check: impl Fn(Cut, Cut) -> Verdict) -> Verdict {
    for left in 0..world.len() {
        for right in 0..world.len() {
            check(world.cut(left), world.cut(right))?;
        }
    }
    Ok(())
}
