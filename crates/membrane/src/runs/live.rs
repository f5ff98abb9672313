//! One run as this process sees it: what has arrived so far, and how it ended. Readers take from the same
//! list, each at its own pace, so that a slow one costs nobody memory or time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use membrane_core::evidence::{Evidence, LegacyTotals, Standing};
use membrane_core::run::{Piece, PieceBody, Run};
use membrane_core::turn::Turn;
use tokio::sync::watch;

/// How many events of one turn have numbers of their own. A run has far fewer: pieces of an answer are kept
/// 20 ms or 16 KiB apart.
const EVENTS_PER_TURN: u64 = 1_000_000;

/// Numbers the events of a session's runs: upwards without gaps within a turn, and never the same in two
/// turns, so that a cursor left over from an earlier turn is known for what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

impl EventId {
    /// The id of a turn's event; the first one has index 0.
    fn new(turn_number: u64, index: usize) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        Self(turn_number.saturating_mul(EVENTS_PER_TURN).saturating_add(index).saturating_add(1))
    }

    /// How many events of this turn lie behind whoever saw this id: none, if it is another turn's.
    fn seen_of(self, turn_number: u64) -> usize {
        let seen = self.0.checked_sub(turn_number.saturating_mul(EVENTS_PER_TURN));
        seen.filter(|seen| *seen < EVENTS_PER_TURN).and_then(|seen| usize::try_from(seen).ok()).unwrap_or(0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A turn that a run became, and what the session added up to right after it.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedTurn {
    /// The turn.
    pub turn: Turn,
    /// Its number in the session.
    pub number: u64,
    /// How many turns the session had then.
    pub turn_count: u64,
    /// What they added up to.
    pub standing: Standing,
}

impl FinishedTurn {
    /// The session's evidence after the turn.
    pub fn evidence(&self) -> Evidence {
        self.standing.evidence()
    }

    /// The legacy observations of the session's history.
    pub fn legacy(&self) -> LegacyTotals {
        self.standing.legacy
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutcome {
    /// It became a turn, durable: complete, interrupted or failed, as its status says.
    Finished(Box<FinishedTurn>),
    /// It became none, as far as this process knows.
    Lost {
        /// A stable word: `not_found` when its session was deleted, `lease_lost` when another process took it
        /// over, `storage_full` or `unavailable` when the store does not take the turn, `internal`.
        code: &'static str,
        /// What happened, for a person.
        message: String,
    },
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// Something arrived.
    Piece(Arc<Piece>),
    /// The run has ended; nothing follows.
    Ended(Arc<RunOutcome>),
}

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The user said so.
    Cancelled,
    /// The process is about to end.
    Shutdown,
    /// Its session is gone.
    Deleted,
}

/// One run, from its beginning until nobody needs it any more.
#[derive(Debug)]
pub(crate) struct LiveRun {
    run: Run,
    turn_number: u64,
    progress: Mutex<Progress>,
    /// How many events there are.
    events: watch::Sender<usize>,
    stop: watch::Sender<Option<Stop>>,
}

#[derive(Debug, Default)]
struct Progress {
    pieces: Vec<Arc<Piece>>,
    text_bytes: usize,
    outcome: Option<Arc<RunOutcome>>,
}

impl LiveRun {
    pub(crate) fn new(run: Run, turn_number: u64) -> Self {
        Self {
            run,
            turn_number,
            progress: Mutex::default(),
            events: watch::Sender::new(0),
            stop: watch::Sender::new(None),
        }
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) fn turn_number(&self) -> u64 {
        self.turn_number
    }

    /// Adds a piece and tells the readers.
    pub(crate) fn push(&self, body: PieceBody) {
        let mut progress = self.progress();
        let seq = u64::try_from(progress.pieces.len()).unwrap_or(u64::MAX);
        if let PieceBody::Text(text) = &body {
            progress.text_bytes += text.len();
        }
        progress.pieces.push(Arc::new(Piece { seq, body }));
        let n_events = progress.pieces.len();
        drop(progress);
        self.events.send_replace(n_events);
    }

    /// Notes how it ended, and tells the readers; what was noted first stays.
    pub(crate) fn end(&self, outcome: RunOutcome) {
        let mut progress = self.progress();
        if progress.outcome.is_none() {
            progress.outcome = Some(Arc::new(outcome));
        }
        let n_events = progress.pieces.len() + 1;
        drop(progress);
        self.events.send_replace(n_events);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.progress().outcome.is_some()
    }

    /// How it ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Arc<RunOutcome>> {
        self.progress().outcome.clone()
    }

    /// Asks it to stop; the first reason stays.
    pub(crate) fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(why);
            is_first
        });
    }

    pub(crate) fn stops(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    /// The pieces from number `from` on.
    pub(crate) fn pieces_from(&self, from: usize) -> Vec<Arc<Piece>> {
        self.progress().pieces.get(from..).unwrap_or_default().to_vec()
    }

    /// Roughly how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let outcome = match self.progress().outcome.as_deref() {
            Some(RunOutcome::Finished(finished)) => {
                finished.turn.user.content.len() + finished.turn.assistant.content.len()
            }
            _ => 0,
        };
        size_of::<Self>() + self.run.user.content.len() + self.progress().text_bytes + outcome
    }

    /// The answer as far as it has arrived.
    pub(crate) fn text(&self) -> String {
        let progress = self.progress();
        let mut text = String::with_capacity(progress.text_bytes);
        for piece in &progress.pieces {
            if let PieceBody::Text(more) = &piece.body {
                text.push_str(more);
            }
        }
        text
    }

    /// Held for a copy or a push, never across a wait; whoever panicked with it has left whole pieces.
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a run's events, from the first one or after one that was seen. Leaving stops nothing.
#[derive(Debug)]
pub struct RunReader {
    live: Arc<LiveRun>,
    events: watch::Receiver<usize>,
    /// The index of the next event.
    next: usize,
}

impl RunReader {
    pub(crate) fn new(live: Arc<LiveRun>, after: Option<EventId>) -> Self {
        let next = after.map_or(0, |after| after.seen_of(live.turn_number));
        let events = live.events.subscribe();
        Self { live, events, next }
    }

    /// The number of the turn that the run becomes.
    pub fn turn_number(&self) -> u64 {
        self.live.turn_number
    }

    /// Whether there is nothing more to read.
    pub fn is_at_end(&self) -> bool {
        let progress = self.live.progress();
        progress.outcome.is_some() && self.next > progress.pieces.len()
    }

    /// The next event with its id, as soon as it is there; `None` after the last one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<(EventId, RunEvent)> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            if self.is_at_end() {
                return None;
            }
            let next = self.next;
            // The sender lives as long as the run that this reader holds.
            self.events.wait_for(|n_events| *n_events > next).await.ok()?;
        }
    }

    fn take(&mut self) -> Option<(EventId, RunEvent)> {
        let progress = self.live.progress();
        let event = match progress.pieces.get(self.next) {
            Some(piece) => RunEvent::Piece(Arc::clone(piece)),
            None if self.next == progress.pieces.len() => {
                RunEvent::Ended(Arc::clone(progress.outcome.as_ref()?))
            }
            None => return None,
        };
        drop(progress);
        let id = EventId::new(self.live.turn_number, self.next);
        self.next += 1;
        Some((id, event))
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

    /// Returns when something has happened since the last call. Does not move the reader.
    ///
    /// # Cancel safety
    /// Dropping the future loses no news.
    pub async fn changed(&mut self) {
        // The sender lives as long as the run that this reader holds.
        let _ = self.events.changed().await;
    }
}
