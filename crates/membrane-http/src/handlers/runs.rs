//! Turns under way: send, listen again, cancel.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use membrane::core::turn::Message;
use membrane::{SendOptions, Sent};

use super::schema::{Cancelled, NewMessage, ReadRefusals, WriteRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathId};
use crate::stream::{Form, delta};

/// Send a message; the answer comes as server-sent events.
///
/// By default in kgents' form: `data: {"type":"content","content":<all so far>}` and at last
/// `data: {"type":"done","turn_count":N,"turn":{…}}`. With `stream=delta` as numbered events that can be resumed.
/// The turn goes on when the reader leaves. When the model calls tools, the last event is `awaiting_tool` with its calls; the
/// answer goes on where their results are handed in.
#[utoipa::path(
    post, path = "/api/chat/{id}/send", tag = "turns", request_body = NewMessage,
    params(
        ("id" = String, Path, description = "the session"),
        ("stream" = Option<String>, Query, description = "`delta` for numbered events; `cumulative` by default"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "makes the call happen once: again, it listens to the same answer"),
    ),
    responses((status = 200, description = "The answer on its way", body = String, content_type = "text/event-stream"), WriteRefusals)
)]
pub(crate) async fn send(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let message = fields.string("message");
    fields.finish()?;
    let form = Form::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    // The body is no longer needed, and may be large.
    drop(request);
    let permit = app.open_stream()?;
    let Sent { reader, .. } = app.chat.send(&id, SendOptions { message: Message::new(message), key }).await?;
    Ok(form.respond(&app, reader, permit))
}

/// Listen to the turn that is under way, or has just ended, as numbered events.
#[utoipa::path(
    get, path = "/api/chat/{id}/stream", tag = "turns",
    params(
        ("id" = String, Path, description = "the session"),
        ("Last-Event-ID" = Option<String>, Header, description = "go on after this event"),
    ),
    responses(
        (status = 200, description = "The answer on its way", body = String, content_type = "text/event-stream"),
        (status = 204, description = "There is nothing to hear"),
        ReadRefusals
    )
)]
pub(crate) async fn attach(
    State(app): State<App>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let permit = app.open_stream()?;
    let reader = app.chat.attach(&id, delta::last_event_id(&headers)).await?;
    Ok(match reader {
        Some(reader) => Form::Delta.respond(&app, reader, permit),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Stop the turn that is under way. It is kept with what had arrived.
#[utoipa::path(
    post, path = "/api/chat/{id}/cancel", tag = "turns",
    params(
        ("id" = String, Path, description = "the session"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 202, description = "It is being stopped", body = Cancelled), WriteRefusals)
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    PathId(id): PathId,
    request: Incoming,
) -> Result<Response, ApiError> {
    let key = request.client_key(KeyCovers::Body)?;
    app.chat.cancel(&id, key).await?;
    Ok(answer::json(StatusCode::ACCEPTED, &Cancelled { cancelled: true }))
}
