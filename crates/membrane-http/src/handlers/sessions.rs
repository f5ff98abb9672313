//! Sessions: create, get, list, delete, page through the turns.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use membrane::{
    Cursor, NewSessionOptions, PageRequest, PendingTurn, SessionFilter, SessionId, SessionPatch, WriteOptions,
};

use super::schema::{NewSession, ReadRefusals, SessionChange, WriteRefusals};
use crate::answer::{self, Turns};
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Fields, Incoming, KeyCovers, PathId};
use crate::wire::{self, PageView, TurnPage, WholeSession};

/// How many sessions a page may hold, and how many it holds if nobody says.
const MAX_SESSIONS: u32 = 100;
const SESSIONS: u32 = 50;

/// How much of a text that is under way a list shows: 100 whole ones might be hundreds of megabytes.
const MAX_PENDING_BYTES: usize = 4096;

/// How many turns a page may hold, and how many it holds if nobody says.
const MAX_TURNS: u64 = 500;
const TURNS: u64 = 100;

/// Create a session.
#[utoipa::path(
    post, path = "/api/chat/session", tag = "sessions", request_body = NewSession,
    params(
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn create_session(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let project_id = fields.optional_string("project_id");
    let branch_name = fields.string_or("branch_name", membrane::core::session::MAIN_BRANCH);
    let title = fields.optional_string("title");
    let tags = fields.optional_strings("tags").unwrap_or_default();
    let metadata = fields.optional_object("metadata");
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    let options = NewSessionOptions {
        project_id,
        branch_name: Some(branch_name),
        title,
        tags,
        metadata,
        key,
        ..Default::default()
    };
    let session = app.chat.create_session(options).await?;
    answer::session(&app, &session.id, StatusCode::CREATED, turns).await
}

/// Create a session (the same as `POST /api/chat/session`).
#[utoipa::path(
    post, path = "/api/chat/sessions", tag = "sessions", request_body = NewSession,
    params(
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn create_session_alias(
    app: State<App>,
    query: RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    create_session(app, query, request).await
}

/// A session with its newest 1,000 turns.
#[utoipa::path(
    get, path = "/api/chat/session/{id}", tag = "sessions",
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
    ),
    responses((status = 200, description = "The session", body = WholeSession), ReadRefusals)
)]
pub(crate) async fn get_session(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let turns = Turns::asked(query.as_deref())?;
    answer::session(&app, &id, StatusCode::OK, turns).await
}

/// A session with its newest 1,000 turns (the same as `GET /api/chat/session/{id}`).
#[utoipa::path(
    get, path = "/api/chat/sessions/{id}", tag = "sessions",
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
    ),
    responses((status = 200, description = "The session", body = WholeSession), ReadRefusals)
)]
pub(crate) async fn get_session_alias(
    app: State<App>,
    id: PathId,
    query: RawQuery,
) -> Result<Response, ApiError> {
    get_session(app, id, query).await
}

