//! The trait, and what goes in and comes out. Who implements it is in rooms of their own.

use std::fmt;
use std::pin::Pin;

use futures_util::Stream;
use membrane_core::json::Json;
use membrane_core::run::Step;
use membrane_core::tool::ToolSpec;
use membrane_core::turn::{Message, Turn};

/// Which model is to answer, where a session or a project chooses another than the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// Whose model it is, such as `anthropic`; the configured provider's for `None`.
    pub provider: Option<String>,
    /// Its name there; the configured one for `None`.
    pub name: Option<String>,
}

/// What a responder is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Which model is to answer, if not the configured one.
    pub model: Option<ModelChoice>,
    /// The conversation so far: finished turns, oldest first.
    pub history: Vec<Turn>,
    /// What the user said just now.
    pub message: Message,
    /// What the answer consists of already: what the model said before it called tools, and what came of them. It
    /// goes on from there. Empty where the answer begins.
    pub steps: Vec<Step>,
    /// What the model may call.
    pub tools: Vec<ToolSpec>,
}

impl Prompt {
    /// A first message, of which nothing else is known.
    pub fn new(message: Message) -> Self {
        Self { model: None, history: Vec::new(), message, steps: Vec::new(), tools: Vec::new() }
    }
}

/// A part of an answer, as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyPart {
    /// More of the answer.
    Text(String),
    /// More of the model's thinking.
    Reasoning(String),
    /// The model calls a tool. It may call several; the answer then ends, and goes on in another one, which is asked for
    /// with what came of all of them.
    Call {
        /// The provider's name for the call; may be empty or used before.
        call_id: String,
        /// The tool.
        name: String,
        /// What it is given.
        input: Json,
    },
    /// The last part of an answer that came to its end; a stream that ends without it ended well, too.
    End {
        /// Why the model stopped, in the provider's word.
        finish_reason: Option<String>,
        /// Token counts, see [`membrane_core::usage`].
        usage: Option<Json>,
        /// What the provider wants to be given back unchanged when the answer goes on after tool calls.
        carry: Option<Json>,
    },
}

/// Why a model gave no answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResponderError {
    /// A stable word for programs, such as `rate_limited`.
    pub code: &'static str,
    /// What happened and what to do, for a person.
    pub message: String,
    /// Whether the answer had begun and was cut off, so that what had arrived is worth keeping as an interrupted turn;
    /// otherwise the model failed.
    pub is_cut: bool,
}

/// An answer on its way. After an error, nothing follows. Dropping it stops the model.
pub type Reply = Pin<Box<dyn Stream<Item = Result<ReplyPart, ResponderError>> + Send>>;

/// Something that answers messages.
pub trait Responder: Send + Sync + fmt::Debug {
    /// The model's name, as it is kept with the turn.
    fn model(&self) -> Option<String>;

    /// The name of the model that answers where a session or a project chooses.
    fn chosen_model(&self, _choice: &ModelChoice) -> Option<String> {
        self.model()
    }

    /// Whether it looks at the conversation before the message. If not, none is loaded for it.
    fn reads_history(&self) -> bool {
        true
    }

    /// Begins to answer. Returns at once: reaching the model is part of the stream.
    fn respond(&self, prompt: Prompt) -> Reply;
}
