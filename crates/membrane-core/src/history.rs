//! Histories: ordered lists of slices over segments, and what appending, cutting and locating do.
//!
//! Merging and comparing two of them are in [`crate::merge`] and [`crate::diff`].

use std::time::Duration;

use crate::evidence::LegacySet;
use crate::ids::{HistoryId, SegmentId};
use crate::time::Timestamp;
use crate::turn::{Totals, Turn};

/// A turn's identity: its segment and its position there. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnRef {
    /// The segment.
    pub segment: SegmentId,
    /// The position in it, from 0.
    pub position: i64,
}

/// What a session and a checkpoint point at: the first `turn_count` turns of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// The history.
    pub history: HistoryId,
    /// How many of its turns are seen.
    pub turn_count: u64,
}

/// Consecutive positions of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The segment.
    pub segment: SegmentId,
    /// The first position.
    pub from: i64,
    /// One past the last position; greater than `from`.
    pub to: i64,
}

impl Span {
    /// How many turns.
    pub fn len(&self) -> u64 {
        self.to.abs_diff(self.from)
    }

    /// Never true for a span that a history holds.
    pub fn is_empty(&self) -> bool {
        self.to <= self.from
    }

    /// Its turns, in order.
    pub fn refs(self) -> impl Iterator<Item = TurnRef> {
        (self.from..self.to).map(move |position| TurnRef { segment: self.segment, position })
    }
}

/// Turns `start..stop` of a history, which are the positions from `offset` on of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The number of its first turn in the history.
    pub start: u64,
    /// One past its last turn's number; `None` while the slice is open and grows with appends.
    pub stop: Option<u64>,
    /// The segment it reads from.
    pub segment: SegmentId,
    /// The position in the segment of turn `start`.
    pub offset: i64,
    /// The history's totals at a turn of this slice are the turn's own running totals plus this.
    /// Zero where the history is the one whose appends filled the segment.
    pub base: Totals,
}

impl Slice {
    /// The part that a cut at `turn_count` sees.
    pub fn span_until(&self, turn_count: u64) -> Option<Span> {
        let stop = self.stop.map_or(turn_count, |stop| stop.min(turn_count));
        (stop > self.start).then(|| Span {
            segment: self.segment,
            from: self.offset,
            to: self.offset.saturating_add_unsigned(stop - self.start),
        })
    }
}

/// An ordered list of slices without gaps, the last of which may be open, and the legacy
/// observations that go with every cut of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// In order; each starts where the one before it stops.
    pub slices: Vec<Slice>,
    /// Ordered by origin, each origin once.
    pub legacy: Vec<LegacySet>,
}

impl History {
    /// The slices of the first `turn_count` turns, all closed.
    pub fn prefix(&self, turn_count: u64) -> Vec<Slice> {
        self.slices
            .iter()
            .filter(|slice| slice.start < turn_count)
            .map(|slice| Slice {
                stop: Some(slice.stop.map_or(turn_count, |stop| stop.min(turn_count))),
                ..*slice
            })
            .collect()
    }

    /// The history that an append to its first `turn_count` turns opens: the prefix, then a fresh
    /// segment. The segment's running totals go on from the prefix's, so the new slice's base is zero.
    #[must_use]
    pub fn branch(&self, turn_count: u64, fresh: SegmentId) -> Self {
        let mut slices = self.prefix(turn_count);
        slices.push(Slice { start: turn_count, stop: None, segment: fresh, offset: 0, base: Totals::ZERO });
        Self { slices, legacy: self.legacy.clone() }
    }

    /// What the first `turn_count` turns read, in order.
    pub fn spans(&self, turn_count: u64) -> Vec<Span> {
        self.slices.iter().filter_map(|slice| slice.span_until(turn_count)).collect()
    }

    /// The slice that holds turn `number`.
    pub fn slice_of(&self, number: u64) -> Option<&Slice> {
        let after = self.slices.partition_point(|slice| slice.start <= number);
        let slice = self.slices.get(after.checked_sub(1)?)?;
        slice.stop.is_none_or(|stop| number < stop).then_some(slice)
    }

    /// The identity of turn `number`; the caller knows that the history has that many.
    pub fn locate(&self, number: u64) -> Option<TurnRef> {
        let slice = self.slice_of(number)?;
        Some(TurnRef {
            segment: slice.segment,
            position: slice.offset.saturating_add_unsigned(number - slice.start),
        })
    }

