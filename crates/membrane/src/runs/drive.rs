//! Driving one run: hear the answer, hand its pieces on, keep the turn, tell how it ended.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use membrane_core::json::Json;
use membrane_core::run::{PieceBody, RunEnd};
use membrane_core::turn::{Turn, TurnError, TurnStatus};
use membrane_responder::{Prompt, Reply, ReplyPart, ResponderError};
use membrane_store::{Change, Receipt, Requirement, StoreError, Write};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::live::{FinishedTurn, LiveRun, RunOutcome, Stop};
use super::log::{self, RunLog};
use crate::chat::Chat;

/// How far apart pieces are handed on, so that a fast model does not make a thousand events a second.
const PACE: Duration = Duration::from_millis(20);

/// A piece that is this long is not held back.
const MAX_PIECE_BYTES: usize = 16 * 1024;

/// How many parts are taken in before others get a turn.
const MAX_PARTS: usize = 1024;

/// How long readers wait for a store that does not take the turn before they are told.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pauses between two offers to such a store.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How the answer ended.
struct Ending {
    end: RunEnd,
    usage: Option<Json>,
}

impl From<RunEnd> for Ending {
    fn from(end: RunEnd) -> Self {
        Self { end, usage: None }
    }
}

/// Why a run becomes no turn.
enum Gone {
    /// Its session was deleted by this process.
    Deleted,
    /// The store refused a write for good.
    Refused(StoreError),
}

/// Drives the run to its end, whatever that is.
pub(super) async fn drive(chat: Chat, live: Arc<LiveRun>) {
    let guard = Ended { chat: &chat, live: &live };
    let mut log = RunLog::new(&chat, &live);
    let outcome = match hear(&chat, &live, &mut log).await {
        Ok(ending) => finish(&chat, &live, &mut log, ending).await,
        Err(gone) => lost(&chat, &live, gone).await,
    };
    live.end(outcome);
    drop(guard);
}

/// Hears the answer. A responder that panics has ended it.
async fn hear(chat: &Chat, live: &LiveRun, log: &mut RunLog) -> Result<Ending, Gone> {
    // What the panic may have left half done is dropped with the listener; the log takes in whole pieces.
    let hearing = AssertUnwindSafe(async {
        let reply = chat.responder().respond(Prompt { message: live.run().user.clone() });
        Listener::new(chat, live, reply).listen(log).await
    });
    hearing.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(run.id = %live.run().id, "the responder panicked");
        let message = "the way to the model broke down; what had arrived is kept, send again";
        Ok(RunEnd::interrupted("internal", message).into())
    })
}

/// Closes the run's entry however the task ends, a panic included, so that nobody waits for ever.
struct Ended<'a> {
    chat: &'a Chat,
    live: &'a Arc<LiveRun>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let message = "the turn could not be finished; what the user said is kept".to_owned();
        self.live.end(RunOutcome::Lost { code: "internal", message });
        self.chat.runs().close(self.live, self.chat.run_settings());
    }
}

/// What happened while nothing was there to be taken.
enum Heard {
    Stop(Option<Stop>),
    Part(Option<Result<ReplyPart, ResponderError>>),
    /// What is held is due.
    Nothing,
}

/// Hears the answer and hands it on; what is held goes on when it is dropped.
struct Listener<'a> {
    live: &'a LiveRun,
    reply: Reply,
    stops: watch::Receiver<Option<Stop>>,
    /// What has arrived and is not yet handed on. The two are kept apart, so that a model that thinks aloud
    /// between any two words makes no more pieces than another.
    held_text: String,
    held_reasoning: String,
    hand_on_at: Instant,
    /// How much more the answer may hold.
    bytes_left: usize,
}

impl<'a> Listener<'a> {
    fn new(chat: &Chat, live: &'a LiveRun, reply: Reply) -> Self {
        let bytes_left = chat.limits().max_turn_bytes.saturating_sub(live.run().user.content.len());
        Self {
            live,
            reply,
            stops: live.stops(),
            held_text: String::new(),
            held_reasoning: String::new(),
            hand_on_at: Instant::now(),
            bytes_left,
        }
    }

