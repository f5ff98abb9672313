//! Reading a thread in two parts: where its turns are, and what never changes of them.

use std::ops::Range;

use membrane_core::history::{Cut, Span, TurnRef};
use membrane_core::turn::{Totals, Turn};

use super::state::{State, TurnRow, bounds};
use crate::located::{LocatedTurns, StoredTurn, Stretch, Witness};

impl State {
    /// Where turns of a cut are; those that are gone have no place.
    pub(super) fn locate_turns(&self, cut: Cut, range: Range<u64>) -> LocatedTurns {
        let Some(history) = self.histories.get(&cut.history) else { return LocatedTurns::default() };
        let stop = range.end.min(cut.turn_count);
        let mut located = LocatedTurns {
            flips_before: self.count_flips(history, range.start.min(stop)),
            ..Default::default()
        };
        for slice in &history.slices {
            let Some(span) = slice.span_until(stop) else { continue };
            let skipped = range.start.saturating_sub(slice.start);
            let span = Span { from: span.from.saturating_add_unsigned(skipped), ..span };
            if span.is_empty() {
                continue;
            }
            for (at, signals) in self.signals.range(bounds(span)) {
                located.signals.extend(signals.iter().map(|signal| (*at, signal.clone())));
                located.flipped.extend(self.flips(at).then_some(*at));
            }
            located.stretches.push(self.stretch(span, slice.start + skipped, slice.base));
        }
        located
    }

    fn stretch(&self, span: Span, first: u64, base: Totals) -> Stretch {
        let witness = |(at, row): (&TurnRef, &TurnRow)| Witness {
            position: at.position,
            id: row.turn.id.clone(),
            order_at: row.order_at,
        };
        let all: Vec<Witness> = self.turns.range(bounds(span)).map(witness).collect();
        let is_whole = u64::try_from(all.len()) == Ok(span.len());
        let witnesses = if is_whole {
            let places: Vec<i64> = Stretch::whole_witnesses(span).collect();
            all.into_iter().filter(|witness| places.binary_search(&witness.position).is_ok()).collect()
        } else {
            all
        };
        Stretch { span, first, base, is_whole, witnesses }
    }

    /// Turns as their segments hold them; those that are gone are left out.
    pub(super) fn load_spans(&self, spans: &[Span]) -> Vec<StoredTurn> {
        let stored = |(at, row): (&TurnRef, &TurnRow)| StoredTurn {
            at: *at,
            order_at: row.order_at,
            sums: row.sums,
            turn: Turn::clone(&row.turn),
        };
        spans.iter().flat_map(|span| self.turns.range(bounds(*span)).map(stored)).collect()
    }
}
