//! Models that are asked over real connections, and what they can do to us.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod carry;
mod dialects;
mod endings;
mod failures;
mod load;
mod requests;
mod retries;
mod telemetry;

use std::time::Duration;

use futures_util::StreamExt as _;
use membrane_core::ids::{SequentialIds, TurnId};
use membrane_core::json::Json;
use membrane_core::run::Step;
use membrane_core::time::Timestamp;
use membrane_core::tool::{ToolEffect, ToolSpec, ToolUse};
use membrane_core::turn::{Message, Turn};
use membrane_responder::provider::{Account, Provider, ProviderKind, ProviderOptions};
use membrane_responder::{Prompt, ReplyPart, Responder as _, ResponderError};
use membrane_testservers::model::ModelServer;
use tokio::time::Instant;

/// The secret of all tests; no message may hold it.
const KEY: &str = "sk-test-4711";

/// Where a provider's API is on this server.
fn options(server: &ModelServer, kind: ProviderKind) -> ProviderOptions {
    let name = if kind == ProviderKind::Gemini { "gemini-2.5-pro" } else { "model-1" };
    let account = Account { base_url: Some(server.url()), api_key: Some(KEY.to_owned()) };
    let mut options = ProviderOptions::new(kind, name);
    options.accounts.insert(kind, account);
    options.max_retries = 0;
    // No test waits for nothing.
    options.max_retry_wait = Duration::from_millis(5);
    options.silence_timeout = Duration::from_secs(20);
    options
}

fn start() -> ModelServer {
    ModelServer::start().unwrap()
}

fn ask(text: &str) -> Prompt {
    Prompt::new(Message::new(text))
}

fn json(text: &str) -> Json {
    Json::parse("test", text).unwrap()
}

fn used(call_id: &str, name: &str, input: &str, output: &str) -> ToolUse {
    ToolUse { output: json(output), ..ToolUse::new(call_id, name, json(input)) }
}

fn step(text: &str, tools: Vec<ToolUse>) -> Step {
    Step { text: text.to_owned(), tools, ..Step::default() }
}

fn turn(user: &str, assistant: &str) -> Turn {
    Turn::plain(TurnId::generate(&SequentialIds::default()), user, assistant, Timestamp::from_micros(0))
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: Some(format!("does {name}")),
        parameters: Some(json(r#"{"type":"object","properties":{"x":{"type":"integer"}}}"#)),
        effect: ToolEffect::Read,
    }
}

/// A whole answer, or what there was of it.
#[derive(Debug, Default)]
struct Said {
    text: String,
    reasoning: String,
    /// Id, name and input.
    calls: Vec<(String, String, String)>,
    finish_reason: Option<String>,
    usage: Option<Json>,
    carry: Option<Json>,
    has_ended: bool,
    n_pieces: usize,
    error: Option<ResponderError>,
}

impl Said {
    /// The error's code, and whether the answer was cut.
    #[track_caller]
    fn failed(&self) -> (&'static str, bool) {
        let error = self.error.as_ref().unwrap_or_else(|| panic!("it did not fail: {self:?}"));
        assert!(!error.message.contains(KEY), "{error:?}");
        assert!(error.message.len() > 20 && !error.message.contains('\n'), "{error:?}");
        (error.code, error.is_cut)
    }

    #[track_caller]
    fn message(&self) -> &str {
        self.failed();
        &self.error.as_ref().unwrap().message
    }
}

async fn answer(options: ProviderOptions, prompt: Prompt) -> Said {
    answer_of(&Provider::new(options).unwrap(), prompt).await
}

async fn answer_of(provider: &Provider, prompt: Prompt) -> Said {
    let mut reply = provider.respond(prompt);
    let mut said = Said::default();
    while let Some(part) = reply.next().await {
        assert!(!said.has_ended && said.error.is_none(), "nothing follows the end: {part:?}");
        match part {
            Ok(ReplyPart::Text(text)) => {
                said.n_pieces += 1;
                said.text += &text;
            }
            Ok(ReplyPart::Reasoning(text)) => said.reasoning += &text,
            Ok(ReplyPart::Call { call_id, name, input }) => {
                said.calls.push((call_id, name, input.to_string()));
            }
            Ok(ReplyPart::End { finish_reason, usage, carry }) => {
                said = Said { finish_reason, usage, carry, has_ended: true, ..said };
            }
            Err(error) => said.error = Some(error),
        }
    }
    said
}

/// Waits until it is so, and lets the connections' own tasks run meanwhile.
async fn eventually(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to be so");
        tokio::task::yield_now().await;
    }
}
