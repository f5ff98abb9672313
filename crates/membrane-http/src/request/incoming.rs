//! A request with its body: declared as JSON or not, empty or not, and with the client's key.
//!
//! Receiving the body is not here, nor reading its fields; see [`super::Fields`].

use axum::extract::{FromRef, FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use membrane::ClientKey;

use super::body::{RequestLimits, UNREADABLE, read_body};
use super::field_error::{FieldError, Problem, Step};
use super::fields::Fields;
use super::idempotency::idempotency_key;
use super::json::{InvalidJson, check_json};
use crate::error::ApiError;

/// What a body with nothing in it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyBody {
    /// A mistake: something in it is required.
    Refused,
    /// `{}`, and so does `null`: everything in it is optional.
    Allowed,
}

/// What an idempotency key stands for, beside route and session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCovers {
    /// The body.
    Body,
    /// The body and the query, where the query decides what is done.
    BodyAndQuery,
}

/// A request whose body was read. As an axum extractor it comes last, and takes its limits from the state.
#[derive(Debug)]
pub struct Incoming {
    /// Method, path and headers.
    pub parts: Parts,
    /// The body as it came.
    pub bytes: Bytes,
}

impl Incoming {
    /// Reads the body.
    ///
    /// # Errors
    /// - 413 `too_large`: more bytes than allowed, by their announcement or as they come.
    /// - 408 `timeout`: no byte came for too long.
    /// - 400 `invalid_argument`: the body broke off.
    pub async fn read(request: Request, limits: RequestLimits) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body, limits).await?;
        Ok(Self { parts, bytes })
    }

    /// The fields of the body's JSON object.
    ///
    /// # Errors
    /// - 422 `invalid_body`: not declared as JSON, no JSON, or no object.
    /// - 400 `invalid_argument`: not UTF-8.
    pub fn fields(&self, empty: EmptyBody) -> Result<Fields<'_>, ApiError> {
        if self.bytes.is_empty() {
            return match empty {
                EmptyBody::Allowed => Ok(Fields::of_object("{}")),
                EmptyBody::Refused => Err(refuse(Problem::Missing.at(body_loc(), "null"))),
            };
        }
        if !is_declared_json(&self.parts.headers) {
            let text = serde_json::Value::from(String::from_utf8_lossy(&self.bytes)).to_string();
            return Err(refuse(Problem::NotAnObject.at(body_loc(), &text)));
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|_| ApiError::invalid_argument(UNREADABLE))?;
        match check_json(text) {
            // FastAPI takes null for a body that may be left out.
            Ok("null") if empty == EmptyBody::Allowed => Ok(Fields::of_object("{}")),
            Ok(json) if json.starts_with('{') => Ok(Fields::of_object(json)),
            Ok(json) => Err(refuse(Problem::NotAnObject.at(body_loc(), json))),
            Err(InvalidJson { position, problem }) => {
                let loc = vec![Step::Name("body"), Step::Index(position)];
                Err(refuse(Problem::InvalidJson(problem).at(loc, "{}")))
            }
        }
    }

    /// The parameters of the query.
    pub fn query(&self) -> Fields<'static> {
        Fields::of_query(self.parts.uri.query())
    }

    /// The client's key for this call, if it gave one, with a hash of what it asks for.
    ///
    /// # Errors
    /// 400 `invalid_argument`: see [`idempotency_key`].
    pub fn client_key(&self, covers: KeyCovers) -> Result<Option<ClientKey>, ApiError> {
        let Some(key) = idempotency_key(&self.parts.headers)? else { return Ok(None) };
        Ok(Some(match covers {
            KeyCovers::Body => ClientKey::for_body(key, &self.bytes),
            KeyCovers::BodyAndQuery => {
                let query = self.parts.uri.query().unwrap_or_default();
                // The length in front keeps apart what only put together is the same.
                let length = format!("{}:", query.len());
                let all = [length.as_bytes(), query.as_bytes(), &self.bytes].concat();
                ClientKey::for_body(key, &all)
            }
        }))
    }
}

impl<S> FromRequest<S> for Incoming
where
    S: Send + Sync,
    RequestLimits: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::read(request, RequestLimits::from_ref(state)).await
    }
}

/// `application/json` or `application/…+json`. kgents' clients may leave the type out.
fn is_declared_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some(subtype) => subtype == "json" || subtype.ends_with("+json"),
        None => false,
    }
}

fn body_loc() -> Vec<Step> {
    vec![Step::Name("body")]
}

