//! Saying something else at a point, and what was said there.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use membrane::core::turn::Message;
use membrane::{EditOptions, RegenerateOptions};

use super::schema::{EditedTurn, ReadRefusals, RegeneratedTurn, WriteRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathTurn};
use crate::stream::Form;
use crate::wire::{self, AlternativeList};

/// Say something else in place of a turn: a new session holds the turns before it, and the answer comes on that.
///
/// The first event is `{"type":"session","session_id":…}`, and the header `Membrane-Session` says the same; the rest is as
/// of `send`. The old session stays as it is.
#[utoipa::path(
    post, path = "/api/chat/{id}/turns/{n}/edit", tag = "branches", request_body = EditedTurn,
    params(
        ("id" = String, Path, description = "the session"),
        ("n" = i64, Path, description = "the turn's number, from 0"),
        ("stream" = Option<String>, Query, description = "`delta` for numbered events; `cumulative` by default"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "makes the call happen once: again, it listens to the same answer"),
    ),
    responses((status = 201, description = "The answer on its way", body = String, content_type = "text/event-stream"), WriteRefusals)
)]
pub(crate) async fn edit(
    State(app): State<App>,
    PathTurn(id, turn_number): PathTurn,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let message = Message::new(fields.string("message"));
    let branch_name = fields.optional_string("branch_name");
    fields.finish()?;
    let form = Form::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    drop(request);
    let permit = app.open_stream()?;
    let options = EditOptions { message, branch_name, key };
    let sent = app.chat.edit_turn(&id, turn_number, options).await?;
    Ok(form.respond_created(&app, sent, permit))
}

/// Have the message of a turn answered once more, on a new session that holds the turns before it; else as `edit`.
#[utoipa::path(
    post, path = "/api/chat/{id}/turns/{n}/regenerate", tag = "branches", request_body = Option<RegeneratedTurn>,
    params(
        ("id" = String, Path, description = "the session"),
        ("n" = i64, Path, description = "the turn's number, from 0"),
        ("stream" = Option<String>, Query, description = "`delta` for numbered events; `cumulative` by default"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "makes the call happen once: again, it listens to the same answer"),
    ),
    responses((status = 201, description = "The answer on its way", body = String, content_type = "text/event-stream"), WriteRefusals)
)]
pub(crate) async fn regenerate(
    State(app): State<App>,
    PathTurn(id, turn_number): PathTurn,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Allowed)?;
    let branch_name = fields.optional_string("branch_name");
    fields.finish()?;
    let form = Form::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    drop(request);
    let permit = app.open_stream()?;
    let options = RegenerateOptions { branch_name, key };
    let sent = app.chat.regenerate_turn(&id, turn_number, options).await?;
    Ok(form.respond_created(&app, sent, permit))
}

/// The turns that follow the same turns as this one does, in all forks: this one first.
#[utoipa::path(
    get, path = "/api/chat/{id}/turns/{n}/alternatives", tag = "branches",
    params(
        ("id" = String, Path, description = "the session"),
        ("n" = i64, Path, description = "the turn's number, from 0"),
    ),
    responses((status = 200, description = "The alternatives", body = AlternativeList), ReadRefusals)
)]
pub(crate) async fn alternatives(
    State(app): State<App>,
    PathTurn(id, turn_number): PathTurn,
) -> Result<Response, ApiError> {
    let found = app.chat.alternatives(&id, turn_number).await?;
    Ok(answer::json(StatusCode::OK, &wire::alternatives(&found)))
}
