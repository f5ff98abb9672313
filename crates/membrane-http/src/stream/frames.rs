//! What stands in the frames.

use bytes::Bytes;
use membrane::core::run::OpenCall;
use membrane::{EventId, FinishedTurn, RunOutcome, ToolEffect, TurnStatus};
use serde::Serialize;

use crate::wire::{self, CallView, TurnView};

/// One `data:` line, with the event's id if it has one.
pub(super) fn frame(id: Option<u64>, event: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(256);
    if let Some(id) = id {
        text.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    text.extend_from_slice(b"data: ");
    // Events are made of texts and numbers only, which JSON can hold; a writer that is a vector does not fail.
    if let Err(error) = serde_json::to_writer(&mut text, event) {
        tracing::error!(%error, "an event could not be written");
    }
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// A session was made for what follows.
pub(super) fn made_session(id: &str) -> Bytes {
    frame(None, &MadeSession { kind: "session", session_id: id })
}

#[derive(Serialize)]
struct MadeSession<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
}

/// The model called tools and waits: the last event of a stream, which goes on where their results are handed in.
#[derive(Serialize)]
pub(super) struct Waiting<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    turn_number: u64,
    calls: Vec<CallView<'a>>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(id: Option<EventId>, turn_number: u64, calls: &'a [OpenCall]) -> Self {
        Self {
            kind: "awaiting_tool",
            seq: id.map(|id| id.0),
            turn_number,
            calls: calls.iter().map(|open| wire::call(&open.call, open.consent.as_ref())).collect(),
        }
    }
}

/// A call that is to be approved, in the words that kgents' client knows.
#[derive(Serialize)]
pub(super) struct PendingApproval<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    request_id: &'a str,
    tool_name: &'a str,
    /// The beginning of what the tool is given.
    input_preview: String,
    is_destructive: bool,
    /// Nobody waits for it: a call is open until somebody says something.
    timeout_seconds: Option<u64>,
    timestamp: String,
}

/// How much of a tool's input is shown where somebody is to approve it, in characters.
const PREVIEW_CHARS: usize = 500;

impl<'a> PendingApproval<'a> {
    /// `None` for a call that nobody has to approve.
    pub(super) fn of(open: &'a OpenCall) -> Option<Self> {
        let call = &open.call;
        (call.effect == ToolEffect::Destructive && open.consent.is_none()).then(|| Self {
            kind: "pending_approval",
            request_id: &call.call_id,
            tool_name: &call.name,
            input_preview: call.input.as_str().chars().take(PREVIEW_CHARS).collect(),
            is_destructive: true,
            timeout_seconds: None,
            timestamp: call.called_at.to_string(),
        })
    }
}

/// The last event: how the turn ended.
#[derive(Serialize)]
pub(super) struct Ended<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<TurnView<'a>>,
}

impl<'a> Ended<'a> {
    /// `done` for a turn that is complete or was interrupted; `error` for one that failed, which is kept, too,
    /// and for a run that became no turn.
    pub(super) fn new(id: Option<EventId>, outcome: &'a RunOutcome) -> Self {
        let seq = id.map(|id| id.0);
        match outcome {
            RunOutcome::Finished(finished) => {
                let FinishedTurn { turn, turn_count, .. } = &**finished;
                let failure = turn.error.as_ref().filter(|_| turn.status == TurnStatus::Failed);
                if let Some(failure) = failure {
                    count_error(&failure.code);
                }
                Self {
                    kind: if failure.is_some() { "error" } else { "done" },
                    seq,
                    error: failure.map(|failure| failure.message.as_str()),
                    code: failure.map(|failure| failure.code.as_str()),
                    turn_count: Some(*turn_count),
                    turn: Some(wire::finished_turn(finished)),
                }
            }
            // Told by an event of its own.
            RunOutcome::Waiting(_) => {
                Self { kind: "awaiting_tool", seq, error: None, code: None, turn_count: None, turn: None }
            }
            RunOutcome::Lost { code, message } => {
                count_error(code);
                Self {
                    kind: "error",
                    seq,
                    error: Some(message),
                    code: Some(code),
                    turn_count: None,
                    turn: None,
                }
            }
        }
    }
}

fn count_error(code: &str) {
    metrics::counter!(crate::telemetry::ERRORS, "code" => code.to_owned()).increment(1);
}
