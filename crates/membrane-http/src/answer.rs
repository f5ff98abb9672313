//! Answers: JSON, and the session that most calls answer with.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use membrane::{SessionId, Snapshot};
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::request::Fields;
use crate::wire::{self, WholeSession};

/// How many turns a session's answer holds at the most: its newest ones.
const MAX_TURNS: u64 = 1000;

/// Whether a session is answered with its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turns {
    /// With the newest ones.
    Newest,
    /// Without.
    None,
}

impl Turns {
    /// What `?turns=` asks for.
    pub(crate) fn of_query(query: &mut Fields<'_>) -> Self {
        query.choice_or("turns", [("newest", Self::Newest), ("none", Self::None)], Self::Newest)
    }

    /// The same, where the query holds nothing else.
    pub(crate) fn asked(query: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Fields::of_query(query);
        let turns = Self::of_query(&mut query);
        query.finish()?;
        Ok(turns)
    }
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, kind)], Body::from(text)).into_response()
        }
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// The session as it is now.
pub(crate) async fn session(
    app: &App,
    id: &SessionId,
    status: StatusCode,
    turns: Turns,
) -> Result<Response, ApiError> {
    let snapshot = snapshot(app, id, turns).await?;
    Ok(json(status, &whole(&snapshot, turns)))
}

/// The session as it is now, to be shown.
pub(crate) async fn snapshot(app: &App, id: &SessionId, turns: Turns) -> Result<Snapshot, ApiError> {
    let n_turns = if turns == Turns::Newest { MAX_TURNS } else { 0 };
    let snapshot = app.chat.snapshot(id, n_turns).await?;
    snapshot.ok_or_else(|| ApiError::session_not_found(id.as_str()))
}

/// A session with its turns, if they were asked for.
pub(crate) fn whole(snapshot: &Snapshot, turns: Turns) -> WholeSession<'_> {
    let Snapshot { session, turns: loaded, pending } = snapshot;
    let shown = u64::try_from(loaded.len()).unwrap_or(u64::MAX);
    WholeSession {
        turns_truncated: shown < session.turn_count(),
        turns: (turns == Turns::Newest)
            .then(|| loaded.iter().map(|kept| wire::turn(session, kept)).collect()),
        session: wire::session(session, pending.as_ref().map(wire::pending)),
    }
}
