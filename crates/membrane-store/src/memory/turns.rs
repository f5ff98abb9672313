//! Appending turns, moving a session to another cut, and signals.

use std::sync::Arc;

use membrane_core::history::{Cut, Head, History, TurnRef};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::{Signal, Turn};

use super::apply::Tx;
use super::state::{Segment, TurnRow, User};
use crate::change::Leave;
use crate::{StoreError, Subject};

impl Tx<'_> {
    /// Appends at the session's end: in place while it stands at the end of a segment that it owns, else
    /// into a new history and a fresh segment.
    pub(super) fn append_turns(&mut self, id: &SessionId, turns: Vec<Turn>) -> Result<(), StoreError> {
        let session = self.state.session(id)?;
        if turns.is_empty() {
            return Ok(());
        }
        let mut head = match self.state.head(session) {
            Some(head) => head,
            None => self.open_head(id)?,
        };
        let mut tip = self.state.standing(self.state.session(id)?.cut)?.tip;
        for turn in turns {
            let placed = tip.push(&turn);
            let at = TurnRef { segment: head.segment, position: head.position };
            let (order_at, own, sums) = (placed.order_at, placed.own, placed.sums);
            self.state.turns.put(at, TurnRow { turn: Arc::new(turn), order_at, own, sums });
            head.position += 1;
        }
        if let Some(segment) = self.state.segments.edit(&head.segment) {
            segment.next_position = head.position;
        }
        self.write_record(id)?.cut.turn_count = tip.turn_count;
        self.touch(id)
    }

    /// Gives a session a history that goes on from where it stands with a fresh segment of its own.
    fn open_head(&mut self, id: &SessionId) -> Result<Head, StoreError> {
        let cut = self.state.session(id)?.cut;
        let segment = self.add_segment(id);
        let branch = self.state.history(cut.history)?.branch(cut.turn_count, segment);
        let history = self.add_history(branch);
        self.point(id, Cut { history, ..cut })?;
        self.drop_history_if_unused(cut.history);
        Ok(Head { segment, position: 0 })
    }

    /// Moves the session and leaves a checkpoint where it stood.
    pub(super) fn move_session(&mut self, id: &SessionId, to: Cut, leave: Leave) -> Result<(), StoreError> {
        let from = self.state.session(id)?.cut;
        self.add_checkpoint(leave.id, id, leave.name, leave.kind, from)?;
        self.state.standing(to)?;
        self.point(id, to)?;
        self.write_record(id)?;
        self.touch(id)?;
        self.prune_checkpoints(id)
    }

    /// Points a session at a cut.
    fn point(&mut self, id: &SessionId, to: Cut) -> Result<(), StoreError> {
        let from = std::mem::replace(&mut self.edit(id)?.cut, to);
        self.state.users_of.remove(&(from.history, User::Session(id.clone())));
        self.state.users_of.put((to.history, User::Session(id.clone())), ());
        Ok(())
    }

    /// A fresh segment that the session owns.
    pub(super) fn add_segment(&mut self, owner: &SessionId) -> SegmentId {
        let id = SegmentId(self.state.next_number());
        self.state.segments.put(id, Segment { owner: Some(owner.clone()), next_position: 0 });
        self.state.segments_of.put((owner.clone(), id), ());
        id
    }

    /// A new history, which reads from its slices' segments.
    pub(super) fn add_history(&mut self, history: History) -> HistoryId {
        let id = HistoryId(self.state.next_number());
        for slice in &history.slices {
            self.state.readers_of.put((slice.segment, id), ());
        }
        self.state.histories.put(id, Arc::new(history));
        id
    }

    /// Adds a signal; the one added last counts.
    pub(super) fn add_signal(&mut self, at: TurnRef, signal: Signal) -> Result<(), StoreError> {
        if !self.state.turns.contains(&at) {
            let id = format_args!("{}:{}", at.segment.0, at.position);
            return Err(StoreError::not_found(Subject::Turn, id));
        }
        let mut signals = self.state.signals.get(&at).cloned().unwrap_or_default();
        signals.push(signal);
        self.state.signals.put(at, signals);
        Ok(())
    }
}
