//! Real models: OpenAI and whoever speaks its chat completions, Anthropic, Gemini and Ollama, through genai.
//!
//! What is sent and how pieces of answers are read is genai's business. Ours is what a conversation becomes as a request,
//! when an answer is whole, what went wrong in words that help, and when to try again.
//!
//! Not here: the environment, which only the configuration reads.

mod calls;
mod carry;
mod conversation;
mod failure;
mod frames;
mod kind;
mod network;
mod options;
mod request;
mod responder;
mod results;
mod status;
mod target;
pub mod telemetry;
mod tools;
mod url;

pub use kind::ProviderKind;
pub use options::{Account, ProviderError, ProviderOptions};
pub use responder::Provider;
