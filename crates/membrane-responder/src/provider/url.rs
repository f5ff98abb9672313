//! Addresses of APIs: as users write them, and as genai joins them with what comes after.

use reqwest::Url;

use super::kind::ProviderKind;

/// An address that can be joined, and how it is called in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// Ends with a slash, or has a query behind one.
    pub(super) url: String,
    /// Host and port.
    pub(super) address: String,
}

/// A good address, for messages.
pub(super) fn example(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::OpenAi => "https://api.openai.com/v1 or http://localhost:8000/v1",
        ProviderKind::Anthropic => "https://api.anthropic.com",
        ProviderKind::Gemini => "https://generativelanguage.googleapis.com",
        ProviderKind::Ollama => "http://localhost:11434",
    }
}

/// The provider's own address.
pub(super) fn default_base(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::OpenAi => "https://api.openai.com/v1/",
        ProviderKind::Anthropic => "https://api.anthropic.com/v1/",
        ProviderKind::Gemini => "https://generativelanguage.googleapis.com/v1beta/",
        ProviderKind::Ollama => "http://localhost:11434/",
    }
}

impl Base {
    /// Reads what a user wrote: with the version of the API behind it or without, with or without a slash at its end, or
    /// with the whole way to the API.
    pub(super) fn parse(kind: ProviderKind, text: &str) -> Result<Self, &'static str> {
        let mut url = Url::parse(text.trim()).map_err(|_| "is not a URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("begins neither with http:// nor with https://");
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
        let address =
            url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // Only OpenAI's adapter keeps a query where it belongs; others would put the way behind it.
        if url.query().is_some() && kind != ProviderKind::OpenAi {
            return Err("has a query, which this provider's API does not take");
        }
        url.set_fragment(None);
        let path = path(kind, url.path());
        url.set_path(&path);
        Ok(Self { url: url.into(), address })
    }
}

fn path(kind: ProviderKind, path: &str) -> String {
    let path = path.trim_end_matches('/');
    let ends: &[&str] = match kind {
        ProviderKind::OpenAi => &["/chat/completions"],
        ProviderKind::Anthropic => &["/messages"],
        ProviderKind::Gemini => &["/models"],
        // `/v1` is where Ollama speaks OpenAI's language.
        ProviderKind::Ollama => &["/api/chat", "/api", "/v1"],
    };
    let path = ends.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_version =
        last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match kind {
        // Behind other servers' paths there may be anything, but nobody means the root.
        ProviderKind::OpenAi if path.is_empty() => "/v1/".to_owned(),
        ProviderKind::Anthropic if !is_version => format!("{path}/v1/"),
        ProviderKind::Gemini if !is_version => format!("{path}/v1beta/"),
        _ => format!("{path}/"),
    }
}

/// The text without a user's name and password before the host, whether it is a URL or not.
pub(super) fn without_user(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_understood_however_users_write_it() {
        use ProviderKind::{Anthropic, Gemini, Ollama, OpenAi};
        for (kind, text, url) in [
            (OpenAi, "http://localhost:8000/v1", "http://localhost:8000/v1/"),
            (OpenAi, " http://localhost:8000/v1/ ", "http://localhost:8000/v1/"),
            (OpenAi, "https://api.openai.com", "https://api.openai.com/v1/"),
            (OpenAi, "https://x.dev/openai/v1/chat/completions", "https://x.dev/openai/v1/"),
            (
                OpenAi,
                "https://x.dev/deployments/a?api-version=1",
                "https://x.dev/deployments/a/?api-version=1",
            ),
            (Anthropic, "https://api.anthropic.com", "https://api.anthropic.com/v1/"),
            (Anthropic, "https://api.anthropic.com/v1", "https://api.anthropic.com/v1/"),
            (Anthropic, "https://x.dev/anthropic/", "https://x.dev/anthropic/v1/"),
            (Anthropic, "https://x.dev/v1/messages", "https://x.dev/v1/"),
            (
                Gemini,
                "https://generativelanguage.googleapis.com",
                "https://generativelanguage.googleapis.com/v1beta/",
            ),
            (Gemini, "http://[::1]:80/v1alpha/", "http://[::1]/v1alpha/"),
            (Ollama, "http://localhost:11434", "http://localhost:11434/"),
            (Ollama, "http://localhost:11434/v1/", "http://localhost:11434/"),
            (Ollama, "http://host/ollama/api#x", "http://host/ollama/"),
        ] {
            assert_eq!(Base::parse(kind, text).map(|base| base.url), Ok(url.to_owned()), "{kind} {text}");
        }
        for kind in ProviderKind::ALL {
            let base = Base::parse(kind, default_base(kind)).map(|base| base.url);
            assert_eq!(base.as_deref(), Ok(default_base(kind)));
        }
    }

    #[test]
    fn an_address_is_called_by_host_and_port() {
        let address = |text| Base::parse(ProviderKind::Ollama, text).map(|base| base.address);
        assert_eq!(address("http://ada:pw@host"), Ok("host:80".to_owned()));
        assert_eq!(address("https://[::1]:9/x"), Ok("[::1]:9".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["localhost:11434", "", "ftp://x", "http://", "/v1", "http://x y"] {
            assert!(Base::parse(ProviderKind::Ollama, text).is_err(), "{text}");
        }
        assert!(Base::parse(ProviderKind::Gemini, "http://x/?key=1").is_err());
    }

    #[test]
    fn names_and_passwords_are_cut_out_of_what_is_shown() {
        assert_eq!(without_user("http://a:b@host/x@y"), "http://host/x@y");
        assert_eq!(without_user("a:b@host"), "host");
        assert_eq!(without_user("http://a:p@ss@host"), "http://host");
    }
}
