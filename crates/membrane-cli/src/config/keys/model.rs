//! The keys of models: which one answers, how it is asked, and how each provider is reached.

use membrane::responder::provider::{Account, ProviderKind};

use super::HOUR_MS;
use crate::config::reader::{Key, Reader};
use crate::config::settings::{ModelSettings, Provider};

/// Reads all of them.
pub(super) fn read(from: &mut Reader<'_>) -> ModelSettings {
    let provider = from.word(
        Key("chat.model.provider", "who answers"),
        Provider::Echo,
        &[
            ("echo", Provider::Echo),
            ("openai", Provider::Model(ProviderKind::OpenAi)),
            ("anthropic", Provider::Model(ProviderKind::Anthropic)),
            ("gemini", Provider::Model(ProviderKind::Gemini)),
            ("ollama", Provider::Model(ProviderKind::Ollama)),
        ],
    );
    let name = from.text(Key("chat.model.name", "which of the provider's models; echo needs none"));
    let own = Account {
        base_url: from
            .text(Key("chat.model.base_url", "where the configured provider is, if not at its own address")),
        api_key: from.text(Key("chat.model.api_key", "the configured provider's key, before the one below")),
    };
    let projects = from.models(Key(
        "chat.model.projects",
        "which models answer in some projects; a session's metadata may choose another",
    ));
    ModelSettings {
        provider,
        name,
        projects,
        connect_timeout: from.millis(
            Key("chat.model.connect_timeout_ms", "how long reaching a model may take"),
            10_000,
            10..=600_000,
        ),
        silence_timeout: from.millis(
            Key("chat.model.silence_timeout_ms", "how long a model may say nothing before it is given up"),
            120_000,
            10..=HOUR_MS,
        ),
        max_retries: from.small(
            Key("chat.model.max_retries", "how often a model is asked again that has not begun to answer"),
            2,
            0..=100,
        ),
        max_retry_wait: from.millis(
            Key(
                "chat.model.max_retry_wait_ms",
                "how long a wait before that may be; a longer one is not waited",
            ),
            20_000,
            0..=600_000,
        ),
        context_size: from.number(
            Key(
                "chat.model.context_size",
                "how much of a conversation a model is shown, in estimated tokens",
            ),
            160_000,
            0..=100_000_000,
        ),
        accounts: accounts(provider, &own, from),
    }
}

/// What is known of each provider; what is set for the configured one comes first.
fn accounts(provider: Provider, own: &Account, from: &mut Reader<'_>) -> Vec<(ProviderKind, Account)> {
    let mut account = |kind, base_url: Key, api_key: Key, variables: &[&'static str]| {
        let (base_url, api_key) = (from.text(base_url), from.text_or(api_key, variables));
        let own = if provider == Provider::Model(kind) { own.clone() } else { Account::default() };
        (kind, Account { base_url: own.base_url.or(base_url), api_key: own.api_key.or(api_key) })
    };
    vec![
        account(
            ProviderKind::OpenAi,
            Key("chat.openai.base_url", "where OpenAI is, or a server that speaks its API"),
            Key("chat.openai.api_key", "its key; else OPENAI_API_KEY"),
            &["OPENAI_API_KEY"],
        ),
        account(
            ProviderKind::Anthropic,
            Key("chat.anthropic.base_url", "where Anthropic is"),
            Key("chat.anthropic.api_key", "its key; else ANTHROPIC_API_KEY"),
            &["ANTHROPIC_API_KEY"],
        ),
        account(
            ProviderKind::Gemini,
            Key("chat.gemini.base_url", "where Gemini is"),
            Key("chat.gemini.api_key", "its key; else GEMINI_API_KEY or GOOGLE_API_KEY"),
            &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        ),
        account(
            ProviderKind::Ollama,
            Key("chat.ollama.base_url", "where Ollama is"),
            Key("chat.ollama.api_key", "its key, if it wants one; else OLLAMA_API_KEY"),
            &["OLLAMA_API_KEY"],
        ),
    ]
}
