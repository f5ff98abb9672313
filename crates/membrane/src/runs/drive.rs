//! Driving one run: hear the answer, hand its pieces on, keep the turn, tell how it ended.

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

/// Drives the run to its end, whatever that is.
pub(super) async fn drive(chat: Chat, live: Arc<LiveRun>) {
    let guard = Ended { chat: &chat, live: &live };
    let reply = chat.responder().respond(Prompt { message: live.run().user.clone() });
    let mut log = RunLog::new(&chat, &live);
    let mut listener = Listener::new(&chat, &live, reply);
    let outcome = match listener.listen(&mut log).await {
        Ok(ending) => {
            drop(listener);
            finish(&chat, &live, &mut log, ending).await
        }
        Err(lost) => lost,
    };
    live.end(outcome);
    drop(guard);
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

/// Hears the answer and hands it on.
struct Listener<'a> {
    live: &'a LiveRun,
    reply: Reply,
    stops: watch::Receiver<Option<Stop>>,
    /// What has arrived and is not yet handed on.
    held: Option<PieceBody>,
    held_bytes: usize,
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
            held: None,
            held_bytes: 0,
            hand_on_at: Instant::now(),
            bytes_left,
        }
    }

    async fn listen(&mut self, log: &mut RunLog) -> Result<Ending, RunOutcome> {
        loop {
            while self.held_bytes < MAX_PIECE_BYTES
                && let Some(part) = self.reply.next().now_or_never()
            {
                if let Some(ending) = self.take(part) {
                    self.hand_on();
                    return Ok(ending);
                }
            }
            if self.held_bytes >= MAX_PIECE_BYTES {
                self.hand_on();
                // A model that is always ready must not keep others from running.
                tokio::task::yield_now().await;
            } else if Instant::now() >= self.hand_on_at {
                self.hand_on();
            }
            let heard = tokio::select! {
                stop = self.stops.wait_for(Option::is_some) => Heard::Stop(stop.ok().and_then(|stop| *stop)),
                part = self.reply.next() => Heard::Part(part),
                () = sleep_until(self.hand_on_at), if self.held.is_some() => Heard::Nothing,
                lost = log.tend() => return Err(lost),
            };
            let ending = match heard {
                // The sender lives as long as the run, so that there always is a reason.
                Heard::Stop(why) => Some(stopped(why.unwrap_or(Stop::Shutdown))?.into()),
                Heard::Part(part) => self.take(part),
                Heard::Nothing => None,
            };
            if let Some(ending) = ending {
                self.hand_on();
                return Ok(ending);
            }
        }
    }

    /// Takes a part in; `Some` if it was the last.
    fn take(&mut self, part: Option<Result<ReplyPart, ResponderError>>) -> Option<Ending> {
        match part {
            None => Some(RunEnd::complete().into()),
            Some(Ok(ReplyPart::Text(text))) => self.hold(PieceBody::Text(text)),
            Some(Ok(ReplyPart::Reasoning(text))) => self.hold(PieceBody::Reasoning(text)),
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
    fn hold(&mut self, more: PieceBody) -> Option<Ending> {
        let bytes = match &more {
            PieceBody::Text(text) | PieceBody::Reasoning(text) => text.len(),
            PieceBody::Tool(tool) => tool.input.as_str().len() + tool.output.as_str().len(),
        };
        let Some(left) = self.bytes_left.checked_sub(bytes) else {
            let message = "the answer grew over the limit for a turn; what had arrived is kept";
            return Some(RunEnd::interrupted("too_large", message).into());
        };
        self.bytes_left = left;
        self.held_bytes += bytes;
        match (&mut self.held, more) {
            (Some(PieceBody::Text(held)), PieceBody::Text(more))
            | (Some(PieceBody::Reasoning(held)), PieceBody::Reasoning(more)) => held.push_str(&more),
            (held, more) => {
                if let Some(before) = held.replace(more) {
                    self.live.push(before);
                }
            }
        }
        None
    }

    fn hand_on(&mut self) {
        if let Some(piece) = self.held.take() {
            self.live.push(piece);
            self.held_bytes = 0;
            self.hand_on_at = Instant::now() + PACE;
        }
    }
}

/// How a run ends that was asked to stop.
fn stopped(stop: Stop) -> Result<RunEnd, RunOutcome> {
    match stop {
        Stop::Cancelled => {
            Ok(RunEnd::interrupted("cancelled", "stopped by the user; what had arrived is kept"))
        }
        Stop::Shutdown => {
            Ok(RunEnd::interrupted("server_stopped", "the server was stopped; what had arrived is kept"))
        }
        Stop::Deleted => {
            let message = "the session was deleted while its turn was under way".to_owned();
            Err(RunOutcome::Lost { code: "not_found", message })
        }
    }
}

/// Makes the turn and keeps it.
async fn finish(chat: &Chat, live: &LiveRun, log: &mut RunLog, ending: Ending) -> RunOutcome {
    if let Err(lost) = log.settle().await {
        return lost;
    }
    let pieces = live.pieces_from(0);
    let turn = live.run().finish(pieces.iter().map(|piece| &**piece), ending.end, chat.now());
    let turn = Turn { usage: ending.usage, ..turn };
    let mut pause = MIN_PAUSE;
    let start = Instant::now();
    loop {
        let error = match offer(chat, live, &turn).await {
            Ok(receipt) => return finished(live, &receipt, turn),
            Err(error) => error,
        };
        if let Some(lost) = log::lost(&error) {
            return lost;
        }
        let code = if matches!(error, StoreError::StorageFull) { "storage_full" } else { "unavailable" };
        let refused = RunOutcome::Lost { code, message: error.to_string() };
        if start.elapsed() >= chat.run_settings().offer_for {
            tracing::error!(%error, run.id = %live.run().id, "a turn could not be kept");
            return refused;
        }
        if start.elapsed() >= PATIENCE {
            // Readers need not wait any longer; the turn is offered on.
            live.end(refused);
        }
        tracing::warn!(%error, run.id = %live.run().id, "a turn is offered to the store again");
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
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
