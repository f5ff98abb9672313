//! What stands in the frames.

use bytes::Bytes;
use membrane::{EventId, FinishedTurn, RunOutcome, TurnStatus};
use serde::Serialize;

use crate::wire::{self, TurnView};

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
