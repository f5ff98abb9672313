//! Removing what nothing reaches any more: turns, histories, segments.
//!
//! Sessions and named checkpoints keep turns alive; automatic checkpoints only those in segments whose
//! owner lives. Only what a deletion let go of is looked at.

use std::collections::{BTreeMap, BTreeSet};

use membrane_core::history::{Cut, Span, TurnRef};
use membrane_core::ids::{HistoryId, SegmentId};
use membrane_core::merge::subtract;

use super::apply::Tx;
use super::state::{State, User, bounds};

/// What a deletion may have made unreachable.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    spans: BTreeMap<SegmentId, Vec<Span>>,
    histories: BTreeSet<HistoryId>,
}

impl Doomed {
    /// The turns of a cut, and its history.
    pub(super) fn add_cut(&mut self, state: &State, cut: Cut) {
        self.histories.insert(cut.history);
        for span in state.histories.get(&cut.history).into_iter().flat_map(|held| held.spans(cut.turn_count))
        {
            self.spans.entry(span.segment).or_default().push(span);
        }
    }

    /// A whole segment.
    pub(super) fn add_segment(&mut self, segment: SegmentId) {
        self.spans.entry(segment).or_default().push(Span { segment, from: 0, to: i64::MAX });
    }
}

impl State {
    /// How many turns of a history are kept alive, for a segment that has an owner or none.
    fn alive_count(&self, history: HistoryId, is_owned: bool) -> u64 {
        let counts = self.users(history).filter_map(|user| match user {
            User::Session(id) => self.sessions.get(id).map(|session| session.cut.turn_count),
            User::Checkpoint(id) => self
                .checkpoints
                .get(id)
                .map(|row| &row.checkpoint)
                .filter(|checkpoint| is_owned || !checkpoint.kind.is_automatic())
                .map(|checkpoint| checkpoint.cut.turn_count),
        });
        counts.max().unwrap_or(0)
    }

    /// What of a segment is kept alive.
    pub(super) fn alive_spans(&self, segment: SegmentId, is_owned: bool) -> Vec<Span> {
        let mut spans = Vec::new();
        for reader in self.readers(segment) {
            let turn_count = self.alive_count(reader, is_owned);
            if let Some(history) = self.histories.get(&reader) {
                let slices = history.slices.iter().filter(|slice| slice.segment == segment);
                spans.extend(slices.filter_map(|slice| slice.span_until(turn_count)));
            }
        }
        spans
    }
}

impl Tx<'_> {
    /// Deletes what of it nothing keeps alive. Sessions and checkpoints that go are gone from the tables.
    pub(super) fn purge(&mut self, doomed: Doomed) {
        for (segment, spans) in &doomed.spans {
            let is_owned = self.state.segments.get(segment).is_some_and(|row| row.owner.is_some());
            let alive = self.state.alive_spans(*segment, is_owned);
            for span in subtract(spans, &alive) {
                self.delete_turns(span);
            }
        }
        for history in doomed.histories {
            self.drop_history_if_unused(history);
        }
        for segment in doomed.spans.into_keys() {
            self.drop_segment_if_unused(segment);
        }
    }

    fn delete_turns(&mut self, span: Span) {
        let turns: Vec<TurnRef> = self.state.turns.range(bounds(span)).map(|(at, _)| *at).collect();
        for at in turns {
            self.state.turns.remove(&at);
            self.state.signals.remove(&at);
        }
    }

    /// Drops a history that nothing points at, and segments that only it read from.
    pub(super) fn drop_history_if_unused(&mut self, id: HistoryId) {
        if self.state.users(id).next().is_some() {
            return;
        }
        if let Some(history) = self.state.histories.remove(&id) {
            for slice in &history.slices {
                self.state.readers_of.remove(&(slice.segment, id));
            }
            for slice in &history.slices {
                self.drop_segment_if_unused(slice.segment);
            }
        }
    }

    fn drop_segment_if_unused(&mut self, id: SegmentId) {
        if self.state.readers(id).next().is_some() {
            return;
        }
        self.delete_turns(Span { segment: id, from: 0, to: i64::MAX });
        if let Some(owner) = self.state.segments.remove(&id).and_then(|row| row.owner) {
            self.state.segments_of.remove(&(owner, id));
        }
    }
}
