//! Events: numbered when a change has gone well, under the lock, so that their order is that of the changes.

use std::collections::VecDeque;

use membrane_core::event::{Event, EventSeq};
use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;

use super::state::{State, User};
use crate::events::{EventBounds, EventPage, FORGET_AT_ONCE, NewEvent};

/// What is to be forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forgetting {
    pub(super) before: Timestamp,
    pub(super) keep: u64,
}

/// The events that are kept.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// Oldest first.
    kept: VecDeque<Event>,
    bounds: EventBounds,
}

impl EventLog {
    /// Begins to count after this number.
    pub(super) fn starting_at(base: EventSeq) -> Self {
        Self { kept: VecDeque::new(), bounds: EventBounds { oldest: base, newest: base } }
    }

    pub(super) fn bounds(&self) -> EventBounds {
        self.bounds
    }

    pub(super) fn add(&mut self, events: Vec<NewEvent>, now: Timestamp) {
        for NewEvent { kind, session, version } in events {
            let seq = EventSeq(self.bounds.newest.0 + 1);
            self.bounds.newest = seq;
            self.kept.push_back(Event { seq, kind, session, version, at: now });
        }
    }

    pub(super) fn list(&self, after: EventSeq, limit: u32) -> EventPage {
        if !self.bounds.contain(after) {
            return EventPage::Reset(self.bounds.newest);
        }
        let first = self.kept.partition_point(|event| event.seq <= after);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        EventPage::Events(self.kept.iter().skip(first).take(limit).cloned().collect())
    }

    /// Forgets the oldest.
    pub(super) fn forget(&mut self, what: Forgetting) {
        for _ in 0..FORGET_AT_ONCE {
            let n_kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
            let Some(oldest) = self.kept.front() else { return };
            if oldest.at >= what.before && n_kept <= what.keep {
                return;
            }
            self.bounds.oldest = oldest.seq;
            self.kept.pop_front();
        }
    }
}

impl State {
    /// The sessions that hold a turn.
    pub(super) fn holders(&self, at: TurnRef) -> Vec<SessionId> {
        let users = self.readers(at.segment).flat_map(|history| self.users(history));
        let sessions = users.filter_map(|user| match user {
            User::Session(id) => self.sessions.get(id),
            User::Checkpoint(_) => None,
        });
        let holds = |cut: Cut| {
            self.histories.get(&cut.history).is_some_and(|history| {
                let mut spans = history.spans(cut.turn_count).into_iter();
                spans.any(|span| span.segment == at.segment && (span.from..span.to).contains(&at.position))
            })
        };
        sessions.filter(|session| holds(session.cut)).map(|session| session.id.clone()).collect()
    }
}
