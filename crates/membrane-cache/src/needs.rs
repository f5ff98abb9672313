//! What a read needs, page by page.

use std::collections::BTreeMap;

use membrane_core::history::Span;
use membrane_store::LocatedTurns;
use membrane_store::located::{PAGE_LEN, Stretch, Witness, page_of};

use crate::page::{PageKey, bit};

/// More turns than that are the store's own business.
const MAX_TURNS: u64 = 200_000;

/// What is needed of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Need {
    /// The positions.
    pub(crate) mask: u64,
    /// The last of them.
    pub(crate) witness: Witness,
}

/// What is needed of each page; `None` if there is too much of it, or a witness is missing that should be there.
pub(crate) fn needs(located: &LocatedTurns) -> Option<BTreeMap<PageKey, Need>> {
    if located.len() > MAX_TURNS {
        return None;
    }
    let mut needs: BTreeMap<PageKey, Need> = BTreeMap::new();
    for stretch in &located.stretches {
        for witness in &stretch.witnesses {
            let key = PageKey::of(stretch.span.segment, witness.position);
            let mask = mask_of(stretch, key, witness);
            let need = needs.entry(key).or_insert_with(|| Need { mask: 0, witness: witness.clone() });
            need.mask |= mask;
            if witness.position > need.witness.position {
                need.witness = witness.clone();
            }
        }
    }
    let covered: u64 = needs.values().map(|need| u64::from(need.mask.count_ones())).sum();
    // No position is in two stretches of one history, and each has a witness.
    (covered == located.len()).then_some(needs)
}

/// The positions of a stretch that its witness of a page stands for.
fn mask_of(stretch: &Stretch, key: PageKey, witness: &Witness) -> u64 {
    if !stretch.is_whole {
        return bit(witness.position);
    }
    let first = stretch.span.from.max(key.number * PAGE_LEN);
    let from_first = u64::MAX << first.rem_euclid(PAGE_LEN);
    let to_last = u64::MAX >> (PAGE_LEN - 1 - witness.position.rem_euclid(PAGE_LEN));
    from_first & to_last
}

/// All pages that a span touches.
pub(crate) fn pages_of(span: Span) -> impl Iterator<Item = PageKey> {
    let numbers = page_of(span.from)..=page_of(span.to.max(span.from + 1) - 1);
    numbers.map(move |number| PageKey { segment: span.segment, number })
}

#[cfg(test)]
mod tests {
    use membrane_core::ids::{SegmentId, TurnId};
    use membrane_core::time::Timestamp;
    use membrane_core::turn::Totals;

    use super::*;

    fn stretch(from: i64, to: i64, is_whole: bool, witnesses: &[i64]) -> Stretch {
        let witness = |&position| Witness {
            position,
            id: TurnId::from_stored("t"),
            order_at: Timestamp::from_micros(position),
        };
        Stretch {
            span: Span { segment: SegmentId(1), from, to },
            first: from.unsigned_abs(),
            base: Totals::ZERO,
            is_whole,
            witnesses: witnesses.iter().map(witness).collect(),
        }
    }

    fn masks(stretches: Vec<Stretch>) -> Option<Vec<(i64, u64, i64)>> {
        let needs = needs(&LocatedTurns { stretches, ..LocatedTurns::default() })?;
        Some(needs.into_iter().map(|(key, need)| (key.number, need.mask, need.witness.position)).collect())
    }

    #[test]
    fn pages_are_needed_as_far_as_stretches_reach_into_them() {
        assert_eq!(masks(vec![stretch(0, 64, true, &[63])]), Some(vec![(0, u64::MAX, 63)]));
        assert_eq!(
            masks(vec![stretch(62, 66, true, &[63, 65])]),
            Some(vec![(0, 0b11 << 62, 63), (1, 0b11, 65)])
        );
        let two = vec![stretch(0, 2, true, &[1]), stretch(4, 6, true, &[5])];
        assert_eq!(masks(two), Some(vec![(0, 0b11_0011, 5)]));
        assert_eq!(masks(vec![stretch(0, 9, false, &[1, 7])]), Some(vec![(0, 0b1000_0010, 7)]));
        assert_eq!(masks(vec![]), Some(vec![]));
    }

    #[test]
    fn a_witness_that_is_missing_is_noticed() {
        assert_eq!(masks(vec![stretch(0, 66, true, &[63])]), None);
        assert_eq!(masks(vec![stretch(0, 300_000, true, &[])]), None);
    }
}
