//! One run as this process sees it: what has arrived so far, and how it ended. Readers take from the same
//! list, each at its own pace, so that a slow one costs nobody memory or time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use membrane_core::evidence::{Evidence, Standing};
use membrane_core::run::{Piece, PieceBody, Run};
use membrane_core::session::Session;
use membrane_core::turn::{Item, KeptTurn, Turn};
use tokio::sync::watch;

/// How many events of one turn have numbers of their own. A run has far fewer: what arrives is handed on at
/// most every 20 ms, or 16 KiB at a time.
const EVENTS_PER_TURN: u64 = 1_000_000;

/// What a piece costs beside its text.
const PIECE_BYTES: usize = size_of::<Piece>() + 4 * size_of::<usize>();

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
    /// A turn as it is kept in `session`.
    pub(crate) fn kept(session: &Session, kept: KeptTurn) -> Self {
        Self {
            turn: kept.turn,
            number: kept.number,
            turn_count: kept.number.saturating_add(1),
            standing: Standing { totals: kept.totals, flipped: kept.flipped, legacy: session.legacy },
        }
    }

    /// The session's evidence after the turn.
    pub fn evidence(&self) -> Evidence {
        self.standing.evidence()
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
    /// The session's version when it began.
    version: u64,
    progress: Mutex<Progress>,
    /// How many events there are.
    events: watch::Sender<usize>,
    stop: watch::Sender<Option<Stop>>,
}

#[derive(Debug, Default)]
struct Progress {
    pieces: Vec<Arc<Piece>>,
    /// How long the answer is.
    text_bytes: usize,
    /// What all pieces hold.
    bytes: usize,
    outcome: Option<Arc<RunOutcome>>,
}

impl LiveRun {
    pub(crate) fn new(run: Run, turn_number: u64, version: u64) -> Self {
        Self {
            run,
            turn_number,
            version,
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
        progress.bytes += PIECE_BYTES + body_bytes(&body);
        if let PieceBody::Text(text) = &body {
            progress.text_bytes += text.len();
        }
        progress.pieces.push(Arc::new(Piece { seq, body }));
        let n_events = progress.pieces.len();
        drop(progress);
        self.events.send_replace(n_events);
    }

    /// Notes how it ended, and tells the readers. What was noted first stays, unless a turn that was given up
    /// for lost is kept after all: whoever has not been told yet, or comes later, hears of that.
    pub(crate) fn end(&self, outcome: RunOutcome) {
        let mut progress = self.progress();
        let is_news = match progress.outcome.as_deref() {
            None => true,
            Some(RunOutcome::Lost { .. }) => matches!(outcome, RunOutcome::Finished(_)),
            Some(RunOutcome::Finished(_)) => false,
        };
        if is_news {
            progress.outcome = Some(Arc::new(outcome));
        }
        let n_events = progress.pieces.len() + 1;
        drop(progress);
        self.events.send_replace(n_events);
    }

    /// Whether it has become a turn.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.progress().outcome.as_deref(), Some(RunOutcome::Finished(_)))
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

    /// How many pieces there are.
    pub(crate) fn n_pieces(&self) -> usize {
        self.progress().pieces.len()
    }

    /// Roughly how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let progress = self.progress();
        let turn = match progress.outcome.as_deref() {
            Some(RunOutcome::Finished(finished)) => turn_bytes(&finished.turn),
            _ => 0,
        };
        size_of::<Self>() + self.run.user.content.len() + progress.bytes + turn
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

fn body_bytes(body: &PieceBody) -> usize {
    match body {
        PieceBody::Text(text) | PieceBody::Reasoning(text) => text.len(),
        PieceBody::Tool(tool) => tool.input.as_str().len() + tool.output.as_str().len(),
    }
}

fn turn_bytes(turn: &Turn) -> usize {
    let items = turn.items.iter().map(|item| match item {
        Item::Reasoning(text) => text.len(),
        Item::Tool(tool) => tool.input.as_str().len() + tool.output.as_str().len(),
        Item::Message(message) => message.content.len(),
        Item::Other(value) => value.as_str().len(),
    });
    turn.user.content.len() + turn.assistant.content.len() + items.sum::<usize>()
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
        let mut events = live.events.subscribe();
        let seen = after.map_or(0, |after| after.seen_of(live.version));
        let n_events = *events.borrow();
        // Nobody has seen what is still to come.
        let next = if seen > n_events { 0 } else { seen };
        if n_events > 0 {
            events.mark_changed();
        }
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
        let id = EventId::new(self.live.version, self.next);
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
