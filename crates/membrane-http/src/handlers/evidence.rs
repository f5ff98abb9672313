//! Evidence and what users say of turns.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use membrane::SignalKind;

use super::schema::{NewFeedback, ReadRefusals, WriteRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathId};
use crate::wire::{self, EvidenceSchema, EvidenceView, FeedbackView};

/// How sure a session is that its goal is reached.
#[utoipa::path(
    get, path = "/api/chat/{id}/evidence", tag = "evidence",
    params(("id" = String, Path, description = "the session")),
    responses((status = 200, description = "The evidence", body = EvidenceSchema), ReadRefusals)
)]
pub(crate) async fn get_evidence(State(app): State<App>, PathId(id): PathId) -> Result<Response, ApiError> {
    let session = app.chat.find_session(&id).await?;
    let session = session.ok_or_else(|| ApiError::session_not_found(id.as_str()))?;
    Ok(answer::json(StatusCode::OK, &EvidenceView(&session)))
}

/// Say whether a turn helped. The latest word on a turn counts, in every session that holds the turn.
#[utoipa::path(
    post, path = "/api/chat/{id}/feedback", tag = "evidence", request_body = NewFeedback,
    params(
        ("id" = String, Path, description = "the session"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 200, description = "The signals of the turn, and the evidence", body = FeedbackView), WriteRefusals)
)]
pub(crate) async fn give_feedback(
    State(app): State<App>,
    PathId(id): PathId,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let turn_number: i64 = fields.integer("turn_number", ..);
    let words = [
        ("positive", SignalKind::Positive),
        ("negative", SignalKind::Negative),
        ("correction", SignalKind::Correction),
    ];
    let signal = fields.choice("signal", words);
    let comment = fields.optional_string("comment");
    fields.finish()?;
    let key = request.client_key(KeyCovers::Body)?;
    let result = app.chat.feedback(&id, turn_number, signal, comment, key).await?;
    let view = FeedbackView {
        turn_number: result.turn.number,
        signals: wire::signals(&result.turn.signals),
        evidence: EvidenceView(&result.session),
    };
    Ok(answer::json(StatusCode::OK, &view))
}
