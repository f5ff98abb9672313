//! Checkpoints: leave one, list them, return to one, delete one.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use membrane::CheckpointId;

use super::schema::{NewCheckpoint, ReadRefusals, Restore, WriteRefusals};
use crate::answer::{self, Turns};
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathCheckpoint, PathId};
use crate::wire::{self, CheckpointList, CheckpointMade, RestoredView};

/// Leave a checkpoint where the session stands. It keeps its turns, whatever becomes of others.
#[utoipa::path(
    post, path = "/api/chat/{id}/checkpoint", tag = "checkpoints", request_body(content = Option<NewCheckpoint>),
    params(
        ("id" = String, Path, description = "the session"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The checkpoint", body = CheckpointMade), WriteRefusals)
)]
pub(crate) async fn create_checkpoint(
    State(app): State<App>,
    PathId(id): PathId,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Allowed)?;
    let name = fields.optional_string("name");
    fields.finish()?;
    let key = request.client_key(KeyCovers::Body)?;
    let left = app.chat.checkpoint(&id, name, key).await?;
    // Not as the session is now: it may have been rewound since, above all when the call is repeated.
    let last = app.chat.find_last_turn(&left).await?;
    let session = app.chat.find_session(&id).await?;
    let session = session.ok_or_else(|| ApiError::session_not_found(id.as_str()))?;
    let made = wire::made_checkpoint(&left, &session, last.as_ref());
    Ok(answer::json(StatusCode::CREATED, &made))
}

/// A session's checkpoints, the newest first: the named ones and the newest 20 automatic ones.
#[utoipa::path(
    get, path = "/api/chat/{id}/checkpoints", tag = "checkpoints",
    params(("id" = String, Path, description = "the session")),
    responses((status = 200, description = "The checkpoints", body = CheckpointList), ReadRefusals)
)]
pub(crate) async fn list_checkpoints(
    State(app): State<App>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    let list = app.chat.list_checkpoints(&id).await?;
    let checkpoints = list.iter().map(wire::checkpoint).collect();
    Ok(answer::json(StatusCode::OK, &CheckpointList { checkpoints }))
}

/// Delete a checkpoint, and the turns that nothing else holds.
#[utoipa::path(
    delete, path = "/api/chat/{id}/checkpoints/{checkpoint_id}", tag = "checkpoints",
    params(
        ("id" = String, Path, description = "the session"),
        ("checkpoint_id" = String, Path, description = "one of its checkpoints"),
    ),
    responses((status = 204, description = "It is gone"), WriteRefusals)
)]
pub(crate) async fn delete_checkpoint(
    State(app): State<App>,
    PathCheckpoint(id, checkpoint_id): PathCheckpoint,
) -> Result<Response, ApiError> {
    app.chat.delete_checkpoint(&id, &checkpoint_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Return to a checkpoint, forwards or backwards. A checkpoint is left, so that it can be undone.
#[utoipa::path(
    post, path = "/api/chat/{id}/restore", tag = "checkpoints", request_body = Restore,
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 200, description = "The session as it is then", body = RestoredView), WriteRefusals)
)]
pub(crate) async fn restore(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let checkpoint_id = fields.string("checkpoint_id");
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    let missing = || ApiError::not_found(format!("Checkpoint {checkpoint_id} not found"));
    let checkpoint_id = CheckpointId::parse(&checkpoint_id).map_err(|_| missing())?;
    let restored = app.chat.restore(&id, &checkpoint_id, key).await?;
    let snapshot = answer::snapshot(&app, &id, turns).await?;
    let view = RestoredView {
        session: answer::whole(&snapshot, turns),
        missing_turns: (restored.missing > 0).then_some(restored.missing),
    };
    Ok(answer::json(StatusCode::OK, &view))
}
