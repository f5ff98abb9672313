//! Evidence is derived: a function of the sets of turns, signals and legacy observations, at every cut.
//!
//! How sure a given evidence makes is not here.

use membrane_core::evidence::Evidence;
use membrane_core::history::Cut;
use proptest::prelude::*;

use super::campaign::{Verdict, holds};
use super::world::{Lawful, World};

#[test]
fn evidence_at_every_cut_is_a_recount_of_turns_signals_and_legacy() {
    holds("evidence_is_derived", |played, _| {
        for (session, list) in played.plain.sessions.iter().enumerate() {
            let cut = played.world.cut(session);
            for turn_count in 0..=cut.turn_count {
                let first = list.first(usize::try_from(turn_count).unwrap());
                let derived = played.world.evidence(Cut { turn_count, ..cut });
                is_same(derived, played.plain.evidence(&first))?;
            }
            is_same(played.world.session(session).evidence(), played.plain.evidence(list))?;
        }
        Ok(())
    });
}

#[test]
fn evidence_of_a_checkpoint_counts_the_signals_of_today() {
    holds("evidence_of_checkpoints_is_derived", |played, _| {
        for (session, lists) in played.plain.checkpoints.iter().enumerate() {
            for (checkpoint, list) in played.world.checkpoints(session).iter().zip(lists) {
                is_same(played.world.evidence(checkpoint.cut), played.plain.evidence(list))?;
            }
        }
        Ok(())
    });
}

#[test]
fn running_totals_at_every_cut_are_the_sum_over_the_turns() {
    holds("running_totals_are_sums", |played, _| {
        for (session, list) in played.plain.sessions.iter().enumerate() {
            let cut = played.world.cut(session);
            for turn_count in 0..=cut.turn_count {
                let first = list.first(usize::try_from(turn_count).unwrap());
                let totals = played.world.tip(Cut { turn_count, ..cut }).totals;
                prop_assert_eq!(totals, played.plain.totals(&first));
            }
            prop_assert_eq!(played.world.session(session).totals, played.plain.totals(list));
        }
        Ok(())
    });
}

#[test]
fn joining_evidence_is_idempotent_commutative_and_associative() {
    holds("joining_evidence_is_a_union_of_sets", |played, case| {
        let [a, b, c] = case.picks.map(|pick| played.world.cut(played.select(pick)));
        let world = &mut played.world;
        for how in [Lawful::Sequential, Lawful::Interleave] {
            for (x, y, z) in [(a, b, c), (b, c, a), (c, a, b)] {
                is_same(joined(world, &[x, x], how), world.evidence(x))?;
                is_same(joined(world, &[x, y, y], how), joined(world, &[x, y], how))?;
                is_same(joined(world, &[x, y], how), joined(world, &[y, x], how))?;
                let (right, together) = (world.merge(y, z, how), joined(world, &[x, y, z], how));
                is_same(joined(world, &[x, right], how), together)?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_rewind_takes_the_evidence_of_its_turns_back() {
    holds("a_rewind_takes_its_evidence_back", |played, _| {
        for session in 0..played.world.len() {
            let list = played.plain.sessions[session].clone();
            for turn_count in (0..list.turns.len()).rev() {
                played.world.rewind(session, 1).unwrap();
                let left = played.plain.evidence(&list.first(turn_count));
                is_same(played.world.session(session).evidence(), left)?;
                prop_assert_eq!(
                    played.world.session(session).totals,
                    played.plain.totals(&list.first(turn_count))
                );
            }
        }
        Ok(())
    });
}

/// The evidence of these merged from left to right.
fn joined(world: &mut World, cuts: &[Cut], how: Lawful) -> Evidence {
    let merged = cuts.iter().copied().reduce(|left, right| world.merge(left, right, how));
    world.evidence(merged.unwrap())
}

fn is_same(found: Evidence, counted: Evidence) -> Verdict {
    let close = (found.alpha - counted.alpha).abs() < 1e-9 && (found.beta - counted.beta).abs() < 1e-9;
    let tools = |evidence: Evidence| (evidence.tools_succeeded, evidence.tools_failed);
    prop_assert!(close && tools(found) == tools(counted), "{found:?} is not {counted:?}");
    Ok(())
}
