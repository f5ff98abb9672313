//! Ids in paths. Any text can be one: a slash written as `%2F`, spaces, emoji, a NUL.
//!
//! Whether there is such a session is not looked up here.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use membrane::{CheckpointId, SessionId};

use super::field_error::Step;
use super::integer::parse_integer;
use super::query::decode_percent;
use crate::error::ApiError;

/// How much of an id that cannot be one is repeated, in characters.
const SHOWN_CHARS: usize = 64;

/// The session that a route's first parameter names.
///
/// What cannot be an id, because it is not UTF-8 or too long, names no session: 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathId(pub SessionId);

/// The session and the checkpoint that a route's first two parameters name.
///
/// What cannot be an id names nothing: 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCheckpoint(pub SessionId, pub CheckpointId);

/// The session and the turn that a route's first two parameters name. The turn may not be there.
///
/// What is no integer is refused as pydantic does: 422.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTurn(pub SessionId, pub i64);

/// The session and the call of a tool that a route's first two parameters name.
///
/// What is no text names nothing: 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCall(pub SessionId, pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self(session_of(parts)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathCheckpoint {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let session = session_of(parts)?;
        let segment = segment(parts, 1);
        let checkpoint = text_of(segment).and_then(|text| CheckpointId::parse(&text).ok());
        let missing = || ApiError::not_found(format!("Checkpoint {} not found", shortened(segment)));
        Ok(Self(session, checkpoint.ok_or_else(missing)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathTurn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let session = session_of(parts)?;
        let segment = segment(parts, 1);
        let input = serde_json::Value::String(text_of(segment).unwrap_or_else(|| segment.to_owned()));
        let input = input.to_string();
        let loc = || vec![Step::Name("path"), Step::Name("n")];
        let number = parse_integer(&input, (..).into());
        let number = number.map_err(|problem| ApiError::invalid_body(vec![problem.at(loc(), &input)]))?;
        Ok(Self(session, number))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let session = session_of(parts)?;
        let segment = segment(parts, 1);
        let missing = || ApiError::not_found(format!("Tool call {} not found", shortened(segment)));
        Ok(Self(session, text_of(segment).ok_or_else(missing)?))
    }
}

fn session_of(parts: &Parts) -> Result<SessionId, ApiError> {
    let segment = segment(parts, 0);
    if segment.is_empty() {
        // Two slashes with nothing between them are no route to clients that know FastAPI.
        return Err(ApiError::route_not_found());
    }
    let session = text_of(segment).and_then(|text| SessionId::parse(&text).ok());
    session.ok_or_else(|| ApiError::session_not_found(&shortened(segment)))
}

/// What stands in the path where the route has its parameter with this index; empty if there is none.
///
/// Counted from the end: a nested router sees a path without its prefix, but the whole route.
fn segment(parts: &Parts, index: usize) -> &str {
    let Some(route) = parts.extensions.get::<MatchedPath>() else { return "" };
    let segments: Vec<_> = route.as_str().split('/').collect();
    let parameters = segments.iter().enumerate().filter(|(_, segment)| segment.starts_with('{'));
    let from_end = parameters.map(|(at, _)| segments.len() - 1 - at).nth(index);
    from_end.and_then(|at| parts.uri.path().rsplit('/').nth(at)).unwrap_or_default()
}

fn text_of(segment: &str) -> Option<String> {
    String::from_utf8(decode_percent(segment)).ok()
}

/// The beginning of the id; as it was sent if it is no text.
fn shortened(segment: &str) -> String {
    let text = text_of(segment).unwrap_or_else(|| segment.to_owned());
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use serde_json::{Value, json};

    use super::*;

    async fn answer(router: Router, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(router).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn router() -> Router {
        Router::new().route("/{id}/send", get(async |PathId(id): PathId| id.to_string())).route(
            "/{id}/checkpoints/{checkpoint_id}",
            get(async |PathCheckpoint(id, checkpoint): PathCheckpoint| format!("{id}|{checkpoint}")),
        )
    }

    #[tokio::test]
    async fn an_id_of_any_form_is_decoded_once() {
        for (path, id) in [
            ("/session-1/send", "session-1"),
            ("/a%2Fb/send", "a/b"),
            ("/a%20b+c/send", "a b+c"),
            ("/%F0%9F%99%82/send", "🙂"),
            ("/%00/send", "\0"),
            ("/%252F/send", "%2F"),
            ("/100%/send", "100%"),
        ] {
            assert_eq!(answer(router(), path).await, (200, id.to_owned()), "{path}");
            let nested = Router::new().nest("/api/chat", router());
            let path = format!("/api/chat{path}?q=/x/y");
            assert_eq!(answer(nested, &path).await, (200, id.to_owned()), "{path}");
        }
        let both = answer(router(), "/a%7Cb/checkpoints/c%2Fd").await;
        assert_eq!(both, (200, "a|b|c/d".to_owned()));
    }

    #[tokio::test]
    async fn what_cannot_be_an_id_is_not_found_and_shortened() {
        let router = Router::new().nest("/api", router());
        let long = format!("/api/{}%FF/send", "x".repeat(60_000));
        let shown = format!("Session {}… not found", "x".repeat(64));
        assert_eq!(told(router.clone(), &long).await, shown);
        assert_eq!(told(router.clone(), "/api/a%FF/send").await, "Session a%FF not found");
        let checkpoint = told(router, "/api/a/checkpoints/%FF").await;
        assert_eq!(checkpoint, "Checkpoint %FF not found");
    }

    #[test]
    fn an_id_is_shortened_by_characters() {
        assert_eq!(shortened(&"%C3%A9".repeat(64)), "é".repeat(64));
        assert_eq!(shortened(&"%C3%A9".repeat(65)), "é".repeat(64) + "…");
    }

    async fn told(router: Router, path: &str) -> String {
        let (status, body) = answer(router, path).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (404, &json!("not_found")));
        body["detail"].as_str().unwrap().to_owned()
    }
}
