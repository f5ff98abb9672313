//! Who answers: a configured model becomes a responder.

use std::collections::HashMap;
use std::sync::Arc;

use membrane::responder::provider::{Provider as Models, ProviderKind, ProviderOptions};
use membrane::responder::{Echo, EchoOptions};
use membrane::{ModelChoice, Responder};

use crate::config::{Provider, Settings};
use crate::failure::Failure;

/// Who answers messages.
pub(crate) fn responder(settings: &Settings) -> Result<Arc<dyn Responder>, Failure> {
    match settings.model.provider {
        Provider::Echo => Ok(Arc::new(Echo::new(EchoOptions {
            delay: settings.echo.delay,
            piece_chars: settings.echo.piece_chars,
        }))),
        Provider::Model(provider) => models(settings, provider),
    }
}

/// Says what asking models measures.
pub(super) fn describe_metrics() {
    membrane::responder::provider::telemetry::describe();
}

/// Which models answer in some projects.
pub(crate) fn project_models(settings: &Settings) -> HashMap<String, ModelChoice> {
    settings.model.projects.iter().cloned().collect()
}

fn models(settings: &Settings, provider: ProviderKind) -> Result<Arc<dyn Responder>, Failure> {
    let model = &settings.model;
    let name = model.name.clone().ok_or_else(|| {
        Failure::usage(format!(
            "chat.model.provider is {}, and chat.model.name is not set; name one of its models",
            provider.as_str()
        ))
    })?;
    let options = ProviderOptions {
        accounts: model.accounts.iter().cloned().collect(),
        connect_timeout: model.connect_timeout,
        silence_timeout: model.silence_timeout,
        max_retries: model.max_retries,
        max_retry_wait: model.max_retry_wait,
        ..ProviderOptions::new(provider, name)
    };
    if let Some(refusal) = unreachable(&options) {
        return Err(refusal);
    }
    let models = Models::new(options).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Arc::new(models))
}

/// Why the configured provider would answer nothing: at its own address it wants a key.
fn unreachable(options: &ProviderOptions) -> Option<Failure> {
    let provider = options.provider;
    let account = options.accounts.get(&provider);
    let is_set = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let has_key = is_set(account.and_then(|account| account.api_key.as_ref()));
    let is_elsewhere = is_set(account.and_then(|account| account.base_url.as_ref()));
    let variable = provider.key_variable()?;
    (!has_key && !is_elsewhere && provider != ProviderKind::Ollama).then(|| {
        Failure::usage(format!(
            "chat.model.provider is {}, which wants a key; set {variable}, or chat.model.api_key, or \
             chat.model.base_url if another server stands in for it",
            provider.as_str()
        ))
    })
}
