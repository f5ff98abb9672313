//! What has to be known before a model can be asked, and what is wrong with it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::kind::ProviderKind;

/// How one provider is reached.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Where its API is, as its users write it: `https://api.openai.com/v1`, `http://localhost:11434`; the provider's own
    /// address for `None` or an empty text.
    pub base_url: Option<String>,
    /// The secret that opens it; an empty one counts as none.
    pub api_key: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold a password, too.
        let base_url = self.base_url.as_deref().map(super::url::without_user);
        let api_key = self.api_key.as_ref().map(|_| "***");
        f.debug_struct("Account").field("base_url", &base_url).field("api_key", &api_key).finish()
    }
}

/// Which model answers, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOptions {
    /// Whose model it is, where nobody chooses another.
    pub provider: ProviderKind,
    /// Its name there.
    pub name: String,
    /// What is known of each provider. Sessions may choose a model of any that can be reached.
    pub accounts: HashMap<ProviderKind, Account>,
    /// How long reaching a provider may take; 10 s by default.
    pub connect_timeout: Duration,
    /// How long a model may give no sign of life, before its first word and between any two; 120 s by default. Signs that
    /// only keep the connection open count, too: some models think for minutes.
    pub silence_timeout: Duration,
    /// How often a request that came to nothing is sent again; 2 by default.
    pub max_retries: u32,
    /// The longest wait before it is sent again; 20 s by default. If the provider asks for a longer one, the request fails
    /// at once and says so.
    pub max_retry_wait: Duration,
    /// The longest answer, in tokens; the provider's own limit for `None`.
    pub max_tokens: Option<u32>,
}

impl ProviderOptions {
    /// The defaults, for this model and without any account.
    pub fn new(provider: ProviderKind, name: impl Into<String>) -> Self {
        Self {
            provider,
            name: name.into(),
            accounts: HashMap::new(),
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(120),
            max_retries: 2,
            max_retry_wait: Duration::from_secs(20),
            max_tokens: None,
        }
    }
}

/// Why models cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The address of an API is none.
    #[error("the base URL {value:?} of {provider} {problem}; write it as {example}")]
    BadUrl {
        /// Whose.
        provider: ProviderKind,
        /// What was given, without a user's name and password.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
        /// A good one.
        example: &'static str,
    },
    /// A key cannot be sent. It is not repeated here.
    #[error("the API key of {0} holds characters that no key has, such as a line break; copy it again")]
    BadKey(ProviderKind),
    /// The configured model cannot have this name.
    #[error("{0:?} is not a name of a model; give the one that the provider uses")]
    BadName(String),
    /// The HTTP client could not be made.
    #[error(
        "cannot set up HTTPS; check that certificates of authorities are installed (package ca-certificates)"
    )]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[test]
fn an_account_does_not_show_its_secrets() {
    let account = Account {
        base_url: Some("http://ada:secret@host/v1".to_owned()),
        api_key: Some("sk-secret".to_owned()),
    };
    let text = format!("{account:?}");
    assert!(!text.contains("secret") && text.contains("host/v1"), "{text}");
}
