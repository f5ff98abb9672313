//! Numbered events, each with what is new: `delta` and `reasoning`, `tool_call` and `tool_result`, then `done`, `error` or
//! `awaiting_tool`. A client that was cut off goes on after the last id that it saw.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::{Stream, stream};
use membrane::core::run::PieceBody;
use membrane::{EventId, RunEvent, RunReader};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::HEARTBEAT;
use super::frames::{Ended, Waiting, frame};
use crate::wire::{self, CallView, ToolView};

#[derive(Serialize)]
struct More<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    delta: &'a str,
}

/// Apart from `delta`, so that whoever joins all of those gets the answer.
#[derive(Serialize)]
struct Thought<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    reasoning: &'a str,
}

#[derive(Serialize)]
struct Called<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    call: CallView<'a>,
}

#[derive(Serialize)]
struct Used<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    tool: ToolView<'a>,
}

/// The id of the last event that a client saw, if it says so in a form that we gave out.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<EventId> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok().map(EventId)
}

/// The events that the reader has before it.
pub(crate) fn frames(
    reader: RunReader,
    heartbeat: Duration,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let place = Place { reader, told: None, heartbeat, _permit: permit };
    stream::unfold(place, move |mut place| async move {
        let frame = place.next().await?;
        Some((Ok::<Bytes, Infallible>(frame), place))
    })
}

/// Where a stream is.
struct Place {
    reader: RunReader,
    /// The id of the last event that was sent.
    told: Option<EventId>,
    heartbeat: Duration,
    /// Given back when the stream goes.
    _permit: OwnedSemaphorePermit,
}

impl Place {
    async fn next(&mut self) -> Option<Bytes> {
        // What has no event of its own is no sign of life, either.
        let silent_until = Instant::now() + self.heartbeat;
        loop {
            let Ok(event) = timeout_at(silent_until, self.reader.next()).await else {
                return Some(Bytes::from_static(HEARTBEAT));
            };
            let (id, event) = event?;
            let frame = match event {
                RunEvent::Piece(piece) => of_piece(id, &piece.body),
                RunEvent::Waiting(calls) => {
                    // Its number is that of the piece before, which may have had an event.
                    let id = Some(id).filter(|id| self.told != Some(*id));
                    let waiting = Waiting::new(id, self.reader.turn_number(), &calls);
                    Some(frame(id.map(|id| id.0), &waiting))
                }
                RunEvent::Ended(outcome) => Some(frame(Some(id.0), &Ended::new(Some(id), &outcome))),
            };
            if frame.is_some() {
                self.told = Some(id);
                return frame;
            }
        }
    }
}

/// A piece's event; what only the keep has use for has none.
fn of_piece(id: EventId, body: &PieceBody) -> Option<Bytes> {
    let seq = id.0;
    match body {
        PieceBody::Text(text) => Some(frame(Some(seq), &More { kind: "delta", seq, delta: text })),
        PieceBody::Reasoning(reasoning) => {
            Some(frame(Some(seq), &Thought { kind: "reasoning", seq, reasoning }))
        }
        PieceBody::Call(call) => {
            Some(frame(Some(seq), &Called { kind: "tool_call", seq, call: wire::call(call, None) }))
        }
        PieceBody::Tool(tool) => {
            Some(frame(Some(seq), &Used { kind: "tool_result", seq, tool: wire::tool(tool) }))
        }
        PieceBody::Pause(_) | PieceBody::Consent { .. } => None,
    }
}
