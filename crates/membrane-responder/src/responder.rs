//! The trait, and what goes in and comes out. Who implements it is in rooms of their own.

use std::fmt;
use std::pin::Pin;

use futures_util::Stream;
use membrane_core::json::Json;
use membrane_core::turn::Message;

/// What a responder is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// What the user said just now.
    pub message: Message,
}

/// A part of an answer, as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyPart {
    /// More of the answer.
    Text(String),
    /// More of the model's thinking.
    Reasoning(String),
    /// The last part of an answer that came to its end; a stream that ends without it ended well, too.
    End {
        /// Why the model stopped, in the provider's word.
        finish_reason: Option<String>,
        /// The provider's own token counts, unchanged.
        usage: Option<Json>,
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
}

/// An answer on its way. After an error, nothing follows. Dropping it stops the model.
pub type Reply = Pin<Box<dyn Stream<Item = Result<ReplyPart, ResponderError>> + Send>>;

/// Something that answers messages.
pub trait Responder: Send + Sync + fmt::Debug {
    /// The model's name, as it is kept with the turn.
    fn model(&self) -> Option<String>;

    /// Begins to answer. Returns at once: reaching the model is part of the stream.
    fn respond(&self, prompt: Prompt) -> Reply;
}
