//! What merging promises: of `sequential` and of `interleave`. `manual` keeps what was picked and has no
//! laws; [`super::agreement`] sees to it.

use std::cell::Cell;

use membrane_core::history::Cut;
use proptest::prelude::*;

use super::campaign::{Verdict, holds};
use super::ops::up_to;
use super::played::Played;
use super::world::{Lawful, World};

#[test]
fn merging_a_fork_sequentially_with_its_source_changes_nothing() {
    holds("sequential_merge_of_a_fork_is_the_source", |played, case| {
        merging_forks_gives_the_source(&mut played.world, case.picks, Lawful::Sequential, |_, _| true)
    });
}

#[test]
fn sequential_merge_is_associative() {
    holds("sequential_merge_is_associative", |played, case| {
        is_associative(played, case.picks, Lawful::Sequential)
    });
}

#[test]
fn sequential_merge_is_idempotent() {
    holds("sequential_merge_is_idempotent", |played, case| {
        is_idempotent(played, case.picks, Lawful::Sequential, |_, _| true)
    });
}

#[test]
fn interleave_merge_is_associative() {
    holds("interleave_merge_is_associative", |played, case| {
        is_associative(played, case.picks, Lawful::Interleave)
    });
}

#[test]
fn interleave_merge_is_commutative() {
    holds("interleave_merge_is_commutative", |played, case| {
        let [a, b, c] = case.picks.map(|pick| played.world.cut(played.select(pick)));
        for (x, y) in [(a, b), (b, c), (c, a)] {
            let one = played.world.merge(x, y, Lawful::Interleave);
            let other = played.world.merge(y, x, Lawful::Interleave);
            are_equivalent(&played.world, one, other)?;
        }
        Ok(())
    });
}

#[test]
fn interleave_merge_is_idempotent() {
    holds("interleave_merge_is_idempotent", |played, case| {
        is_idempotent(played, case.picks, Lawful::Interleave, World::stands_in_order)
    });
}

#[test]
fn interleaving_a_fork_with_its_source_that_stands_in_order_changes_nothing() {
    // Sessions that stand out of order are left out, so it must be seen that enough are left.
    let (in_order, out_of_order) = (Cell::new(0_u64), Cell::new(0_u64));
    holds("interleave_merge_of_a_fork_is_the_source", |played, case| {
        merging_forks_gives_the_source(&mut played.world, case.picks, Lawful::Interleave, |world, cut| {
            let stands = world.stands_in_order(cut);
            let count = if stands { &in_order } else { &out_of_order };
            count.set(count.get() + 1);
            stands
        })
    });
    let (in_order, out_of_order) = (in_order.get(), out_of_order.get());
    assert!(in_order > out_of_order && out_of_order > 0, "{in_order} in order, {out_of_order} out of it");
}

#[test]
fn a_merge_is_what_plain_lists_say() {
    holds("merges_agree_with_plain_lists", |played, case| {
        let [a, b, c] = case.picks.map(|pick| played.select(pick));
        for (left, right) in [(a, b), (b, c), (c, a)] {
            for how in [Lawful::Sequential, Lawful::Interleave] {
                let (world, plain) = (&mut played.world, &played.plain);
                let list = plain.merge(&plain.sessions[left], &plain.sessions[right], how);
                let cut = world.merge(world.cut(left), world.cut(right), how);
                prop_assert_eq!(world.refs(cut), plain.refs(&list));
                prop_assert_eq!(world.tip(cut).totals, plain.totals(&list));
                prop_assert!(world.evidence(cut).is_equivalent(&plain.evidence(&list)));
            }
        }
        Ok(())
    });
}

/// For every session for which it is meant: a whole fork of it and some shorter ones, merged either way round.
fn merging_forks_gives_the_source(
    world: &mut World,
    picks: [u8; 3],
    how: Lawful,
    is_meant: impl Fn(&World, Cut) -> bool,
) -> Verdict {
    for session in 0..world.len() {
        let source = world.cut(session);
        if !is_meant(world, source) {
            continue;
        }
        let [first, second, _] = picks.map(|pick| i64::try_from(up_to(pick, source.turn_count)).unwrap());
        for fork_point in [None, Some(first), Some(second)] {
            let fork = world.fork(session, fork_point).unwrap();
            let fork = world.cut(fork);
            prop_assert_eq!(fork.history, source.history);
            for (left, right) in [(source, fork), (fork, source)] {
                let merged = world.merge(left, right, how);
                are_equivalent(world, merged, source)?;
            }
        }
    }
    Ok(())
}

fn is_associative(played: &mut Played, picks: [u8; 3], how: Lawful) -> Verdict {
    let [a, b, c] = picks.map(|pick| played.world.cut(played.select(pick)));
    let world = &mut played.world;
    for (x, y, z) in [(a, b, c), (b, c, a), (c, a, b), (c, b, a)] {
        let (xy, yz) = (world.merge(x, y, how), world.merge(y, z, how));
        let (left, right) = (world.merge(xy, z, how), world.merge(x, yz, how));
        are_equivalent(world, left, right)?;
    }
    Ok(())
}

/// With itself where that is meant; and what went into a merge adds nothing when merged once more.
fn is_idempotent(
    played: &mut Played,
    picks: [u8; 3],
    how: Lawful,
    is_meant: impl Fn(&World, Cut) -> bool,
) -> Verdict {
    let [a, b, c] = picks.map(|pick| played.world.cut(played.select(pick)));
    let world = &mut played.world;
    for (x, y) in [(a, b), (b, c), (c, a)] {
        let merged = world.merge(x, y, how);
        for more in [x, y, merged] {
            let again = world.merge(merged, more, how);
            are_equivalent(world, again, merged)?;
        }
        if is_meant(world, x) {
            let itself = world.merge(x, x, how);
            are_equivalent(world, itself, x)?;
        }
    }
    Ok(())
}

fn are_equivalent(world: &World, left: Cut, right: Cut) -> Verdict {
    let same = world.thread(left).is_equivalent(&world.thread(right));
    prop_assert!(same, "{:?} is not equivalent to {:?}", world.refs(left), world.refs(right));
    Ok(())
}
