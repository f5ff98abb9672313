//! How a request fails: the one place where errors become statuses, stable codes and FastAPI's shapes.
//!
//! Finding out what is wrong with a request is not here: see [`crate::request`].

use std::error::Error;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use membrane::{ChatError, DomainError, StoreError, Subject};
use serde::Serialize;

use crate::request::FieldError;

/// An answer that says why nothing was done.
///
/// Its body is `{"detail": …, "code": "…"}`. Each one that becomes a response counts in the metric
/// `membrane_errors_total{code}`.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status, a function of the code.
    pub status: StatusCode,
    /// The stable word for programs.
    pub code: &'static str,
    /// The words for people.
    pub detail: Detail,
    /// When trying again makes sense; sent in whole seconds, rounded up, at least 1.
    pub retry_after: Option<Duration>,
}

/// What is wrong, in one of the two shapes that FastAPI's clients know.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// One sentence.
    Text(String),
    /// What is wrong with each field.
    List(Vec<FieldError>),
}

#[derive(Serialize)]
struct Body<'a> {
    detail: &'a Detail,
    code: &'a str,
}

impl ApiError {
    /// A value that is not accepted, whatever it is about: 400.
    pub fn invalid_argument(detail: impl Into<String>) -> Self {
        Self::with_code("invalid_argument", detail)
    }

    /// A body or query whose fields have the wrong shape: 422.
    pub fn invalid_body(errors: Vec<FieldError>) -> Self {
        Self { detail: Detail::List(errors), ..Self::with_code("invalid_body", "") }
    }

    /// What the request names is not there: 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::with_code("not_found", detail)
    }

    /// No session has this id: 404 in the words that kgents' clients know.
    pub fn session_not_found(id: &str) -> Self {
        Self::not_found(not_found_text(Subject::Session, id))
    }

    /// No route has this path: 404 in FastAPI's words.
    pub fn route_not_found() -> Self {
        Self::not_found("Not Found")
    }

    /// The route has not this method: 405 in FastAPI's words.
    pub fn method_not_allowed() -> Self {
        Self::with_code("method_not_allowed", "Method Not Allowed")
    }

    /// More bytes than are taken: 413.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::with_code("too_large", detail)
    }

    /// The request stopped coming: 408. The connection is closed after the answer.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::with_code("timeout", detail)
    }

    /// The state does not allow it: 409.
    pub fn wrong_state(detail: impl Into<String>) -> Self {
        Self::with_code("wrong_state", detail)
    }

    /// Not now: 503.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::with_code("unavailable", detail) }
    }

    /// A fault of ours: 500. What happened is logged with its causes and not sent.
    pub fn internal(fault: &dyn Error) -> Self {
        Self::with_code("internal", log_fault(fault))
    }

    fn with_code(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: status_of(code), code, detail: Detail::Text(detail.into()), retry_after: None }
    }
}

/// The code and the words of an error that is told inside a stream, whose status was already sent.
///
/// A fault of ours is logged with its causes, and the words do not tell it.
pub fn code_and_text(error: &ChatError) -> (&'static str, String) {
    let code = code_of(error);
    let text = match error {
        ChatError::NotFound { subject, id } => not_found_text(*subject, id),
        ChatError::Closed | ChatError::Store(StoreError::Closed) => {
            "the server is stopping; try again in a moment".to_owned()
        }
        fault if code == "internal" => log_fault(fault),
        other => other.to_string(),
    };
    (code, text)
}

fn status_of(code: &str) -> StatusCode {
    match code {
        "invalid_argument" => StatusCode::BAD_REQUEST,
        "not_found" => StatusCode::NOT_FOUND,
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "timeout" => StatusCode::REQUEST_TIMEOUT,
        "conflict" | "busy" | "wrong_state" | "key_reused" => StatusCode::CONFLICT,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_body" => StatusCode::UNPROCESSABLE_ENTITY,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "storage_full" => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn code_of(error: &ChatError) -> &'static str {
    match error {
        ChatError::NotFound { .. } => "not_found",
        ChatError::AlreadyExists { .. } | ChatError::Conflict { .. } => "conflict",
        ChatError::Refused(refusal) => code_of_refusal(refusal),
        ChatError::Busy { .. } => "busy",
        ChatError::KeyReused { .. } | ChatError::AnswerGone { .. } => "key_reused",
        ChatError::TooLarge { .. } => "too_large",
        ChatError::Unavailable { .. } | ChatError::Closed => "unavailable",
        ChatError::StorageFull => "storage_full",
        ChatError::Store(error) => code_of_store(error),
    }
}

fn code_of_refusal(refusal: &DomainError) -> &'static str {
    match refusal {
        DomainError::WrongState { .. }
        | DomainError::AlreadyAnswered { .. }
        | DomainError::NotApproved { .. } => "wrong_state",
        DomainError::ForkPointBeyondEnd { .. }
        | DomainError::RewindTooFar { .. }
        | DomainError::NoSuchTurn { .. }
        | DomainError::MergeWithItself { .. }
        | DomainError::ManualWithoutTurns
        | DomainError::PickFromElsewhere { .. }
        | DomainError::PickedTwice { .. }
        | DomainError::Value(_) => "invalid_argument",
    }
}