    async fn listen(&mut self, log: &mut RunLog) -> Result<Ending, Gone> {
        loop {
            let mut n_parts = 0;
            while n_parts < MAX_PARTS
                && self.held_bytes() < MAX_PIECE_BYTES
                && let Some(part) = self.reply.next().now_or_never()
            {
                n_parts += 1;
                if let Some(ending) = self.take(part) {
                    return Ok(ending);
                }
            }
            let is_full = self.held_bytes() >= MAX_PIECE_BYTES;
            if is_full || Instant::now() >= self.hand_on_at {
                self.hand_on();
            }
            if is_full || n_parts == MAX_PARTS {
                // A model that is always ready must not keep others from running.
                tokio::task::yield_now().await;
            }
            let heard = tokio::select! {
                // In this order, so that such a model can be stopped, and its words are logged.
                biased;
                stop = self.stops.wait_for(Option::is_some) => Heard::Stop(stop.ok().and_then(|stop| *stop)),
                refusal = log.tend() => return Err(Gone::Refused(refusal)),
                part = self.reply.next() => Heard::Part(part),
                () = sleep_until(self.hand_on_at), if self.held_bytes() > 0 => Heard::Nothing,
            };
            let ending = match heard {
                // The sender lives as long as the run, so that there always is a reason.
                Heard::Stop(why) => Some(stopped(why.unwrap_or(Stop::Shutdown))?.into()),
                Heard::Part(part) => self.take(part),
                Heard::Nothing => None,
            };
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.held_text.len() + self.held_reasoning.len()
    }

    /// Takes a part in; `Some` if it was the last.
    fn take(&mut self, part: Option<Result<ReplyPart, ResponderError>>) -> Option<Ending> {
        match part {
            None => Some(RunEnd::complete().into()),
            Some(Ok(ReplyPart::Text(text))) => self.hold(&text, |held| &mut held.held_text),
            Some(Ok(ReplyPart::Reasoning(text))) => self.hold(&text, |held| &mut held.held_reasoning),
            Some(Ok(ReplyPart::End { finish_reason, usage })) => {
                Some(Ending { end: RunEnd { finish_reason, ..RunEnd::complete() }, usage })
            }
            Some(Err(ResponderError { code, message })) => {
                let error = TurnError { code: code.to_owned(), message };
                Some(RunEnd { status: TurnStatus::Failed, error: Some(error), finish_reason: None }.into())
            }
        }
    }

    /// Joins what arrives to what is held; `Some` if the answer became too large.
    fn hold(&mut self, more: &str, to: impl FnOnce(&mut Self) -> &mut String) -> Option<Ending> {
        let Some(left) = self.bytes_left.checked_sub(more.len()) else {
            let message = "the answer grew over the limit for a turn; what had arrived is kept";
            return Some(RunEnd::interrupted("too_large", message).into());
        };
        self.bytes_left = left;
        to(self).push_str(more);
        None
    }

    fn hand_on(&mut self) {
        if self.held_bytes() == 0 {
            return;
        }
        // Models think first.
        if !self.held_reasoning.is_empty() {
            self.live.push(PieceBody::Reasoning(mem::take(&mut self.held_reasoning)));
        }
        if !self.held_text.is_empty() {
            self.live.push(PieceBody::Text(mem::take(&mut self.held_text)));
        }
        self.hand_on_at = Instant::now() + PACE;
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.hand_on();
    }
}

/// How a run ends that was asked to stop.
fn stopped(stop: Stop) -> Result<RunEnd, Gone> {
    match stop {
        Stop::Cancelled => {
            Ok(RunEnd::interrupted("cancelled", "stopped by the user; what had arrived is kept"))
        }
        Stop::Shutdown => {
            Ok(RunEnd::interrupted("server_stopped", "the server was stopped; what had arrived is kept"))
        }
        Stop::Deleted => Err(Gone::Deleted),
    }
}

/// Makes the turn and keeps it.
async fn finish(chat: &Chat, live: &LiveRun, log: &mut RunLog, ending: Ending) -> RunOutcome {
    let pieces = live.pieces_from(0);
    let turn = live.run().finish(pieces.iter().map(|piece| &**piece), ending.end, chat.now());
    let turn = Turn { usage: ending.usage, ..turn };
    drop(pieces);
    let mut pause = MIN_PAUSE;
    let start = Instant::now();
    let refusal = loop {
        let offered = match log.settle().await {
            Ok(()) => offer(chat, live, &turn).await,
            Err(refusal) => break refusal,
        };
        let error = match offered {
            Ok(receipt) => return finished(live, &receipt, turn),
            Err(error) => error,
        };
        if log::is_final(&error) {
            break error;
        }
        let (code, why) = match error {
            StoreError::StorageFull => ("storage_full", "the storage is full"),
            _ => ("unavailable", "the store does not answer"),
        };
        let message = format!("{why}: what the user said is kept, and the answer will be once it can be");
        let refused = RunOutcome::Lost { code, message };
        if start.elapsed() >= chat.run_settings().offer_for {
            tracing::error!(%error, run.id = %live.run().id, "a turn could not be kept");
            return refused;
        }
        if start.elapsed() >= PATIENCE {
            // Readers need not wait any longer; the turn is offered on.
            live.end(refused);
        }
        tracing::warn!(%error, run.id = %live.run().id, "a turn is offered to the store again");
        tokio::select! {
            () = sleep(pause) => {}
            // As far as the store can, it keeps the lease and takes the pieces.
            refusal = log.tend() => break refusal,
        }
        pause = (pause * 2).min(MAX_PAUSE);
    };
    // The store may have taken an offer and failed to say so.
    match find_kept(chat, live).await {
        Some(kept) if kept.turn == turn => RunOutcome::Finished(Box::new(kept)),
        _ => lost(chat, live, Gone::Refused(refusal)).await,
    }
}

/// How a run ends that becomes no turn, as far as this process knows.
async fn lost(chat: &Chat, live: &LiveRun, gone: Gone) -> RunOutcome {
    let deleted = || ("not_found", "the session was deleted while its turn was under way".to_owned());
    let (code, message) = match gone {
        Gone::Deleted | Gone::Refused(StoreError::NotFound { .. }) => deleted(),
        // A run goes with its session, and then its lease does.
        Gone::Refused(StoreError::LeaseLost { .. }) => {
            match chat.store().find_session(&live.run().session).await {
                Ok(None) => deleted(),
                _ => (
                    "lease_lost",
                    "another server has closed this turn; load the session to see it".to_owned(),
                ),
            }
        }
        Gone::Refused(StoreError::Closed) => {
            ("unavailable", "the server is stopping; what the user said is kept".to_owned())
        }
        Gone::Refused(other) => {
            tracing::error!(error = &other as &dyn std::error::Error, "a run's write was refused");
            ("internal", "the turn could not be kept; what the user said is".to_owned())
        }
    };
    RunOutcome::Lost { code, message }
}

/// The turn that the run became, if it is where it would be.
async fn find_kept(chat: &Chat, live: &LiveRun) -> Option<FinishedTurn> {
    let range = live.turn_number()..live.turn_number().saturating_add(1);
    let thread = chat.store().load_thread(&live.run().session, range).await.ok()??;
    let kept = thread.turns.into_iter().find(|kept| kept.turn.id == live.run().turn_id)?;
    Some(FinishedTurn::kept(&thread.session, kept))
}

async fn offer(chat: &Chat, live: &LiveRun, turn: &Turn) -> Result<Receipt, StoreError> {
    let run = live.run();
    let change = Change::at(chat.now())
        .require(Requirement::Lease { run: run.id.clone(), token: run.lease.token })
        .write(Write::FinishRun { run: run.id.clone(), turn: Box::new(turn.clone()) });
    chat.store().commit(change).await
}

fn finished(live: &LiveRun, receipt: &Receipt, turn: Turn) -> RunOutcome {
    let Some(stamp) = receipt.stamp(&live.run().session) else {
        let message = "the turn is kept; load the session to see it".to_owned();
        return RunOutcome::Lost { code: "internal", message };
    };
    let turn_count = stamp.cut.turn_count;
    RunOutcome::Finished(Box::new(FinishedTurn {
        turn,
        number: turn_count.saturating_sub(1),
        turn_count,
        standing: stamp.standing,
    }))
}
