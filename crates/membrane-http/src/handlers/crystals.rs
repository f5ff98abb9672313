//! Crystals: what remains of a session.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use membrane::{ChatError, CrystalDraft, Subject};

use super::schema::{NewCrystal, ReadRefusals, WriteRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathId};
use crate::wire::{self, CrystalView};

/// Write a session's crystal, with a snapshot of its evidence. A second one replaces the first.
#[utoipa::path(
    post, path = "/api/chat/{id}/crystal", tag = "crystals", request_body = NewCrystal,
    params(
        ("id" = String, Path, description = "the session"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The crystal", body = CrystalView), WriteRefusals)
)]
pub(crate) async fn save_crystal(
    State(app): State<App>,
    PathId(id): PathId,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let draft = CrystalDraft {
        session: id,
        title: fields.string("title"),
        summary: fields.string("summary"),
        key_decisions: fields.strings("key_decisions"),
        artifacts: fields.strings("artifacts"),
        key: None,
    };
    fields.finish()?;
    let key = request.client_key(KeyCovers::Body)?;
    let saved = app.chat.save_crystal(CrystalDraft { key, ..draft }).await?;
    Ok(answer::json(StatusCode::CREATED, &wire::crystal(&saved)))
}

/// A session's crystal.
#[utoipa::path(
    get, path = "/api/chat/{id}/crystal", tag = "crystals",
    params(("id" = String, Path, description = "the session")),
    responses((status = 200, description = "The crystal", body = CrystalView), ReadRefusals)
)]
pub(crate) async fn get_crystal(State(app): State<App>, PathId(id): PathId) -> Result<Response, ApiError> {
    if app.chat.find_session(&id).await?.is_none() {
        return Err(ApiError::session_not_found(id.as_str()));
    }
    let found = app.chat.load_crystal(&id).await?;
    let found = found.ok_or_else(|| ChatError::NotFound { subject: Subject::Crystal, id: id.to_string() })?;
    Ok(answer::json(StatusCode::OK, &wire::crystal(&found)))
}
