//! The responder: options once, and then one conversation after the other.

use std::fmt;
use std::sync::Arc;

use futures_util::stream;
use genai::Client;
use reqwest::redirect;

use super::conversation::{Conversation, Shared};
use super::options::{ProviderError, ProviderOptions};
use super::target::Directory;
use super::telemetry::Meter;
use crate::responder::{ModelChoice, Prompt, Reply, Responder};

/// How many idle connections to one provider are kept.
const MAX_IDLE: usize = 32;

/// Answers with a provider's model: the configured one, or the one that a session chooses.
#[derive(Clone)]
pub struct Provider {
    shared: Arc<Shared>,
    directory: Directory,
}

impl Provider {
    /// Reads the options. Nothing is asked over the network yet.
    ///
    /// # Errors
    /// A [`ProviderError`] that names the option and how to write it, or why there can be no HTTPS.
    pub fn new(options: ProviderOptions) -> Result<Self, ProviderError> {
        let directory = Directory::new(&options)?;
        let client = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            // A key is for the address that the user named, and for no other to which that one points.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(MAX_IDLE)
            .http2_keep_alive_interval(std::time::Duration::from_secs(20))
            .http2_adaptive_window(true)
            .user_agent("membrane")
            .build()
            .map_err(|error| ProviderError::Client(error.into()))?;
        let client = Client::builder()
            .with_reqwest(client)
            .build()
            .map_err(|error| ProviderError::Client(error.into()))?;
        Ok(Self { shared: Arc::new(Shared { client, options }), directory })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Responder for Provider {
    fn model(&self) -> Option<String> {
        Some(self.shared.options.name.clone())
    }

    fn chosen_model(&self, choice: &ModelChoice) -> Option<String> {
        choice.name.clone().or_else(|| self.model())
    }

    fn respond(&self, prompt: Prompt) -> Reply {
        let meter = Meter::start(self.directory.kind(prompt.model.as_ref()));
        match self.directory.choose(prompt.model.as_ref()) {
            Ok(target) => {
                let conversation = Conversation::new(Arc::clone(&self.shared), target, prompt, meter);
                // In a box, because it changes hands with every piece.
                Box::pin(stream::unfold(Box::new(conversation), Conversation::next))
            }
            Err(error) => {
                let mut meter = meter;
                meter.outcome(error.code);
                tracing::warn!(model.code = error.code, "a model cannot be asked");
                Box::pin(stream::iter([Err(error)]))
            }
        }
    }
}
