//! A thread in two parts: where its turns are with all of them that may change, and what never changes.
//!
//! [`Store::locate_thread`](crate::Store::locate_thread) reads the first part, in one snapshot and without a word of
//! what was said; [`Store::load_spans`](crate::Store::load_spans) the second. Whoever has the second part already, from
//! wherever, needs the first alone, and what it makes of both is what
//! [`Store::load_thread`](crate::Store::load_thread) would have given.
//!
//! A turn's identity is used once within the life of a keep. Not beyond that: after a backup was put back, or a replica
//! took over that had not seen the last commits, it may come again with another content. So the first part names
//! *witnesses*, the last turn of each page among them. Turns are added to a segment one after the other: whoever
//! holds a turn that its witness vouches for, and got the turns before it from the same keep no later, holds those as
//! the keep has them.
//!
//! Who keeps the second part, and for how long, is not here.

use std::collections::{HashMap, HashSet};

use membrane_core::history::{Span, TurnRef};
use membrane_core::ids::TurnId;
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_core::turn::{KeptTurn, Signal, Totals, Turn};

/// How many positions of a segment are a page: positions from a multiple of this on.
pub const PAGE_LEN: i64 = 64;

/// A session, and where some of its turns are.
#[derive(Debug, Clone, PartialEq)]
pub struct LocatedThread {
    /// The session.
    pub session: Session,
    /// The turns that were asked for.
    pub turns: LocatedTurns,
}

/// Where turns are, and what of them may change.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocatedTurns {
    /// Where they are, in order.
    pub stretches: Vec<Stretch>,
    /// What users said of them: of each turn, oldest first.
    pub signals: Vec<(TurnRef, Signal)>,
    /// Those that count as failures because of a signal, in no particular order.
    pub flipped: Vec<TurnRef>,
    /// How many turns before the first one count so.
    pub flips_before: i64,
}

/// Consecutive turns of a history that are consecutive positions of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The positions.
    pub span: Span,
    /// The number of the first one in the history.
    pub first: u64,
    /// The history's totals at a turn are the turn's own running totals plus this.
    pub base: Totals,
    /// Whether all of them are there: the segment never lost a turn.
    pub is_whole: bool,
    /// In order. If all turns are there, the last one of each page that the stretch touches; else each one that is there.
    pub witnesses: Vec<Witness>,
}

impl Stretch {
    /// The positions at which a whole stretch has witnesses.
    pub fn whole_witnesses(span: Span) -> impl Iterator<Item = i64> {
        let page_end = move |page: i64| page.saturating_add(1).saturating_mul(PAGE_LEN).min(span.to) - 1;
        (page_of(span.from)..=page_of(span.to - 1)).map(page_end).filter(move |_| !span.is_empty())
    }
}

/// The page that a position is in.
pub fn page_of(position: i64) -> i64 {
    position.div_euclid(PAGE_LEN)
}

/// What tells a turn from any other that ever had its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its position.
    pub position: i64,
    /// Its public name.
    pub id: TurnId,
    /// Its place in the order of interleaving.
    pub order_at: Timestamp,
}

/// A finished turn as its segment holds it, whichever session shows it: nothing of it ever changes.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTurn {
    /// Its identity.
    pub at: TurnRef,
    /// Its place in the order of interleaving.
    pub order_at: Timestamp,
    /// The segment's running totals with it.
    pub sums: Totals,
    /// Its content.
    pub turn: Turn,
}

impl StoredTurn {
    /// Whether the witness tells of this turn.
    pub fn is(&self, witness: &Witness) -> bool {
        self.at.position == witness.position
            && self.order_at == witness.order_at
            && self.turn.id == witness.id
    }
}

impl LocatedTurns {
    /// How many turns there are.
    pub fn len(&self) -> u64 {
        let gapped = |stretch: &Stretch| u64::try_from(stretch.witnesses.len()).unwrap_or(u64::MAX);
        let count = |stretch: &Stretch| if stretch.is_whole { stretch.span.len() } else { gapped(stretch) };
        self.stretches.iter().map(count).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The turns as a thread shows them; `None` if `find` does not give all of them.
    pub fn assemble<'a>(
        self,
        mut find: impl FnMut(TurnRef) -> Option<&'a StoredTurn>,
    ) -> Option<Vec<KeptTurn>> {
        let mut turns = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        let mut signals: HashMap<TurnRef, Vec<Signal>> = HashMap::new();
        for (at, signal) in self.signals {
            signals.entry(at).or_default().push(signal);
        }
        let flips: HashSet<TurnRef> = self.flipped.into_iter().collect();
        let mut flipped = self.flips_before;
        for stretch in &self.stretches {
            let mut add = |position| -> Option<()> {
                let stored = find(TurnRef { segment: stretch.span.segment, position })?;
                flipped += i64::from(flips.contains(&stored.at));
                turns.push(KeptTurn {
                    at: stored.at,
                    number: stretch.first + position.abs_diff(stretch.span.from),
                    order_at: stored.order_at,
                    turn: stored.turn.clone(),
                    totals: stretch.base + stored.sums,
                    flipped,
                    signals: signals.remove(&stored.at).unwrap_or_default(),
                });
                Some(())
            };
            if stretch.is_whole {
                (stretch.span.from..stretch.span.to).try_for_each(&mut add)?;
            } else {
                stretch.witnesses.iter().map(|witness| witness.position).try_for_each(&mut add)?;
            }
        }
        Some(turns)
    }
}

#[cfg(test)]
mod tests {
    use membrane_core::ids::SegmentId;

    use super::*;

    fn witnesses(from: i64, to: i64) -> Vec<i64> {
        Stretch::whole_witnesses(Span { segment: SegmentId(1), from, to }).collect()
    }

    #[test]
    fn each_page_that_is_touched_has_the_last_of_its_turns_as_witness() {
        assert_eq!(witnesses(0, 1), [0]);
        assert_eq!(witnesses(0, 64), [63]);
        assert_eq!(witnesses(0, 65), [63, 64]);
        assert_eq!(witnesses(63, 64), [63]);
        assert_eq!(witnesses(10, 130), [63, 127, 129]);
        assert_eq!(witnesses(5, 5), [0; 0]);
    }
}
