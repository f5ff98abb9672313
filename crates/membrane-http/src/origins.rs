//! Which pages of other origins may use the interface from a browser (CORS). None, unless they are named: a
//! keep holds private conversations, and any page can ask a server on the same machine.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what is allowed.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The origins whose pages may use the interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// None but the interface's own.
    #[default]
    None,
    /// All of them.
    Any,
    /// These.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    /// Reads `*`, or origins such as `http://localhost:3000` with commas between them.
    ///
    /// # Errors
    /// The entry that is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origin = |entry: &str| {
            let entry = entry.trim();
            let host = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://"));
            let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
            is_origin.then(|| HeaderValue::from_str(entry).ok()).flatten().ok_or_else(|| entry.to_owned())
        };
        text.split(',').map(origin).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// What tells browsers; `None` where there is nothing to tell.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let allowed = match self {
            Self::None => return None,
            Self::Any => AllowOrigin::any(),
            Self::Listed(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        Some(
            CorsLayer::new()
                .allow_origin(allowed)
                .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
                .allow_headers([
                    header::CONTENT_TYPE,
                    header::AUTHORIZATION,
                    HeaderName::from_static("idempotency-key"),
                    HeaderName::from_static("last-event-id"),
                ])
                .expose_headers([header::RETRY_AFTER, HeaderName::from_static("membrane-session")])
                .max_age(MAX_AGE),
        )
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Any => f.write_str("*"),
            Self::Listed(origins) => {
                let origins: Vec<_> = origins.iter().map(|origin| origin.to_str().unwrap_or("?")).collect();
                f.write_str(&origins.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_back_and_what_is_none_is_named() {
        for text in ["*", "http://localhost:3000", "https://a.example,http://127.0.0.1:8080"] {
            assert_eq!(Origins::parse(text).map(|origins| origins.to_string()), Ok(text.to_owned()));
        }
        for text in ["localhost", "http://", "http://a/b", "ftp://a", "http://a,", "http://a b", "*,http://a"]
        {
            let odd = Origins::parse(text).expect_err(text);
            assert!(text.contains(&odd), "{text}: {odd}");
        }
    }
}
