//! A body received: at most so many bytes, waited for only so long.
//!
//! What the bytes mean is not here.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::error::ApiError;

/// How long the rest of a body that is too large is received and thrown away, so that a client that
/// writes everything before it reads learns why instead of losing the connection.
const DISCARD_FOR: Duration = Duration::from_secs(5);
/// FastAPI's words for a body that it cannot read.
pub(super) const UNREADABLE: &str = "There was an error parsing the body";

/// How much of a body is taken, and how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest body, in bytes, inclusive; 16 MiB by default, which holds the longest message with
    /// every character escaped as clients usually do.
    pub max_body_bytes: usize,
    /// How long a body may make no progress; 30 seconds by default.
    pub body_timeout: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { max_body_bytes: 16 * 1024 * 1024, body_timeout: Duration::from_secs(30) }
    }
}

/// Receives the whole body.
pub(super) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limits: RequestLimits,
) -> Result<Bytes, ApiError> {
    let max_bytes = limits.max_body_bytes;
    if let Some(declared) = declared_bytes(headers).filter(|declared| *declared > max_bytes as u64) {
        // Whoever waits for leave to send has sent nothing, and is answered at once.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, limits).await;
        }
        return Err(too_large(&declared.to_string(), max_bytes));
    }
    let mut read = Vec::new();
    loop {
        let frame = match timeout(limits.body_timeout, body.frame()).await {
            Err(_) => return Err(too_slow(read.len(), limits.body_timeout)),
            Ok(None) => return Ok(read.into()),
            Ok(Some(frame)) => frame.map_err(|_| ApiError::invalid_argument(UNREADABLE))?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max_bytes - read.len() {
            let rest = discard(&mut body, limits).await;
            let n_bytes = read.len() as u64 + data.len() as u64 + rest.n_bytes;
            let more = if rest.is_all { "" } else { "more than " };
            return Err(too_large(&format!("{more}{n_bytes}"), max_bytes));
        }
        read.extend_from_slice(&data);
    }
}

struct Discarded {
    n_bytes: u64,
    is_all: bool,
}

async fn discard(body: &mut Body, limits: RequestLimits) -> Discarded {
    let mut n_bytes = 0;
    let discarding = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            n_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        true
    };
    let is_all = timeout(DISCARD_FOR.min(limits.body_timeout), discarding).await.unwrap_or(false);
    Discarded { n_bytes, is_all }
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(bytes: &str, max_bytes: usize) -> ApiError {
    let detail = format!("the body has {bytes} bytes; at most {max_bytes} are allowed, make it shorter");
    ApiError::too_large(detail)
}

fn too_slow(n_bytes: usize, waited: Duration) -> ApiError {
    let detail = format!(
        "the body stopped after {n_bytes} bytes, nothing came for {} ms; send the request again",
        waited.as_millis()
    );
    ApiError::timeout(detail)
}

#[cfg(test)]
mod tests {
    use axum::Error;
    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use futures_util::stream::{self, Stream, StreamExt};
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: RequestLimits =
        RequestLimits { max_body_bytes: 10, body_timeout: Duration::from_millis(20) };

    fn declaring(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, bytes.into())])
    }

    fn chunks(parts: &[&'static str]) -> impl Stream<Item = Result<&'static str, Error>> + Send + use<> {
        stream::iter(parts.to_vec()).map(Ok)
    }

    fn stalled() -> impl Stream<Item = Result<&'static str, Error>> + Send {
        stream::pending()
    }

    async fn refusal(headers: HeaderMap, body: Body) -> (u16, Value) {
        let response = read_body(&headers, body, LIMITS).await.unwrap_err().into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_taken_whole_or_in_parts() {
        let whole = read_body(&declaring(10), Body::from("0123456789"), LIMITS).await.unwrap();
        assert_eq!(whole, "0123456789");
        let body = Body::from_stream(chunks(&["01234", "", "56789"]));
        assert_eq!(read_body(&HeaderMap::new(), body, LIMITS).await.unwrap(), "0123456789");
        assert_eq!(read_body(&HeaderMap::new(), Body::empty(), LIMITS).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_both_sizes() {
        let expected = json!({"code": "too_large",
            "detail": "the body has 12 bytes; at most 10 are allowed, make it shorter"});
        let announced = refusal(declaring(12), Body::from("0123456789ab")).await;
        assert_eq!(announced, (413, expected.clone()));
        let body = Body::from_stream(chunks(&["0123456789", "a", "b"]));
        assert_eq!(refusal(HeaderMap::new(), body).await, (413, expected));
        let endless = Body::from_stream(chunks(&["0123456789ab"]).chain(stalled()));
        let (_, told) = refusal(HeaderMap::new(), endless).await;
        assert!(told["detail"].as_str().unwrap().starts_with("the body has more than 12 bytes; at most 10"));
    }

    #[tokio::test]
    async fn who_waits_for_leave_to_send_is_refused_at_once() {
        let mut headers = declaring(11);
        headers.insert(header::EXPECT, "100-continue".parse().unwrap());
        let patient = RequestLimits { body_timeout: Duration::from_secs(60), ..LIMITS };
        let reading = read_body(&headers, Body::from_stream(stalled()), patient);
        let refused = timeout(DISCARD_FOR / 2, reading).await.unwrap().unwrap_err();
        assert_eq!(refused.code, "too_large");
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_not_waited_for() {
        let body = Body::from_stream(chunks(&["012"]).chain(stalled()));
        let expected = json!({"code": "timeout",
            "detail": "the body stopped after 3 bytes, nothing came for 20 ms; send the request again"});
        assert_eq!(refusal(declaring(5), body).await, (408, expected));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = stream::iter([Ok("012"), Err(Error::new("gone"))]);
        let expected = json!({"code": "invalid_argument", "detail": "There was an error parsing the body"});
        assert_eq!(refusal(HeaderMap::new(), Body::from_stream(broken)).await, (400, expected));
    }
}