fn refuse(error: FieldError) -> ApiError {
    ApiError::invalid_body(vec![error])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::response::IntoResponse;
    use serde_json::{Value, json};

    use super::*;

    async fn incoming(uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Incoming {
        let request = headers
            .iter()
            .fold(Request::builder().uri(uri), |builder, (name, value)| builder.header(*name, *value));
        let request = request.body(Body::from(body.to_vec())).unwrap();
        let limits = RequestLimits { max_body_bytes: 10_000, body_timeout: Duration::from_secs(1) };
        Incoming::read(request, limits).await.unwrap()
    }

    async fn refusal(content_type: &str, body: &[u8]) -> (u16, Value) {
        let request = incoming("/", &[("content-type", content_type)], body).await;
        let response = request.fields(EmptyBody::Refused).unwrap_err().into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn not_an_object(input: &Value) -> (u16, Value) {
        let error = json!({"type": "model_attributes_type", "loc": ["body"], "input": input,
            "msg": "Input should be a valid dictionary or object to extract fields from"});
        (422, json!({"code": "invalid_body", "detail": [error]}))
    }

    #[tokio::test]
    async fn a_body_declared_as_json_in_any_way_or_not_at_all_is_read() {
        for headers in [
            &[][..],
            &[("content-type", "application/json")],
            &[("content-type", " Application/JSON ; charset=latin-1")],
            &[("content-type", "application/vnd.api+JSON")],
        ] {
            let request = incoming("/", headers, br#" {"message": "hi"} "#).await;
            let mut fields = request.fields(EmptyBody::Refused).unwrap();
            assert_eq!(fields.string("message"), "hi");
            fields.finish().unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_declared_as_something_else_is_a_text_and_no_object() {
        for content_type in
            ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx", ""]
        {
            assert_eq!(refusal(content_type, b"{}").await, not_an_object(&json!("{}")), "{content_type}");
        }
        let note = json!("(a string of 2002 bytes as JSON, not repeated here)");
        assert_eq!(refusal("text/plain", &[b'x'; 2000]).await, not_an_object(&note));
        assert_eq!(refusal("text/plain", b"a\xff").await, not_an_object(&json!("a\u{fffd}")));
    }

    #[tokio::test]
    async fn json_that_is_no_object_is_refused_with_itself() {
        for body in [json!(null), json!([]), json!("x"), json!(12)] {
            let text = body.to_string();
            assert_eq!(refusal("application/json", text.as_bytes()).await, not_an_object(&body));
        }
    }

    #[tokio::test]
    async fn what_is_not_json_is_refused_with_its_position() {
        let expected = json!({"code": "invalid_body", "detail": [{"type": "json_invalid", "loc": ["body", 7],
            "msg": "JSON decode error", "input": {}, "ctx": {"error": "trailing comma"}}]});
        assert_eq!(refusal("application/json", br#"{"a":1,}"#).await, (422, expected));
        let deep = [&b"{\"a\":"[..], &[b'['; 9000]].concat();
        for body in [&br#"{"message":"\ud800"}"#[..], br#"{"unknown":1e400}"#, b" ", &deep] {
            let (status, body) = refusal("application/json", body).await;
            assert_eq!((status, &body["detail"][0]["type"]), (422, &json!("json_invalid")));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_utf_8_is_refused_in_fastapis_words() {
        let expected = json!({"code": "invalid_argument", "detail": "There was an error parsing the body"});
        assert_eq!(refusal("application/json", b"{\"a\":\"\xff\"}").await, (400, expected));
    }

    #[tokio::test]
    async fn an_empty_body_is_a_missing_one_or_an_empty_object() {
        let error = json!({"type": "missing", "loc": ["body"], "msg": "Field required", "input": null});
        let expected = json!({"code": "invalid_body", "detail": [error]});
        assert_eq!(refusal("application/json", b"").await, (422, expected));
        for (content_type, body) in [("text/plain", &b""[..]), ("application/json", b" null ")] {
            let request = incoming("/", &[("content-type", content_type)], body).await;
            let mut fields = request.fields(EmptyBody::Allowed).unwrap();
            assert_eq!(fields.optional_string("name"), None);
            fields.finish().unwrap();
        }
    }

    #[tokio::test]
    async fn a_key_covers_the_body_and_the_query_where_it_matters() {
        let key = [("Idempotency-Key", "k")];
        let hash = async |uri: &str, body: &str, covers| {
            let request = incoming(uri, &key, body.as_bytes()).await;
            request.client_key(covers).unwrap().unwrap()
        };
        let body = hash("/?a", "b", KeyCovers::Body).await;
        assert_eq!(body, ClientKey::for_body("k", b"b"));
        assert_eq!(body, hash("/", "b", KeyCovers::Body).await);
        let both = hash("/?a", "b", KeyCovers::BodyAndQuery).await;
        assert_eq!(both, hash("/?a", "b", KeyCovers::BodyAndQuery).await);
        for (uri, body) in [("/?b", "b"), ("/?a", "a"), ("/?ab", ""), ("/", "ab"), ("/", "1:ab")] {
            assert_ne!(both, hash(uri, body, KeyCovers::BodyAndQuery).await, "{uri} {body}");
        }
        let without = incoming("/", &[], b"b").await;
        assert_eq!(without.client_key(KeyCovers::Body).unwrap(), None);
    }

    #[tokio::test]
    async fn a_query_is_read_from_the_uri() {
        let request = incoming("/x?limit=5", &[], b"").await;
        let mut query = request.query();
        assert_eq!(query.integer_or("limit", 50, 1..=100), 5);
        query.finish().unwrap();
    }
}
