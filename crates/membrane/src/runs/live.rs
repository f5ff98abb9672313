//! One run as this process sees it: what has arrived so far, and how it ended. Readers take from the same
//! list, each at its own pace, so that a slow one costs nobody memory or time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use membrane_core::evidence::{Evidence, Standing};
use membrane_core::json::Json;
use membrane_core::run::{OpenCall, Piece, PieceBody, Run, RunShape, Transcript};
use membrane_core::session::Session;
use membrane_core::turn::{Item, KeptTurn, Turn};
use tokio::sync::watch;

/// What a piece costs beside its text.
const PIECE_BYTES: usize = size_of::<Piece>() + 4 * size_of::<usize>();

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
    /// It waits for tools: for the results of these calls. It goes on under a new lease, on whichever process takes the
    /// last one in.
    Waiting(Vec<OpenCall>),
    /// It became no turn, as far as this process knows.
    Lost {
        /// A stable word: `not_found` when its session was deleted, `lease_lost` when another process took it
        /// over, `storage_full` or `unavailable` when the store does not take the turn, `internal`.
        code: &'static str,
        /// What happened, for a person.
        message: String,
    },
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

/// A session as a run found it, and its newest turns.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) session: Session,
    pub(super) turns: Vec<KeptTurn>,
}

/// One run, from its beginning until nobody needs it any more.
#[derive(Debug)]
pub(crate) struct LiveRun {
    run: Run,
    turn_number: u64,
    /// The session's version when it began.
    version: u64,
    /// Whether another process drives it, so that what is here may lag behind.
    is_followed: bool,
    foreseen: Mutex<Option<Foreseen>>,
    progress: Mutex<Progress>,
    /// How many events there are.
    events: watch::Sender<usize>,
    stop: watch::Sender<Option<Stop>>,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) pieces: Vec<Arc<Piece>>,
    /// How long the answer is.
    pub(super) text_bytes: usize,
    /// What all pieces hold.
    bytes: usize,
    pub(super) outcome: Option<Arc<RunOutcome>>,
}

impl LiveRun {
    /// One that this process drives, with what had arrived of it before.
    pub(crate) fn driven(run: Run, turn_number: u64, pieces: Vec<Piece>) -> Self {
        let live = Self::new(run, turn_number, false);
        for piece in pieces {
            live.push(piece.body);
        }
        live
    }

    /// One that another process drives.
    pub(crate) fn followed(run: Run, turn_number: u64) -> Self {
        Self::new(run, turn_number, true)
    }

    fn new(run: Run, turn_number: u64, is_followed: bool) -> Self {
        Self {
            version: run.version,
            run,
            turn_number,
            is_followed,
            foreseen: Mutex::default(),
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

    /// Keeps what was read while the run was begun, for its first prompt.
    pub(super) fn foresee(&self, foreseen: Foreseen) {
        *self.foreseen.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreseen);
    }

    pub(super) fn take_foreseen(&self) -> Option<Foreseen> {
        self.foreseen.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    /// for lost is kept after all, or its calls are: whoever has not been told yet, or comes later, hears of that.
    pub(crate) fn end(&self, outcome: RunOutcome) {
        let mut progress = self.progress();
        let is_news = match progress.outcome.as_deref() {
            None => true,
            Some(RunOutcome::Lost { .. }) => {
                matches!(outcome, RunOutcome::Finished(_) | RunOutcome::Waiting(_))
            }
            Some(RunOutcome::Finished(_) | RunOutcome::Waiting(_)) => false,
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

    /// Whether it waits for tools.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.progress().outcome.as_deref(), Some(RunOutcome::Waiting(_)))
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

    /// The session's version when it began.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether another process drives it.
    pub(super) fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Tells how many events there are, and when there are more.
    pub(super) fn events(&self) -> watch::Receiver<usize> {
        self.events.subscribe()
    }

    pub(crate) fn stops(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    /// The pieces from number `from` on.
    pub(crate) fn pieces_from(&self, from: usize) -> Vec<Arc<Piece>> {
        self.progress().pieces.get(from..).unwrap_or_default().to_vec()
    }

    /// Into which pieces the answer was cut.
    pub(crate) fn shape(&self) -> RunShape {
        RunShape::of(self.progress().pieces.iter().map(|piece| &piece.body))
    }

    /// What the pieces say.
    pub(crate) fn transcript(&self) -> Transcript {
        Transcript::of(self.pieces_from(0).iter().map(|piece| &**piece))
    }

    /// The calls that have no result, as of the first `n_pieces` pieces.
    pub(crate) fn open_calls(&self, n_pieces: usize) -> Vec<OpenCall> {
        Transcript::open_calls(self.pieces_from(0).iter().take(n_pieces).map(|piece| &**piece))
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
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes of text a piece holds.
pub(super) fn body_bytes(body: &PieceBody) -> usize {
    match body {
        PieceBody::Text(text) | PieceBody::Reasoning(text) => text.len(),
        PieceBody::Call(call) => call.input.as_str().len(),
        PieceBody::Pause(pause) => {
            let len = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.as_str().len());
            len(&pause.usage) + len(&pause.carry)
        }
        PieceBody::Consent { consent, .. } => consent.reason.as_ref().map_or(0, String::len),
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