/// Change a session's names and flags.
#[utoipa::path(
    patch, path = "/api/chat/{id}", tag = "sessions", request_body = SessionChange,
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
    ),
    responses((status = 200, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn patch_session(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let patch = SessionPatch {
        title: fields.is_given("title").then(|| fields.optional_string("title")),
        tags: fields.is_given("tags").then(|| fields.strings("tags")),
        pinned: fields.is_given("pinned").then(|| fields.boolean_or("pinned", false)),
        archived: fields.is_given("archived").then(|| fields.boolean_or("archived", false)),
        project_id: fields.is_given("project_id").then(|| fields.optional_string("project_id")),
        metadata: fields.is_given("metadata").then(|| fields.object("metadata")).flatten(),
        ..SessionPatch::default()
    };
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    app.chat.patch_session(&id, patch, WriteOptions::default()).await?;
    answer::session(&app, &id, StatusCode::OK, turns).await
}

/// Sessions, the most recently active first, ties by id; without their turns.
#[utoipa::path(
    get, path = "/api/chat/sessions", tag = "sessions",
    params(
        ("project_id" = Option<String>, Query, description = "only those of this project; empty for all"),
        ("branch_name" = Option<String>, Query, description = "only those with this branch name; empty for all"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "50 by default"),
        ("offset" = Option<u64>, Query, minimum = 0, description = "skip this many"),
        ("cursor" = Option<String>, Query,
            description = "go on where an earlier page ended, without skipping or repeating; wins over `offset`"),
    ),
    responses((status = 200, description = "A page of sessions", body = PageView), ReadRefusals)
)]
pub(crate) async fn list_sessions(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = SessionFilter {
        project_id: given(fields.optional_string("project_id")),
        branch_name: given(fields.optional_string("branch_name")),
    };
    let limit = fields.integer_or("limit", SESSIONS, 1..=i64::from(MAX_SESSIONS));
    let offset = fields.integer_or("offset", 0_u64, 0..);
    let cursor = given(fields.optional_string("cursor"));
    fields.finish()?;
    let after = cursor
        .map(|cursor| Cursor::decode(&cursor))
        .transpose()
        .map_err(|error| ApiError::invalid_argument(error.to_string()))?;
    let page = app.chat.list_sessions(&filter, &PageRequest { limit, after, offset }).await?;
    let mut pendings = Vec::with_capacity(page.sessions.len());
    for session in &page.sessions {
        pendings.push(app.chat.find_pending(session).await?.map(shortened));
    }
    let sessions = page.sessions.iter().zip(&pendings);
    let sessions =
        sessions.map(|(session, pending)| wire::session(session, pending.as_ref().map(wire::pending)));
    let view = wire::page(sessions.collect(), page.total, (limit, offset), page.next.as_ref());
    Ok(answer::json(StatusCode::OK, &view))
}

/// What is under way, as a list shows it: the beginnings of its texts.
fn shortened(mut pending: PendingTurn) -> PendingTurn {
    for text in [&mut pending.user_message, &mut pending.partial] {
        membrane::core::text::cut(text, MAX_PENDING_BYTES);
        text.shrink_to_fit();
    }
    pending
}

/// Delete a session. Forks of it stay whole.
#[utoipa::path(
    delete, path = "/api/chat/{id}", tag = "sessions",
    params(("id" = String, Path, description = "the session")),
    responses((status = 204, description = "It is gone"), WriteRefusals)
)]
pub(crate) async fn delete_session(State(app): State<App>, PathId(id): PathId) -> Result<Response, ApiError> {
    app.chat.delete_session(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Page through all turns of a session.
#[utoipa::path(
    get, path = "/api/chat/{id}/turns", tag = "sessions",
    params(
        ("id" = String, Path, description = "the session"),
        ("from" = Option<u64>, Query, minimum = 0, description = "the number of the first turn; 0 by default"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 500, description = "100 by default"),
    ),
    responses((status = 200, description = "Some of the turns", body = TurnPage), ReadRefusals)
)]
pub(crate) async fn list_turns(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let from = fields.integer_or("from", 0_u64, 0..);
    let limit = fields.integer_or("limit", TURNS, 1..=500);
    fields.finish()?;
    let range = from..from.saturating_add(limit.min(MAX_TURNS));
    let thread = app.chat.load_turns(&id, range).await?;
    let thread = thread.ok_or_else(|| ApiError::session_not_found(id.as_str()))?;
    let turns = thread.turns.iter().map(|kept| wire::turn(&thread.session, kept)).collect();
    let page = TurnPage { turns, total: thread.session.turn_count(), from };
    Ok(answer::json(StatusCode::OK, &page))
}

/// Deletes the session whose id is a fixed path's word.
pub(crate) async fn delete_session_called_session(app: State<App>) -> Result<Response, ApiError> {
    delete_session(app, PathId(SessionId::from_stored("session"))).await
}

/// Deletes the session whose id is a fixed path's word.
pub(crate) async fn delete_session_called_sessions(app: State<App>) -> Result<Response, ApiError> {
    delete_session(app, PathId(SessionId::from_stored("sessions"))).await
}

/// Deletes the session whose id is a fixed path's word.
pub(crate) async fn delete_session_called_events(app: State<App>) -> Result<Response, ApiError> {
    delete_session(app, PathId(SessionId::from_stored("events"))).await
}