    /// The totals after turn `number`, whose own running totals are `sums`.
    pub fn totals_after(&self, number: u64, sums: Totals) -> Option<Totals> {
        Some(self.slice_of(number)?.base + sums)
    }
}

/// Where a session may append in place: a segment that it owns and at whose end it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The owned segment.
    pub segment: SegmentId,
    /// The position that the next turn gets.
    pub position: i64,
}

/// The end of a session's thread: all that appending needs to know of what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// How many turns there are.
    pub turn_count: u64,
    /// Their totals, signals aside.
    pub totals: Totals,
    /// The last turn's place in the order of interleaving; `None` before the first.
    pub last_order_at: Option<Timestamp>,
}

impl Tip {
    /// Before the first turn.
    pub const EMPTY: Self = Self { turn_count: 0, totals: Totals::ZERO, last_order_at: None };

    /// Places `turn` after the tip and moves the tip behind it.
    ///
    /// `order_at` is the later of `started_at` and the previous turn's `order_at` + 1 µs, so that within
    /// a session the order of time is the order of turns, whatever the clock did.
    pub fn push(&mut self, turn: &Turn) -> Placement {
        self.push_measured(turn.started_at, turn.measures())
    }

    /// The same for a turn that was measured before: it began at `started_at` and adds `own`.
    pub fn push_measured(&mut self, started_at: Timestamp, own: Totals) -> Placement {
        let after_last = self.last_order_at.map(|last| last.plus(Duration::from_micros(1)));
        let order_at = after_last.map_or(started_at, |after| started_at.max(after));
        let placement = Placement { number: self.turn_count, order_at, own, sums: self.totals + own };
        *self =
            Self { turn_count: self.turn_count + 1, totals: placement.sums, last_order_at: Some(order_at) };
        placement
    }
}

/// What a turn's row carries beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Its number in the session that appends it.
    pub number: u64,
    /// Its place in the order of interleaving.
    pub order_at: Timestamp,
    /// What it adds to the totals.
    pub own: Totals,
    /// Its segment's running totals, this turn included.
    pub sums: Totals,
}

/// What deciding a merge needs to know of one turn; no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnMark {
    /// Its identity.
    pub at: TurnRef,
    /// Its place in the order of interleaving.
    pub order_at: Timestamp,
    /// Its segment's running totals, this turn included.
    pub sums: Totals,
    /// What this turn alone adds to them.
    pub own: Totals,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SequentialIds, TurnId};

    fn two_slices() -> History {
        let first = Slice { start: 0, stop: None, segment: SegmentId(1), offset: 0, base: Totals::ZERO };
        History { slices: vec![first], legacy: vec![] }.branch(3, SegmentId(2))
    }

    #[test]
    fn branching_keeps_the_prefix_and_opens_a_fresh_segment() {
        let history = two_slices();
        assert_eq!(
            history.spans(5),
            [Span { segment: SegmentId(1), from: 0, to: 3 }, Span { segment: SegmentId(2), from: 0, to: 2 }]
        );
        assert_eq!(history.locate(2), Some(TurnRef { segment: SegmentId(1), position: 2 }));
        assert_eq!(history.locate(3), Some(TurnRef { segment: SegmentId(2), position: 0 }));
        assert_eq!(
            history.branch(2, SegmentId(3)).spans(2),
            [Span { segment: SegmentId(1), from: 0, to: 2 }]
        );
    }

    #[test]
    fn branching_at_nothing_leaves_only_the_fresh_segment() {
        assert_eq!(two_slices().branch(0, SegmentId(9)).slices.len(), 1);
        assert!(two_slices().spans(0).is_empty());
    }

    #[test]
    fn order_never_goes_back_though_the_clock_does() {
        let ids = SequentialIds::default();
        let mut tip = Tip::EMPTY;
        let mut at = |micros| {
            tip.push(&Turn::plain(TurnId::generate(&ids), "", "", Timestamp::from_micros(micros))).order_at
        };
        assert_eq!([at(10), at(5), at(5), at(20)].map(Timestamp::as_micros), [10, 11, 12, 20]);
    }
}
