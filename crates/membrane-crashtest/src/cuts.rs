//! Cuts: the points of a recording where the power goes.
//!
//! Not here: what a cut leaves ([`crate::image`]).

use std::collections::BTreeSet;

use thiserror::Error;

use crate::recording::{Event, Log, Marker};
use crate::seed::Choices;

/// A recording too short for the campaign.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the recording has {n_points} points and {n_asked} cuts are asked for; let the writers append more")]
pub struct TooFewPoints {
    n_points: usize,
    n_asked: usize,
}

/// Chooses `n_cuts` different points of `log`, ascending.
///
/// Half of them stand directly before or after a sync, a quarter directly after an acknowledgement (the
/// moment when a store that answers too early is caught), and the rest anywhere. Where a recording has fewer
/// points of a kind, all of that kind are taken and the rest goes anywhere.
///
/// # Errors
/// [`TooFewPoints`]: `log` has fewer than `n_cuts` points.
pub fn choose(log: &Log, n_cuts: usize, seed: u64) -> Result<Vec<usize>, TooFewPoints> {
    let n_points = log.events.len() + 1;
    if n_points < n_cuts {
        return Err(TooFewPoints { n_points, n_asked: n_cuts });
    }
    let mut choices = Choices::of_item(seed, 0x6375_7473);
    let mut cuts = BTreeSet::new();
    let quotas = [
        (
            points(log, 0..=1, |event| matches!(event, Event::Synced { .. } | Event::DirectorySynced { .. })),
            n_cuts / 2,
        ),
        (points(log, 1..=1, |event| matches!(event, Event::Marked(Marker::Acknowledged(_)))), n_cuts / 4),
    ];
    for (mut points, quota) in quotas {
        points.retain(|point| !cuts.contains(point));
        cuts.extend(draw(points, quota, &mut choices));
    }
    let elsewhere: Vec<usize> = (0..n_points).filter(|point| !cuts.contains(point)).collect();
    let n_missing = n_cuts - cuts.len();
    cuts.extend(draw(elsewhere, n_missing, &mut choices));
    Ok(cuts.into_iter().collect())
}

/// The points at these distances from the events that are `wanted`.
fn points(
    log: &Log,
    distances: std::ops::RangeInclusive<usize>,
    wanted: impl Fn(&Event) -> bool,
) -> Vec<usize> {
    let found: BTreeSet<usize> = log
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| wanted(event))
        .flat_map(|(position, _)| distances.clone().map(move |distance| position + distance))
        .collect();
    found.into_iter().collect()
}

/// Up to `n` of `points`, at random.
fn draw(mut points: Vec<usize>, n: usize, choices: &mut Choices) -> Vec<usize> {
    let n = n.min(points.len());
    for drawn in 0..n {
        let other = drawn + choices.below(points.len() - drawn);
        points.swap(drawn, other);
    }
    points.truncate(n);
    points
}
