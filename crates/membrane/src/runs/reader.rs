//! Reading a run's events: each reader an index into the list that all share, so that a slow one costs nobody memory or
//! time, and coming late is the same as reading from the first.

use std::fmt;
use std::sync::Arc;

use membrane_core::run::{OpenCall, Piece};
use tokio::sync::watch;

use super::live::{LiveRun, RunOutcome};

/// How many events of one turn have numbers of their own. A run has far fewer: what arrives is handed on at
/// most every 20 ms, or 16 KiB at a time.
const EVENTS_PER_TURN: u64 = 1_000_000;

/// Numbers the events of a session's runs: upwards without gaps within a turn, higher in each later turn, and
/// never the same in two turns, even if one was rewound, so that a cursor left over from an earlier turn is
/// known for what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

impl EventId {
    /// The id of a turn's event; the first one has index 0. Each turn makes a new version of its session, and
    /// so does each rewind: the version at which a run began is no other run's. The first turn's events of a new
    /// session count from 1.
    fn new(version: u64, index: usize) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        Self(Self::base(version).saturating_add(index).saturating_add(1))
    }

    /// Sessions begin at version 1.
    fn base(version: u64) -> u64 {
        version.saturating_sub(1).saturating_mul(EVENTS_PER_TURN)
    }

    /// How many events of this turn lie behind whoever saw this id: none, if it is another turn's.
    fn seen_of(self, version: u64) -> usize {
        let seen = self.0.checked_sub(Self::base(version));
        seen.filter(|seen| *seen < EVENTS_PER_TURN).and_then(|seen| usize::try_from(seen).ok()).unwrap_or(0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// Something arrived.
    Piece(Arc<Piece>),
    /// The model waits for the results of these calls; nothing follows until all are there, and then in another reader. Its
    /// id is that of the piece before it.
    Waiting(Vec<OpenCall>),
    /// The run has ended; nothing follows.
    Ended(Arc<RunOutcome>),
}

/// Reads a run's events, from the first one or after one that was seen. Leaving stops nothing.
#[derive(Debug)]
pub struct RunReader {
    live: Arc<LiveRun>,
    events: watch::Receiver<usize>,
    /// The index of the next event.
    next: usize,
    /// Whether the end was told, by this reader or before it was made.
    has_told_end: bool,
}

impl RunReader {
    pub(crate) fn new(live: Arc<LiveRun>, after: Option<EventId>) -> Self {
        let seen = after.map_or(0, |after| after.seen_of(live.version()));
        Self::after(live, seen)
    }

    /// One that goes on after the first `seen` events.
    pub(crate) fn after(live: Arc<LiveRun>, seen: usize) -> Self {
        let mut events = live.events();
        let n_events = *events.borrow();
        let n_pieces = live.n_pieces();
        let has_told_end = match live.outcome().as_deref() {
            None => false,
            Some(RunOutcome::Waiting(_)) => seen == n_pieces,
            Some(RunOutcome::Finished(_) | RunOutcome::Lost { .. }) => seen == n_pieces + 1,
        };
        // Nobody has seen what is still to come; but where another process drives it, or drove it until it died, more may
        // have been seen there than is known here.
        let is_ours = seen <= n_events || live.is_followed();
        if n_events > 0 {
            events.mark_changed();
        }
        let next = if is_ours { seen } else { 0 };
        Self { live, events, next, has_told_end }
    }

    /// The number of the turn that the run becomes.
    pub fn turn_number(&self) -> u64 {
        self.live.turn_number()
    }

    /// Whether there is nothing more to read.
    pub fn is_at_end(&self) -> bool {
        self.has_told_end
    }

    /// The next event with its id, as soon as it is there; `None` after the last one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<(EventId, RunEvent)> {
        loop {
            if self.is_at_end() {
                return None;
            }
            if let Some(event) = self.take() {
                return Some(event);
            }
            // The sender lives as long as the run that this reader holds.
            self.events.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Option<(EventId, RunEvent)> {
        let progress = self.live.progress();
        let n_pieces = progress.pieces.len();
        let (index, event) = if let Some(piece) = progress.pieces.get(self.next) {
            let event = RunEvent::Piece(Arc::clone(piece));
            self.next += 1;
            (self.next - 1, event)
        } else {
            let outcome = progress.outcome.as_ref()?;
            self.has_told_end = true;
            match &**outcome {
                RunOutcome::Waiting(calls) => (n_pieces.saturating_sub(1), RunEvent::Waiting(calls.clone())),
                RunOutcome::Finished(_) | RunOutcome::Lost { .. } => {
                    (self.next.max(n_pieces), RunEvent::Ended(Arc::clone(outcome)))
                }
            }
        };
        drop(progress);
        Some((EventId::new(self.live.version(), index), event))
    }

    /// How long the answer is so far, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.live.progress().text_bytes
    }

    /// The answer as far as it has arrived.
    pub fn text(&self) -> String {
        self.live.text()
    }

    /// How the run ended, if it has.
    pub fn outcome(&self) -> Option<Arc<RunOutcome>> {
        self.live.outcome()
    }

    /// Returns when something has happened since the last call, or ever, for the first one. Does not move the
    /// reader. After the end, nothing happens any more: ask for the outcome before.
    ///
    /// # Cancel safety
    /// Dropping the future loses no news.
    pub async fn changed(&mut self) {
        // The sender lives as long as the run that this reader holds.
        let _ = self.events.changed().await;
    }
}
