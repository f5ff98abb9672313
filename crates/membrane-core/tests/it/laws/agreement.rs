//! Histories of slices show the same threads as plain lists that are copied at every fork.
//!
//! Whatever happened: all cuts, all numbers, all checkpoints. Evidence and totals are in
//! [`super::evidence`].

use membrane_core::history::{Cut, History};
use proptest::prelude::*;

use super::campaign::{Verdict, holds};
use super::plain::List;
use super::played::Played;

/// The world's first clock, in µs; the plain side's is 0.
const FIRST_CLOCK: i64 = 1_000;

#[test]
fn sessions_show_what_plain_lists_hold() {
    holds("sessions_agree_with_plain_lists", |played, _| {
        prop_assert_eq!(played.world.len(), played.plain.sessions.len());
        for (session, list) in played.plain.sessions.iter().enumerate() {
            let cut = played.world.cut(session);
            agrees(played, cut, list)?;
            is_well_formed(played.world.history(cut), cut)?;
            for turn_count in 0..cut.turn_count {
                let first = list.first(usize::try_from(turn_count).unwrap());
                agrees(played, Cut { turn_count, ..cut }, &first)?;
            }
        }
        Ok(())
    });
}

#[test]
fn checkpoints_show_what_was_copied_when_they_were_left() {
    holds("checkpoints_agree_with_plain_copies", |played, _| {
        for (session, lists) in played.plain.checkpoints.iter().enumerate() {
            let checkpoints = played.world.checkpoints(session);
            prop_assert_eq!(checkpoints.len(), lists.len());
            for (checkpoint, list) in checkpoints.iter().zip(lists) {
                agrees(played, checkpoint.cut, list)?;
            }
        }
        Ok(())
    });
}

#[test]
fn time_goes_forward_within_a_session_whatever_the_clock_does() {
    holds("order_at_is_the_later_of_clock_and_predecessor", |played, _| {
        for (session, list) in played.plain.sessions.iter().enumerate() {
            let cut = played.world.cut(session);
            let order = played.plain.order(list);
            for (turn_count, order_at) in (1..=cut.turn_count).zip(order) {
                let tip = played.world.tip(Cut { turn_count, ..cut });
                let micros = tip.last_order_at.map(|at| at.as_micros() - FIRST_CLOCK);
                prop_assert_eq!(micros, Some(order_at));
            }
        }
        Ok(())
    });
}

fn agrees(played: &Played, cut: Cut, list: &List) -> Verdict {
    let refs = played.plain.refs(list);
    prop_assert_eq!(&played.world.refs(cut), &refs);
    let history = played.world.history(cut);
    for (number, at) in (0..).zip(refs) {
        prop_assert_eq!(history.locate(number), Some(at));
    }
    Ok(())
}

fn is_well_formed(history: &History, cut: Cut) -> Verdict {
    let mut next = 0;
    for (index, slice) in history.slices.iter().enumerate() {
        prop_assert_eq!(slice.start, next, "a gap before slice {} of {:?}", index, history);
        let Some(stop) = slice.stop else {
            prop_assert_eq!(index + 1, history.slices.len(), "an open slice inside {:?}", history);
            break;
        };
        prop_assert!(stop > slice.start, "slice {} of {:?} is empty", index, history);
        next = stop;
    }
    let closed = history.slices.last().is_none_or(|slice| slice.stop.is_some());
    prop_assert!(!closed || cut.turn_count <= next, "{cut:?} sees more than {history:?} has");
    let origins: Vec<_> = history.legacy.iter().map(|set| &set.origin).collect();
    prop_assert!(origins.is_sorted_by(|a, b| a < b), "legacy sets out of order: {origins:?}");
    Ok(())
}
