//! A model for tests: a server that speaks the APIs of model providers over real HTTP, says what it is told to, and
//! misbehaves byte by byte.
//!
//! It understands chat completions as OpenAI does them (`POST …/chat/completions`), Anthropic's messages
//! (`…/v1/messages`), Gemini (`…:streamGenerateContent` and `…:generateContent`) and Ollama (`…/api/chat`), streaming
//! and whole. What it answers is a queue of [`Answer`]s; with an empty queue it repeats the user's words. A user
//! message that is itself a JSON object with the key `membrane_test` is followed as a script (see [`Answer::of_script`]),
//! so that tests in any language can steer it.
//!
//! Not here: whether what it is asked would please the real provider.

mod answer;
mod connection;
mod dialect;
mod http;
mod script;
mod server;

pub use answer::{Answer, Step, Tokens};
pub use http::Request;
pub use server::{ModelOptions, ModelServer};
