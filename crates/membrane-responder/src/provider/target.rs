//! Which model is asked, where, and with which key: the configured one, or the one that a session chooses.

use std::collections::HashMap;

use genai::resolver::{AuthData, Endpoint};
use genai::{Headers, ModelIden, ServiceTarget};
use reqwest::header::HeaderValue;

use super::kind::ProviderKind;
use super::options::{Account, ProviderError, ProviderOptions};
use super::url::{Base, default_base, example, without_user};
use crate::responder::{ModelChoice, ResponderError};

/// What a server that needs no key is given, since the header has to hold something.
const NO_KEY: &str = "none";

/// A model that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) kind: ProviderKind,
    pub(super) name: String,
    /// Host and port, for messages.
    pub(super) address: String,
    /// To be kept out of messages.
    pub(super) key: Option<String>,
    /// For genai, which then looks nowhere else.
    pub(super) service: ServiceTarget,
    pub(super) headers: Option<Headers>,
}

/// One provider, with all that is known of it read.
#[derive(Clone)]
struct Entry {
    base: Base,
    key: Option<String>,
    is_own_address: bool,
}

/// All providers.
#[derive(Clone)]
pub(super) struct Directory {
    configured: (ProviderKind, String),
    entries: HashMap<ProviderKind, Entry>,
}

impl Directory {
    pub(super) fn new(options: &ProviderOptions) -> Result<Self, ProviderError> {
        if !is_name(options.provider, &options.name) {
            return Err(ProviderError::BadName(options.name.clone()));
        }
        let mut entries = HashMap::new();
        for kind in ProviderKind::ALL {
            entries.insert(kind, Entry::read(kind, options.accounts.get(&kind))?);
        }
        Ok(Self { configured: (options.provider, options.name.clone()), entries })
    }

    /// The provider that is meant; the configured one if the word is unknown.
    pub(super) fn kind(&self, choice: Option<&ModelChoice>) -> ProviderKind {
        let word = choice.and_then(|choice| choice.provider.as_deref());
        word.and_then(|word| ProviderKind::parse(word).ok()).unwrap_or(self.configured.0)
    }

    /// The model that is meant.
    ///
    /// # Errors
    /// `invalid_model` if there can be no such model, `not_configured` if its provider's key is not known.
    pub(super) fn choose(&self, choice: Option<&ModelChoice>) -> Result<Target, ResponderError> {
        let word = choice.and_then(|choice| choice.provider.as_deref());
        let kind = match word {
            Some(word) => ProviderKind::parse(word).map_err(|error| {
                refusal("invalid_model", format!("the session's model cannot be asked: {error}"))
            })?,
            None => self.configured.0,
        };
        let name = match choice.and_then(|choice| choice.name.as_ref()) {
            Some(name) => name,
            None if kind == self.configured.0 => &self.configured.1,
            None => {
                let message = format!(
                    "the session chooses the provider {kind} without a model; name one of its models"
                );
                return Err(refusal("invalid_model", message));
            }
        };
        if !is_name(kind, name) {
            let shown: String = name.chars().take(64).collect();
            let message =
                format!("{shown:?} is not a name of a model of {kind}; give the one that the provider uses");
            return Err(refusal("invalid_model", message));
        }
        let Some(entry) = self.entries.get(&kind) else {
            return Err(refusal("not_configured", format!("the provider {kind} is not set up")));
        };
        entry.target(kind, name)
    }
}

impl Entry {
    fn read(kind: ProviderKind, account: Option<&Account>) -> Result<Self, ProviderError> {
        let base_url = account.and_then(|account| account.base_url.as_deref());
        let base_url = base_url.filter(|url| !url.trim().is_empty());
        let text = base_url.unwrap_or(default_base(kind));
        let base = Base::parse(kind, text).map_err(|problem| ProviderError::BadUrl {
            provider: kind,
            value: without_user(text),
            problem,
            example: example(kind),
        })?;
        let key = account.and_then(|account| account.api_key.as_deref()).map(str::trim);
        let key = key.filter(|key| !key.is_empty()).map(str::to_owned);
        if key.as_ref().is_some_and(|key| HeaderValue::from_str(key).is_err()) {
            return Err(ProviderError::BadKey(kind));
        }
        Ok(Self { base, key, is_own_address: base_url.is_none() })
    }

    fn target(&self, kind: ProviderKind, name: &str) -> Result<Target, ResponderError> {
        // What stands in for a provider elsewhere may want none.
        let needs_key = self.is_own_address && kind != ProviderKind::Ollama;
        if let (true, None, Some(variable)) = (needs_key, &self.key, kind.key_variable()) {
            let message = format!("there is no API key for {kind}; set {variable} and start again");
            return Err(refusal("not_configured", message));
        }
        // genai sends Ollama no key, but one behind a gateway may want it.
        let headers = match (kind, &self.key) {
            (ProviderKind::Ollama, Some(key)) => {
                Some(Headers::from(("Authorization", format!("Bearer {key}"))))
            }
            _ => None,
        };
        // What stands before a double colon is a namespace to genai, and cut off.
        let model = if name.contains("::") { format!("{kind}::{name}") } else { name.to_owned() };
        Ok(Target {
            kind,
            name: name.to_owned(),
            address: self.base.address.clone(),
            key: self.key.clone(),
            service: ServiceTarget {
                endpoint: Endpoint::from_owned(self.base.url.as_str()),
                auth: AuthData::from_single(self.key.as_deref().unwrap_or(NO_KEY)),
                model: ModelIden::new(kind.adapter(), model),
            },
            headers,
        })
    }
}

