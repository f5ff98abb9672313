//! Merging two threads into a new history.
//!
//! `sequential`: a, then what b has and a has not, by identity. `interleave`: the union ordered by
//! `(order_at, identity)`. `manual`: what the user picked, in that order; it has no laws.
//! No turn is copied: the result is a list of slices over the segments of both.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{DomainError, ValueError};
use crate::history::{Slice, Span, TurnMark, TurnRef};
use crate::ids::{SegmentId, SessionId};
use crate::turn::Totals;
use crate::words::words;

words!(
    /// How two sessions become one.
    MergeStrategy, "merge strategy", "sequential, interleave, manual", {
        /// The base, then what the other has and the base has not.
        Sequential = "sequential",
        /// The union in order of time.
        Interleave = "interleave",
        /// What the user picked.
        Manual = "manual",
    }
);

/// One turn picked for a manual merge, by its number in one of the two sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The session it is picked from.
    pub session: SessionId,
    /// Its number there, from 0.
    pub turn_number: i64,
}

/// The spans of `left`, then those of `right` that `left` has not.
pub fn sequential(left: &[Span], right: &[Span]) -> Vec<Span> {
    let mut spans = left.to_vec();
    spans.extend(subtract(right, left));
    coalesce(spans)
}

/// The union of both, ordered by `(order_at, identity)`.
pub fn interleave(left: &[TurnMark], right: &[TurnMark]) -> Vec<Span> {
    let ordered: BTreeSet<_> = left.iter().chain(right).map(|mark| (mark.order_at, mark.at)).collect();
    coalesce(ordered.into_iter().map(|(_, at)| one(at)))
}

/// What the user picked, in the order of the picks.
///
/// `locate` gives the identity of a numbered turn of one of the two sessions and refuses any other.
///
/// # Errors
/// [`DomainError::ManualWithoutTurns`] for no picks, [`DomainError::PickedTwice`] when two picks name the
/// same turn, and what `locate` refuses.
pub fn manual(
    picks: &[Pick],
    locate: impl Fn(&Pick) -> Result<TurnRef, DomainError>,
) -> Result<Vec<Span>, DomainError> {
    if picks.is_empty() {
        return Err(DomainError::ManualWithoutTurns);
    }
    let mut taken = BTreeSet::new();
    let mut spans = Vec::with_capacity(picks.len());
    for pick in picks {
        let at = locate(pick)?;
        if !taken.insert(at) {
            return Err(DomainError::PickedTwice {
                session: pick.session.clone(),
                turn_number: pick.turn_number.unsigned_abs(),
            });
        }
        spans.push(one(at));
    }
    Ok(coalesce(spans))
}

/// Lays spans out as closed slices of a new history. `marks` knows the first and last turn of each span.
///
/// # Errors
/// [`ValueError::Empty`] naming the turn whose mark is missing: the caller loaded too few.
pub fn lay_out(spans: &[Span], marks: &BTreeMap<TurnRef, TurnMark>) -> Result<Vec<Slice>, ValueError> {
    let mark = |segment, position| {
        marks.get(&TurnRef { segment, position }).ok_or(ValueError::Empty { what: "mark of a merged turn" })
    };
    let mut slices = Vec::with_capacity(spans.len());
    let (mut start, mut totals) = (0, Totals::ZERO);
    for span in spans {
        let first = mark(span.segment, span.from)?;
        let last = mark(span.segment, span.to - 1)?;
        let base = totals - (first.sums - first.own);
        let stop = start + span.len();
        slices.push(Slice { start, stop: Some(stop), segment: span.segment, offset: span.from, base });
        totals = base + last.sums;
        start = stop;
    }
    Ok(slices)
}

/// The identities whose marks [`lay_out`] needs: the ends of each span.
pub fn ends(spans: &[Span]) -> Vec<TurnRef> {
    let at = |segment, position| TurnRef { segment, position };
    spans.iter().flat_map(|span| [at(span.segment, span.from), at(span.segment, span.to - 1)]).collect()
}

/// What `spans` holds and `without` does not, in the order of `spans`.
pub fn subtract(spans: &[Span], without: &[Span]) -> Vec<Span> {
    let mut holes: BTreeMap<SegmentId, Vec<(i64, i64)>> = BTreeMap::new();
    for span in without {
        holes.entry(span.segment).or_default().push((span.from, span.to));
    }
    for list in holes.values_mut() {
        list.sort_unstable();
    }
    let mut rest = Vec::new();
    for span in spans {
        let mut from = span.from;
        for &(hole_from, hole_to) in holes.get(&span.segment).into_iter().flatten() {
            if hole_to <= from {
                continue;
            }
            if hole_from >= span.to {
                break;
            }
            if hole_from > from {
                rest.push(Span { segment: span.segment, from, to: hole_from });
            }
            from = hole_to;
        }
        if from < span.to {
            rest.push(Span { segment: span.segment, from, to: span.to });
        }
    }
    rest
}

/// Joins neighbours that continue each other.
fn coalesce(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if last.segment == span.segment && last.to == span.from => last.to = span.to,
            _ => joined.push(span),
        }
    }
    joined
}

fn one(at: TurnRef) -> Span {
    Span { segment: at.segment, from: at.position, to: at.position + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(segment: i64, from: i64, to: i64) -> Span {
        Span { segment: SegmentId(segment), from, to }
    }

    #[test]
    fn subtracting_leaves_the_pieces_between_the_holes() {
        let rest = subtract(&[span(1, 0, 10), span(2, 0, 3)], &[span(1, 2, 4), span(1, 6, 7), span(3, 0, 9)]);
        assert_eq!(rest, [span(1, 0, 2), span(1, 4, 6), span(1, 7, 10), span(2, 0, 3)]);
    }

    #[test]
    fn overlapping_holes_count_once() {
        assert_eq!(
            subtract(&[span(1, 0, 9)], &[span(1, 0, 5), span(1, 3, 4), span(1, 4, 8)]),
            [span(1, 8, 9)]
        );
    }

    #[test]
    fn merging_a_fork_into_its_source_adds_nothing() {
        let source = [span(1, 0, 5)];
        assert_eq!(sequential(&source, &[span(1, 0, 3)]), source);
        assert_eq!(sequential(&source, &[span(1, 0, 3), span(2, 0, 2)]), [span(1, 0, 5), span(2, 0, 2)]);
    }

    #[test]
    fn a_turn_picked_twice_is_refused_though_its_numbers_differ() {
        let session = SessionId::from_stored("s");
        let pick = |turn_number| Pick { session: session.clone(), turn_number };
        let same = |_: &Pick| Ok(TurnRef { segment: SegmentId(1), position: 0 });
        assert!(matches!(
            manual(&[pick(0), pick(4)], same),
            Err(DomainError::PickedTwice { turn_number: 4, .. })
        ));
        assert_eq!(manual(&[], same), Err(DomainError::ManualWithoutTurns));
    }
}
