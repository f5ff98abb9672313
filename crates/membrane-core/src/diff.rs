//! Comparing two threads: what they share by identity, what only one has, and when they are equivalent.

use crate::evidence::Evidence;
use crate::history::{Span, TurnRef};
use crate::merge::subtract;
use crate::turn::Turn;

/// Two threads side by side. [`Diff::inverted`] of `diff(a, b)` is `diff(b, a)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// How many turns both hold, by identity.
    pub common: u64,
    /// What only the left one holds, in its order.
    pub only_left: Vec<Span>,
    /// What only the right one holds, in its order.
    pub only_right: Vec<Span>,
}

impl Diff {
    /// The same comparison seen from the other side.
    #[must_use]
    pub fn inverted(self) -> Self {
        Self { common: self.common, only_left: self.only_right, only_right: self.only_left }
    }

    /// The turns that only the left one holds.
    pub fn left_refs(&self) -> impl Iterator<Item = TurnRef> + '_ {
        self.only_left.iter().flat_map(|span| span.refs())
    }

    /// The turns that only the right one holds.
    pub fn right_refs(&self) -> impl Iterator<Item = TurnRef> + '_ {
        self.only_right.iter().flat_map(|span| span.refs())
    }
}

/// Compares two threads by the identity of their turns.
pub fn diff(left: &[Span], right: &[Span]) -> Diff {
    let only_left = subtract(left, right);
    let only_right = subtract(right, left);
    let common = count(left) - count(&only_left);
    Diff { common, only_left, only_right }
}

/// Whether two threads are equivalent: the same ordered turn content and the same evidence.
pub fn equivalent<'a>(
    left: (impl IntoIterator<Item = &'a Turn>, Evidence),
    right: (impl IntoIterator<Item = &'a Turn>, Evidence),
) -> bool {
    left.1.is_equivalent(&right.1) && left.0.into_iter().eq(right.0)
}

fn count(spans: &[Span]) -> u64 {
    spans.iter().map(Span::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SegmentId;

    fn span(segment: i64, from: i64, to: i64) -> Span {
        Span { segment: SegmentId(segment), from, to }
    }

    #[test]
    fn a_fork_that_went_on_differs_by_its_own_turns() {
        let (left, right) = ([span(1, 0, 6)], [span(1, 0, 4), span(2, 0, 3)]);
        let found = diff(&left, &right);
        assert_eq!(
            found,
            Diff { common: 4, only_left: vec![span(1, 4, 6)], only_right: vec![span(2, 0, 3)] }
        );
        assert_eq!(found.left_refs().count(), 2);
        assert_eq!(found.inverted(), diff(&right, &left));
    }
}
