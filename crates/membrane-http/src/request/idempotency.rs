//! The header `Idempotency-Key`: a client's name for a call that must happen once.
//!
//! Remembering keys is not here: the store does.

use axum::http::{HeaderMap, HeaderName};
use membrane::store::change::MAX_KEY_BYTES;

use crate::error::ApiError;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The client's key, if it gave one.
///
/// # Errors
/// 400 `invalid_argument`: given twice, empty, over 255 bytes, not UTF-8, or with control characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return refuse("the header Idempotency-Key is given more than once; give one key");
    }
    let bytes = value.as_bytes();
    if bytes.len() > MAX_KEY_BYTES {
        return refuse(format!(
            "the idempotency key has {} bytes; at most {MAX_KEY_BYTES} are allowed, make it shorter",
            bytes.len()
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(key) if key.trim().is_empty() => {
            refuse("the idempotency key is empty; give at least one character, or leave the header out")
        }
        Ok(key) if !key.contains(char::is_control) => Ok(Some(key.to_owned())),
        _ => refuse("the idempotency key has unprintable bytes; use printable ASCII or UTF-8"),
    }
}

fn refuse(detail: impl Into<String>) -> Result<Option<String>, ApiError> {
    Err(ApiError::invalid_argument(detail))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::error::Detail;

    fn read(values: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("Idempotency-Key", HeaderValue::from_bytes(value).unwrap());
        }
        idempotency_key(&headers).map_err(|error| {
            assert_eq!((error.status.as_u16(), error.code), (400, "invalid_argument"));
            match error.detail {
                Detail::Text(text) => text,
                Detail::List(_) => unreachable!("a header has no fields"),
            }
        })
    }

    #[test]
    fn a_key_is_any_printable_text_of_up_to_255_bytes() {
        assert_eq!(read(&[]), Ok(None));
        let longest = "k".repeat(255);
        for key in ["k", "\"8e03978e\"", "clé 🙂", longest.as_str()] {
            assert_eq!(read(&[key.as_bytes()]), Ok(Some(key.to_owned())));
        }
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused_with_the_reason() {
        let too_long = "k".repeat(256);
        for (values, part) in [
            (&[too_long.as_bytes()][..], "256 bytes; at most 255"),
            (&[b""], "is empty"),
            (&[b" "], "is empty"),
            (&[b"\xff"], "unprintable"),
            (&[b"a\tb"], "unprintable"),
            (&[b"a", b"a"], "more than once"),
        ] {
            let text = read(values).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }
}
