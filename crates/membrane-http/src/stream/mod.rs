//! Answers on their way, as server-sent events: [`cumulative`] for kgents' clients, [`delta`] with numbered
//! events that can be resumed. And what happens to sessions: [`feed`].
//!
//! A stream only reads: whoever leaves stops nothing. It holds its place among the open streams as long as it
//! lives.

pub(crate) mod cumulative;
pub(crate) mod delta;
pub(crate) mod feed;
pub(crate) mod feeds;
mod frames;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;

/// A comment: shows that the stream is alive, and that somebody still reads.
const HEARTBEAT: &[u8] = b": alive\n\n";

/// A response of server-sent events.
pub(crate) fn respond(
    frames: impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}
