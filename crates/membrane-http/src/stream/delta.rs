//! Numbered events, each with what is new: `delta`, then `done` or `error`. A client that was cut off goes on
//! after the last id that it saw.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use membrane::core::run::PieceBody;
use membrane::{EventId, RunEvent, RunReader};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::HEARTBEAT;
use super::frames::{Ended, frame};

#[derive(Serialize)]
struct More<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    delta: &'a str,
}

/// The id of the last event that a client saw, if it says so in a form that we gave out.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<EventId> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok().map(EventId)
}

/// The events that the reader has before it.
pub(crate) fn response(reader: RunReader, heartbeat: Duration, permit: OwnedSemaphorePermit) -> Response {
    super::respond(stream::unfold((reader, permit), move |(mut reader, permit)| async move {
        let frame = next(&mut reader, heartbeat).await?;
        Some((Ok::<Bytes, Infallible>(frame), (reader, permit)))
    }))
}

async fn next(reader: &mut RunReader, heartbeat: Duration) -> Option<Bytes> {
    // What has no event of its own is no sign of life, either.
    let silent_until = Instant::now() + heartbeat;
    loop {
        let Ok(event) = timeout_at(silent_until, reader.next()).await else {
            return Some(Bytes::from_static(HEARTBEAT));
        };
        match event? {
            (id, RunEvent::Piece(piece)) => {
                // The numbers of what is not text have no event.
                if let PieceBody::Text(text) = &piece.body {
                    return Some(frame(Some(id.0), &More { kind: "delta", seq: id.0, delta: text }));
                }
            }
            (id, RunEvent::Ended(outcome)) => {
                return Some(frame(Some(id.0), &Ended::new(Some(id), &outcome)));
            }
        }
    }
}
