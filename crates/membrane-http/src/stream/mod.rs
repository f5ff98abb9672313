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
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use membrane::{RunReader, Sent};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::error::ApiError;
use crate::request::Fields;

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

/// The form of an answer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// kgents' frames.
    Cumulative,
    /// Numbered events.
    Delta,
}

impl Form {
    /// What `?stream=` asks for.
    pub(crate) fn asked(query: Option<&str>) -> Result<Self, ApiError> {
        let mut fields = Fields::of_query(query);
        let forms = [("cumulative", Self::Cumulative), ("delta", Self::Delta)];
        let form = fields.choice_or("stream", forms, Self::Cumulative);
        fields.finish()?;
        Ok(form)
    }

    /// The answer on its way, in this form.
    pub(crate) fn respond(self, app: &App, reader: RunReader, permit: OwnedSemaphorePermit) -> Response {
        match self {
            Self::Cumulative => respond(cumulative::frames(reader, permit)),
            Self::Delta => respond(delta::frames(reader, app.settings.heartbeat, permit)),
        }
    }

    /// The same on a session that was made for it: its id comes first, and in the header `Membrane-Session`. 201.
    pub(crate) fn respond_created(self, app: &App, sent: Sent, permit: OwnedSemaphorePermit) -> Response {
        let Sent { session, reader, .. } = sent;
        let first = stream::once(std::future::ready(Ok(frames::made_session(session.as_str()))));
        let mut response = match self {
            Self::Cumulative => respond(first.chain(cumulative::frames(reader, permit))),
            Self::Delta => respond(first.chain(delta::frames(reader, app.settings.heartbeat, permit))),
        };
        *response.status_mut() = StatusCode::CREATED;
        // A new session's id is plain ASCII.
        if let Ok(id) = HeaderValue::from_str(session.as_str()) {
            response.headers_mut().insert("membrane-session", id);
        }
        response
    }
}
