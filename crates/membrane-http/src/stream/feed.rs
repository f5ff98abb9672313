//! What happens to sessions: an event for each change, numbered, without an end.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use membrane::core::event::EventSeq;
use membrane::{EventFollower, Told};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::HEARTBEAT;
use super::feeds::Feed;
use super::frames::frame;
use crate::telemetry;

#[derive(Serialize)]
struct Happened<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl Happened<'_> {
    /// What is said of no session.
    fn only(kind: &'static str) -> Self {
        Self { kind, session_id: None, version: None }
    }
}

/// After which event a client wants to go on; none if it does not say. One that makes no sense is a place like one of
/// other data: the client has seen something, and is told to start over.
pub(crate) fn place(headers: &HeaderMap) -> Option<EventSeq> {
    let value = headers.get("last-event-id")?;
    let text = value.to_str().ok().map(str::trim);
    if text == Some("") {
        return None;
    }
    Some(EventSeq(text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)))
}

/// Where a stream is.
struct Place {
    follower: EventFollower,
    /// Whether the client is still to be told where it begins, so that it can go on from there.
    is_new: bool,
    heartbeat: Duration,
    feed: Feed,
    /// Given back when the stream goes.
    _permit: OwnedSemaphorePermit,
}

/// What the follower has before it.
pub(crate) fn response(
    follower: EventFollower,
    is_new: bool,
    heartbeat: Duration,
    (feed, permit): (Feed, OwnedSemaphorePermit),
) -> Response {
    let place = Place { follower, is_new, heartbeat, feed, _permit: permit };
    super::respond(stream::unfold(place, |mut place| async move {
        let frame = place.next().await?;
        Some((Ok::<Bytes, Infallible>(frame), place))
    }))
}

impl Place {
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_new) {
            return Some(frame(Some(self.follower.place().0), &Happened::only("start")));
        }
        match timeout(self.heartbeat, self.follower.next()).await {
            // Without an id: a comment is no place to go on from.
            Err(_) => Some(Bytes::from_static(HEARTBEAT)),
            Ok(Ok(Some(Told::Event(event)))) => {
                self.feed.reach(event.seq);
                telemetry::note_delivery(self.follower.age_of(&event));
                let session_id = Some(event.session.as_str());
                let happened =
                    Happened { kind: event.kind.as_str(), session_id, version: Some(event.version) };
                Some(frame(Some(event.seq.0), &happened))
            }
            Ok(Ok(Some(Told::Reset(place)))) => {
                self.feed.reach(place);
                Some(frame(Some(place.0), &Happened::only("reset")))
            }
            Ok(Ok(None)) => None,
            Ok(Err(error)) => {
                // The client comes back, from where it is.
                tracing::warn!(%error, "events cannot be read; the stream ends");
                None
            }
        }
    }
}
