//! What went wrong, as a stable word, a sentence that helps, and whether to try again.
//!
//! Not here: answers with a status that says so ([`super::status`]), and what happens on the way ([`super::network`]).

use std::error::Error;
use std::string::FromUtf8Error;
use std::time::Duration;

use serde_json::Value;

use super::target::Target;
use super::{network, status};

/// How much of a provider's own words is repeated, in characters.
const MAX_SAID: usize = 500;
/// No secret is shorter, in bytes.
const MIN_KEY: usize = 4;

/// Why an answer did not come, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry: Retry,
}

/// Whether the same request may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It will not.
    Never,
    /// Soon.
    Soon,
    /// After so long, as the provider says.
    After(Duration),
}

impl Failure {
    pub(super) fn new(code: &'static str, message: String, retry: Retry) -> Self {
        Self { code, message, retry }
    }

    /// The connection ended before the answer did.
    pub(super) fn cut_off(target: &Target, has_spoken: bool) -> Self {
        let Target { kind, address, .. } = target;
        let message = if has_spoken {
            format!(
                "{kind} at {address} closed the connection before the answer's end; send the message again"
            )
        } else {
            format!(
                "{kind} at {address} closed the connection without an answer; send the message again, and if that \
                 does not help, check that the base URL is the address of an API of {kind}"
            )
        };
        Self::new("cut_off", message, Retry::Never)
    }

    /// The answer did not end by itself, and in the midst of a tool's arguments.
    pub(super) fn cut_call(target: &Target, tool: &str) -> Self {
        let Target { kind, name, .. } = target;
        let tool = target.clean(tool);
        let message = format!(
            "{name} of {kind} was cut while it called {tool}, which is not carried out; send the message again, or ask \
             for less at once"
        );
        Self::new("cut_off", message, Retry::Never)
    }

    /// More came of one answer than is kept of any.
    pub(super) fn too_long(target: &Target, n_bytes: usize) -> Self {
        let Target { kind, name, .. } = target;
        let message = format!(
            "{name} of {kind} has sent {n_bytes} bytes and calls a tool without an end; send the message again"
        );
        Self::new("too_large", message, Retry::Never)
    }

    /// There was no sign of life for so long.
    pub(super) fn silent(target: &Target, silence: Duration) -> Self {
        let Target { kind, address, name, .. } = target;
        let seconds = silence.as_secs_f64();
        let message = format!(
            "{name} of {kind} at {address} said nothing for {seconds} s; send the message again, or allow a longer silence"
        );
        Self::new("timed_out", message, Retry::Never)
    }

    /// What arrived makes no sense.
    pub(super) fn not_understood(target: &Target, problem: &str, what: &str) -> Self {
        let Target { kind, address, .. } = target;
        let what = target.clean(what);
        let shown = if what.is_empty() { String::new() } else { format!(" in {what:?}") };
        let message = format!(
            "{kind} at {address} sent what cannot be understood ({problem}{shown}); send the message again, and if that \
             does not help, check that the base URL is the address of an API of {kind}"
        );
        Self::new("provider_failed", message, Retry::Never)
    }

    /// The provider said that it failed, where an event of the answer should have been.
    pub(super) fn told(target: &Target, body: &Value) -> Self {
        let Target { kind, address, .. } = target;
        let said = target.quote(&status::said(body));
        match status::class(body) {
            Some("overloaded") => {
                let message = format!("{kind} at {address} is overloaded{said}; try again in a moment");
                Self::new("overloaded", message, Retry::Soon)
            }
            Some("rate_limited") => {
                let message =
                    format!("{kind} at {address} takes no more requests for now{said}; try again later");
                Self::new("rate_limited", message, Retry::Soon)
            }
            _ => {
                let message =
                    format!("{kind} at {address} failed while it answered{said}; send the message again");
                Self::new("provider_failed", message, Retry::Never)
            }
        }
    }

    /// The provider did not let the model answer.
    pub(super) fn blocked(target: &Target, reason: &str) -> Self {
        let Target { kind, .. } = target;
        let said = target.quote(reason);
        let message = format!("{kind} does not answer this conversation{said}; change the message");
        Self::new("rejected", message, Retry::Never)
    }

    /// What genai says went wrong. `last` is the event that it happened in.
    pub(super) fn of_error(target: &Target, error: &genai::Error, last: &str, has_spoken: bool) -> Self {
        use genai::Error as E;
        match error {
            E::HttpError { status, body, headers, .. } => status::failure(target, *status, headers, body),
            E::ChatResponse { body, .. } => Self::told(target, body),
            // The last event was not whole, and nothing followed.
            E::StreamParse { serde_error, .. } if serde_error.is_eof() => Self::cut_off(target, has_spoken),
            E::StreamParse { serde_error, .. } => {
                Self::not_understood(target, &serde_error.to_string(), last)
            }
            E::WebStream { error, .. } => Self::of_stream(target, error.as_ref(), has_spoken),
            E::JsonValueExt(error) => Self::not_understood(target, &error.to_string(), last),
            // What can be wrong before anything is sent. Others hold the request, and are not to be repeated.
            E::MessageContentTypeNotSupported { cause, .. } => {
                let message = format!("the conversation cannot be sent to {}: {cause}", target.kind);
                Self::new("rejected", message, Retry::Never)
            }
            _ => {
                let message = format!(
                    "the request to {} cannot be made; check the model and the base URL",
                    target.kind
                );
                Self::new("rejected", message, Retry::Never)
            }
        }
    }

    fn of_stream(target: &Target, error: &(dyn Error + Send + Sync + 'static), has_spoken: bool) -> Self {
        if let Some(error) = error.downcast_ref::<genai::Error>() {
            return Self::of_error(target, error, "", has_spoken);
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return network::failure(target, error, has_spoken);
        }
        match error.downcast_ref::<FromUtf8Error>() {
            // A character was begun.
            Some(error) if error.utf8_error().error_len().is_none() => Self::cut_off(target, has_spoken),
            _ => Self::not_understood(target, "no UTF-8", ""),
        }
    }
}

impl Target {
    /// A text of somebody else's in one line, without the key, and not too long.
    pub(super) fn clean(&self, text: &str) -> String {
        // What local servers get for a key may be a letter.
        let text = match self.key.as_deref().filter(|key| key.len() >= MIN_KEY) {
            Some(key) => text.replace(key, "***"),
            None => text.to_owned(),
        };
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(MAX_SAID) {
            Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
            None => line,
        }
    }

    /// What the provider says, as a part of a sentence.
    pub(super) fn quote(&self, said: &str) -> String {
        let said = self.clean(said);
        let said = said.trim_end_matches('.');
        if said.is_empty() { String::new() } else { format!(": {said}") }
    }
}