/// Whether a model can have this name. Gemini's becomes part of an address, which it is not to lead elsewhere.
fn is_name(kind: ProviderKind, name: &str) -> bool {
    let is_plain = !name.trim().is_empty() && !name.contains(char::is_control);
    let is_safe = || {
        let is_allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@');
        name.chars().all(is_allowed)
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    };
    is_plain && (kind != ProviderKind::Gemini || is_safe())
}

fn refusal(code: &'static str, message: String) -> ResponderError {
    ResponderError { code, message, is_cut: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(accounts: &[(ProviderKind, Option<&str>, Option<&str>)]) -> Directory {
        let mut options = ProviderOptions::new(ProviderKind::OpenAi, "gpt");
        for (kind, base_url, api_key) in accounts {
            let account =
                Account { base_url: base_url.map(str::to_owned), api_key: api_key.map(str::to_owned) };
            options.accounts.insert(*kind, account);
        }
        Directory::new(&options).unwrap()
    }

    fn choice(provider: Option<&str>, name: Option<&str>) -> ModelChoice {
        ModelChoice { provider: provider.map(str::to_owned), name: name.map(str::to_owned) }
    }

    #[test]
    fn a_session_chooses_among_all_providers() {
        let directory = directory(&[
            (ProviderKind::OpenAi, None, Some(" sk \n")),
            (ProviderKind::Anthropic, None, Some("ak")),
        ]);
        let asked = |provider, name| {
            let target = directory.choose(Some(&choice(provider, name))).unwrap();
            (target.kind.as_str(), target.name)
        };
        assert_eq!(asked(None, None), ("openai", "gpt".to_owned()));
        assert_eq!(asked(None, Some("o")), ("openai", "o".to_owned()));
        assert_eq!(asked(Some("openai"), None), ("openai", "gpt".to_owned()));
        assert_eq!(asked(Some("anthropic"), Some("claude")), ("anthropic", "claude".to_owned()));
        assert_eq!(asked(Some("ollama"), Some("qwen3:4b")), ("ollama", "qwen3:4b".to_owned()));
        assert_eq!(directory.choose(None).unwrap().key.as_deref(), Some("sk"));
    }

    #[test]
    fn a_model_that_cannot_be_is_refused_with_the_words_that_can() {
        let directory =
            directory(&[(ProviderKind::OpenAi, None, Some("sk")), (ProviderKind::Gemini, None, Some("g"))]);
        for (provider, name, part) in [
            (Some("azure"), Some("x"), ProviderKind::WORDS),
            (Some("anthropic"), None, "name one of its models"),
            (None, Some(" "), "\" \""),
            (Some("gemini"), Some("../v1/x?key=1"), "../v1/x"),
            (Some("gemini"), Some("a/../b"), "a/../b"),
        ] {
            let error = directory.choose(Some(&choice(provider, name))).unwrap_err();
            assert_eq!((error.code, error.is_cut), ("invalid_model", false));
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn a_provider_without_its_key_is_refused_with_the_variable_to_set() {
        let directory = directory(&[(ProviderKind::Anthropic, None, Some(" "))]);
        for (provider, variable) in
            [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("gemini", "GEMINI_API_KEY")]
        {
            let error = directory.choose(Some(&choice(Some(provider), Some("m")))).unwrap_err();
            assert_eq!(error.code, "not_configured");
            assert!(error.message.contains(variable), "{}", error.message);
        }
        assert!(directory.choose(Some(&choice(Some("ollama"), Some("m")))).is_ok());
    }

    #[test]
    fn a_server_that_speaks_openais_language_needs_no_key() {
        let directory = directory(&[(ProviderKind::OpenAi, Some("http://localhost:8000/v1"), None)]);
        let target = directory.choose(None).unwrap();
        assert_eq!((target.address.as_str(), target.key), ("localhost:8000", None));
        assert!(target.service.auth.single_key_value().is_ok_and(|key| key == NO_KEY));
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused_without_showing_secrets() {
        let mut options = ProviderOptions::new(ProviderKind::OpenAi, "");
        assert!(matches!(Directory::new(&options), Err(ProviderError::BadName(_))));
        options.name = "gpt".to_owned();
        let account = Account { base_url: None, api_key: Some("sk-sec\nret".to_owned()) };
        options.accounts.insert(ProviderKind::OpenAi, account);
        let error = Directory::new(&options).err().unwrap().to_string();
        assert!(error.contains("openai") && !error.contains("sec"), "{error}");
        let account = Account { base_url: Some("ada:secret@localhost:1".to_owned()), api_key: None };
        options.accounts.insert(ProviderKind::OpenAi, account);
        let error = Directory::new(&options).err().unwrap().to_string();
        assert!(error.contains("localhost:1") && !error.contains("secret"), "{error}");
        assert!(error.contains("http://localhost:8000/v1"), "{error}");
    }
}
