//! Hearing an answer: its parts are joined to pieces, handed on to readers and log, until it ends or is stopped.

use std::mem;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use membrane_core::json::Json;
use membrane_core::run::{Pause, PieceBody, RunEnd, Transcript};
use membrane_core::tool::{ToolEffect, ToolSpec};
use membrane_responder::{Reply, ReplyPart, ResponderError};
use membrane_store::StoreError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::live::{LiveRun, Stop, body_bytes};
use super::log::RunLog;
use super::prompt::effect_of;
use crate::chat::Chat;

/// How far apart pieces are handed on at least, so that a fast model does not make thousands of events a second.
const PACE: Duration = Duration::from_millis(5);

/// The same for an answer of many pieces, whose numbers have an end.
const LONG_PACE: Duration = Duration::from_millis(50);

/// From how many on.
const MANY_PIECES: usize = 100_000;

/// A piece that is this long is not held back.
const MAX_PIECE_BYTES: usize = 16 * 1024;

/// How many parts are taken in before others get a turn.
const MAX_PARTS: usize = 1024;

/// What stands between what a model said before its tools and after them.
const SEPARATOR: &str = "\n\n";

/// How the answer ended, or this part of it.
pub(super) enum Ending {
    /// The turn is to be made.
    Turn(RunEnd),
    /// The model called tools, and waits.
    Calls(Vec<Called>, Pause),
}

impl From<RunEnd> for Ending {
    fn from(end: RunEnd) -> Self {
        Self::Turn(end)
    }
}

/// A tool that was called, in the provider's words.
pub(super) struct Called {
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) input: Json,
    pub(super) effect: ToolEffect,
}

/// Why a run becomes no turn.
pub(super) enum Gone {
    /// Its session was deleted by this process.
    Deleted,
    /// The store refused a write for good.
    Refused(StoreError),
}

/// What happened while nothing was there to be taken.
enum Heard {
    Stop(Option<Stop>),
    Part(Option<Result<ReplyPart, ResponderError>>),
    /// What is held is due.
    Nothing,
}

/// Hears the answer and hands it on; what is held goes on when it is dropped.
pub(super) struct Listener<'a> {
    live: &'a LiveRun,
    reply: Reply,
    /// What the model was offered.
    tools: Vec<ToolSpec>,
    stops: watch::Receiver<Option<Stop>>,
    /// What has arrived and is not yet handed on. The two are kept apart, so that a model that thinks aloud
    /// between any two words makes no more pieces than another.
    held_text: String,
    held_reasoning: String,
    hand_on_at: Instant,
    /// How much more the answer may hold.
    bytes_left: usize,
    /// Whether what is said next is to stand apart from what was said before.
    is_separate: bool,
    /// Whether something was said and done before: that is an answer, though this part of it fails.
    goes_on: bool,
    called: Vec<Called>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(chat: &Chat, live: &'a LiveRun, tools: Vec<ToolSpec>, reply: Reply) -> Self {
        let pieces = live.pieces_from(0);
        let held: usize = pieces.iter().map(|piece| body_bytes(&piece.body)).sum();
        let bytes_left = chat.limits().max_turn_bytes.saturating_sub(live.run().user.content.len() + held);
        let said = Transcript::of(pieces.iter().map(|piece| &**piece)).text;
        Self {
            live,
            reply,
            tools,
            stops: live.stops(),
            held_text: String::new(),
            held_reasoning: String::new(),
            hand_on_at: Instant::now(),
            bytes_left,
            is_separate: !said.is_empty() && !said.ends_with('\n'),
            goes_on: !pieces.is_empty(),
            called: Vec::new(),
        }
    }

    pub(super) async fn listen(&mut self, log: &mut RunLog) -> Result<Ending, Gone> {
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
            // An answer that says nothing of its end came to it.
            None => Some(self.end(RunEnd::complete().finish_reason, Pause::default())),
            Some(Ok(ReplyPart::Text(text))) if text.is_empty() => None,
            Some(Ok(ReplyPart::Text(text))) => {
                if mem::take(&mut self.is_separate) && !text.starts_with('\n') {
                    self.held_text.push_str(SEPARATOR);
                }
                self.hold(&text, |held| &mut held.held_text)
            }
            Some(Ok(ReplyPart::Reasoning(text))) => self.hold(&text, |held| &mut held.held_reasoning),
            Some(Ok(ReplyPart::Call { call_id, name, input })) => {
                let Some(left) = self.bytes_left.checked_sub(name.len() + input.as_str().len()) else {
                    return Some(too_large());
                };
                self.bytes_left = left;
                let effect = effect_of(&self.tools, &name);
                self.called.push(Called { call_id, name, input, effect });
                None
            }
            Some(Ok(ReplyPart::End { finish_reason, usage, carry })) => {
                Some(self.end(finish_reason, Pause { usage, carry }))
            }
            Some(Err(ResponderError { code, message, is_cut })) => {
                let end = if is_cut || self.goes_on {
                    RunEnd::interrupted(code, message)
                } else {
                    RunEnd::failed(code, message)
                };
                Some(end.into())
            }
        }
    }

    /// The end of what the model says now.
    fn end(&mut self, finish_reason: Option<String>, pause: Pause) -> Ending {
        if !self.called.is_empty() {
            return Ending::Calls(mem::take(&mut self.called), pause);
        }
        RunEnd { finish_reason, usage: pause.usage, ..RunEnd::complete() }.into()
    }

    /// Joins what arrives to what is held; `Some` if the answer became too large.
    fn hold(&mut self, more: &str, to: impl FnOnce(&mut Self) -> &mut String) -> Option<Ending> {
        let Some(left) = self.bytes_left.checked_sub(more.len()) else {
            return Some(too_large());
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
        let pace = if self.live.n_pieces() < MANY_PIECES { PACE } else { LONG_PACE };
        self.hand_on_at = Instant::now() + pace;
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.hand_on();
    }
}

fn too_large() -> Ending {
    let message = "the answer grew over the limit for a turn; what had arrived is kept";
    RunEnd::interrupted("too_large", message).into()
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