fn code_of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotFound { .. } => "not_found",
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Changed { .. }
        | StoreError::LeaseLost { .. }
        | StoreError::LeaseHeld { .. }
        | StoreError::LeadHeld { .. }
        | StoreError::Gap { .. }
        | StoreError::Referenced { .. } => "conflict",
        StoreError::Busy { .. } => "busy",
        StoreError::Refused(refusal) => code_of_refusal(refusal),
        StoreError::KeyReused { .. } => "key_reused",
        StoreError::Unavailable { .. } | StoreError::Closed => "unavailable",
        StoreError::StorageFull => "storage_full",
        StoreError::Inconsistent { .. } | StoreError::Backend { .. } => "internal",
    }
}

fn not_found_text(subject: Subject, id: &str) -> String {
    let kind = match subject {
        Subject::Crystal => return format!("No crystal found for session {id}"),
        Subject::Session => "Session",
        Subject::Checkpoint => "Checkpoint",
        Subject::Run => "Run",
        Subject::History => "History",
        Subject::Turn => "Turn",
        Subject::ToolCall => "Tool call",
    };
    format!("{kind} {id} not found")
}

/// Logs the fault once, here at the boundary, and gives the words that are sent in its place.
fn log_fault(fault: &dyn Error) -> String {
    tracing::error!(error.causes = %with_causes(fault), "a request failed by a fault of ours");
    "the server failed; what happened is in its log, try again or report it".to_owned()
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        let (code, text) = code_and_text(&error);
        let retry_after = match error {
            ChatError::Unavailable { retry_after, .. }
            | ChatError::Store(StoreError::Unavailable { retry_after, .. }) => Some(retry_after),
            _ if code == "unavailable" => Some(Duration::from_secs(1)),
            _ => None,
        };
        Self { retry_after, ..Self::with_code(code, text) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        metrics::counter!("membrane_errors_total", "code" => self.code).increment(1);
        let body = Body { detail: &self.detail, code: self.code };
        let body = serde_json::to_vec(&body).unwrap_or_else(|fault| {
            log_fault(&fault);
            br#"{"detail":"the server failed","code":"internal"}"#.to_vec()
        });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the request may still come and would be taken for the next one.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use membrane::core::ids::{InstanceId, RunId};
    use membrane::core::role::Role;
    use membrane::{Action, SessionId, State, Timestamp, ValueError};
    use serde_json::{Value, json};

    use super::*;

    async fn sent(error: ApiError) -> (StatusCode, axum::http::HeaderMap, Value) {
        let (parts, body) = error.into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    fn missing(subject: Subject) -> ChatError {
        ChatError::NotFound { subject, id: "s/1".into() }
    }

    #[test]
    fn every_kind_of_error_has_its_status_code_and_words() {
        let session = SessionId::from_stored("s");
        let since = Timestamp::from_micros(0);
        let run = RunId::from_stored("r");
        let wait = Duration::from_millis(1500);
        let fault = "the server failed; what happened is in its log, try again or report it";
        #[rustfmt::skip]
        let cases: Vec<(ChatError, u16, &str, &str)> = vec![
            (missing(Subject::Session), 404, "not_found", "Session s/1 not found"),
            (missing(Subject::Checkpoint), 404, "not_found", "Checkpoint s/1 not found"),
            (missing(Subject::Crystal), 404, "not_found", "No crystal found for session s/1"),
            (missing(Subject::Run), 404, "not_found", "Run s/1 not found"),
            (missing(Subject::History), 404, "not_found", "History s/1 not found"),
            (missing(Subject::Turn), 404, "not_found", "Turn s/1 not found"),
            (ChatError::AlreadyExists { subject: Subject::Session, id: "s".into() }, 409, "conflict",
             "session s is already there; load that one or choose another id"),
            (ChatError::Conflict { session: session.clone(), expected: 1, actual: 2 }, 409, "conflict",
             "session s is at version 2, not 1; load it again and repeat the change"),
            (ChatError::Busy { session: session.clone(), since }, 409, "busy",
             "session s is busy with a turn since 1970-01-01T00:00:00.000000Z; wait for it or cancel it"),
            (ChatError::KeyReused { key: "k".into() }, 409, "key_reused",
             "the idempotency key \"k\" was already used with another body; use a new key"),
            (ChatError::TooLarge { what: "title", bytes: 2, max_bytes: 1 }, 413, "too_large",
             "the title has 2 bytes; at most 1 are allowed, make it shorter"),
            (ChatError::Unavailable { reason: "too much waits".into(), retry_after: wait }, 503, "unavailable",
             "unavailable: too much waits; try again in 1500 ms"),
            (ChatError::StorageFull, 507, "storage_full",
             "the storage is full; make room and try again, nothing was changed"),
            (ChatError::Closed, 503, "unavailable", "the server is stopping; try again in a moment"),
            (DomainError::ForkPointBeyondEnd { fork_point: 9, turn_count: 2 }.into(), 400, "invalid_argument",
             "fork point 9 exceeds the session's 2 turns; give 0..=2, or null for all"),
            (DomainError::RewindTooFar { turns: 9, turn_count: 2 }.into(), 400, "invalid_argument",
             "Cannot rewind 9 turns, session only has 2 turns"),
            (DomainError::NoSuchTurn { session: session.clone(), turn_number: 9, turn_count: 2 }.into(), 400,
             "invalid_argument", "session s has no turn 9; its 2 turns count from 0"),
            (DomainError::MergeWithItself { session: session.clone() }.into(), 400, "invalid_argument",
             "session s cannot be merged with itself; name another session"),
            (DomainError::ManualWithoutTurns.into(), 400, "invalid_argument",
             "a manual merge needs `turns`, the list of {session_id, turn_number} to keep, in order"),
            (DomainError::PickFromElsewhere { session: session.clone() }.into(), 400, "invalid_argument",
             "the manual merge picks from session s, which is neither of the two that are merged"),
            (DomainError::PickedTwice { session: session.clone(), turn_number: 1 }.into(), 400,
             "invalid_argument", "turn 1 of session s is picked twice; name each turn once"),
            (DomainError::WrongState { session: session.clone(), state: State::Processing,
                action: Action::Send, allowed: "read".into() }.into(), 409, "wrong_state",
             "session s is processing, which does not allow send; it allows: read"),
            (ValueError::Empty { what: "session id" }.into(), 400, "invalid_argument",
             "the session id is empty; give at least one character"),
            (StoreError::Changed { session }.into(), 409, "conflict",
             "session s was changed meanwhile; load it again and repeat the change"),
            (StoreError::LeaseLost { run: run.clone() }.into(), 409, "conflict",
             "the lease of run r is lost; its turn is closed or goes on elsewhere"),
            (StoreError::LeaseHeld { run }.into(), 409, "conflict",
             "run r is held by a live owner; leave it alone"),
            (StoreError::LeadHeld { role: Role::Sweeper, leader: InstanceId::from_stored("i") }.into(), 409,
             "conflict", "instance i is the sweeper for now; leave that work to it"),
            (StoreError::Gap { intact: 1, turn_count: 2 }.into(), 409, "conflict",
             "only the first 1 of 2 turns are still there; restore up to there"),
            (ChatError::Store(StoreError::StorageFull), 507, "storage_full",
             "the storage is full; make room and try again, nothing was changed"),
            (StoreError::inconsistent("runs", "r", "secret").into(), 500, "internal", fault),
            (StoreError::Backend { doing: "read", source: "secret".into() }.into(), 500, "internal", fault),
        ];
        for (error, status, code, text) in cases {
            assert_eq!(code_and_text(&error), (code, text.to_owned()));
            let answer = ApiError::from(error);
            assert_eq!((answer.status.as_u16(), answer.code), (status, code), "{text}");
            assert!(matches!(&answer.detail, Detail::Text(detail) if detail == text), "{answer:?}");
            assert_eq!(answer.retry_after.is_some(), status == 503, "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_json_with_detail_and_code() {
        let (status, headers, body) = sent(ApiError::method_not_allowed()).await;
        assert_eq!((status.as_u16(), &headers["content-type"]), (405, &"application/json".parse().unwrap()));
        assert_eq!(body, json!({"detail": "Method Not Allowed", "code": "method_not_allowed"}));
        let (status, _, body) = sent(ApiError::route_not_found()).await;
        assert_eq!(status, 404);
        assert_eq!(body, json!({"detail": "Not Found", "code": "not_found"}));
    }

    #[tokio::test]
    async fn retry_after_is_in_whole_seconds_rounded_up_and_at_least_one() {
        for (wait_ms, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
            let error = ApiError::unavailable("busy", Duration::from_millis(wait_ms));
            let (status, headers, _) = sent(error).await;
            assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, seconds));
        }
        assert!(!sent(ApiError::route_not_found()).await.1.contains_key("retry-after"));
    }

    #[tokio::test]
    async fn a_timeout_closes_the_connection() {
        let (status, headers, _) = sent(ApiError::timeout("too slow")).await;
        assert_eq!((status.as_u16(), headers["connection"].to_str().unwrap()), (408, "close"));
    }

    #[test]
    fn causes_are_logged_one_after_another() {
        let fault = StoreError::Backend { doing: "read", source: "the disk is on fire".into() };
        let text = with_causes(&ChatError::from(fault));
        assert_eq!(text, "the database failed while it tried to read: the disk is on fire");
    }

    #[test]
    fn answers_are_counted_by_code_when_they_become_responses() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            drop(ApiError::route_not_found());
            let _ = ApiError::method_not_allowed().into_response();
            let _ = ApiError::method_not_allowed().into_response();
        });
        let text = recorder.handle().render();
        assert!(text.contains("membrane_errors_total{code=\"method_not_allowed\"} 2"), "{text}");
        assert!(!text.contains("not_found"), "{text}");
    }
}
