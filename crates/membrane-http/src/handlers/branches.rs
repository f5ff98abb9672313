//! Branches: fork, rewind, merge, compare, show the tree.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use membrane::{ForkOptions, MergeOptions, MergeStrategy, Pick, SessionId, WriteOptions};

use super::schema::{NewFork, NewMerge, ReadRefusals, Rewind, WriteRefusals};
use crate::answer::{self, Turns};
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Fields, Incoming, KeyCovers, PathId};
use crate::wire::{self, BranchTree, DiffView, WholeSession};

/// Make a new session of the first turns of another. Costs the same whatever the session's length.
#[utoipa::path(
    post, path = "/api/chat/{id}/fork", tag = "branches", request_body = NewFork,
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn fork(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let branch_name = fields.string("branch_name");
    let fork_point = fields.optional_integer("fork_point", ..);
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    let options = ForkOptions { fork_point, branch_name: Some(branch_name), key };
    let fork = app.chat.fork(&id, options).await?;
    answer::session(&app, &fork.id, StatusCode::CREATED, turns).await
}

/// Take exactly this many turns off the end, with their evidence. A checkpoint is left, so that it can be undone.
#[utoipa::path(
    post, path = "/api/chat/{id}/rewind", tag = "branches", request_body = Rewind,
    params(
        ("id" = String, Path, description = "the session"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 200, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn rewind(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let n_turns: u64 = fields.integer("turns", 1..);
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    app.chat.rewind(&id, n_turns, WriteOptions { expected_version: None, key }).await?;
    answer::session(&app, &id, StatusCode::OK, turns).await
}

/// Make a new session of the turns of two.
#[utoipa::path(
    post, path = "/api/chat/{id}/merge", tag = "branches", request_body = NewMerge,
    params(
        ("id" = String, Path, description = "the session whose family, project and names the merge gets"),
        ("turns" = Option<String>, Query, description = "`none` leaves the turns out"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 201, description = "The session", body = WholeSession), WriteRefusals)
)]
pub(crate) async fn merge(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let other = fields.string("other_id");
    let strategies = [
        ("sequential", MergeStrategy::Sequential),
        ("interleave", MergeStrategy::Interleave),
        ("manual", MergeStrategy::Manual),
    ];
    let strategy = fields.choice_or("strategy", strategies, MergeStrategy::Sequential);
    let picks = fields.optional_objects("turns", |pick| Pick {
        session: SessionId::from_stored(&pick.string("session_id")),
        turn_number: pick.integer("turn_number", 0..),
    });
    if strategy == MergeStrategy::Manual && picks.as_ref().is_none_or(Vec::is_empty) {
        fields.refuse_missing("turns");
    }
    fields.finish()?;
    let turns = Turns::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    let other = SessionId::parse(&other).map_err(|_| ApiError::session_not_found(&other))?;
    let picks = if strategy == MergeStrategy::Manual { picks.unwrap_or_default() } else { Vec::new() };
    let options = MergeOptions { strategy, picks, branch_name: None, key };
    let merged = app.chat.merge(&id, &other, options).await?;
    answer::session(&app, &merged.id, StatusCode::CREATED, turns).await
}

/// Compare two sessions by the identity of their turns.
#[utoipa::path(
    get, path = "/api/chat/{id}/diff", tag = "branches",
    params(
        ("id" = String, Path, description = "the session"),
        ("other" = String, Query, description = "the other session"),
    ),
    responses((status = 200, description = "The differences", body = DiffView), ReadRefusals)
)]
pub(crate) async fn diff(
    State(app): State<App>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let other = fields.string("other");
    fields.finish()?;
    let other = SessionId::parse(&other).map_err(|_| ApiError::session_not_found(&other))?;
    let found = app.chat.diff(&id, &other).await?;
    Ok(answer::json(StatusCode::OK, &wire::diff(&found)))
}

/// The tree of forks that a session belongs to, breadth-first from its root.
#[utoipa::path(
    get, path = "/api/chat/sessions/{id}/branches", tag = "branches",
    params(("id" = String, Path, description = "the session")),
    responses((status = 200, description = "The tree", body = BranchTree), ReadRefusals)
)]
pub(crate) async fn branches(State(app): State<App>, PathId(id): PathId) -> Result<Response, ApiError> {
    let nodes = app.chat.branches(&id).await?;
    let branches = nodes.iter().map(|node| wire::branch(node, &id)).collect();
    Ok(answer::json(StatusCode::OK, &BranchTree { branches }))
}
