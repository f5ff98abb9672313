//! Who answers a message: the trait that every model stands behind, and the echo, which needs none.
//!
//! A responder knows nothing of sessions, stores and connections. It gets a [`Prompt`] and answers with a
//! stream of [`ReplyPart`]s; whoever drives it decides when to stop, and stops by dropping the stream.

mod echo;
mod responder;

pub use echo::{Echo, EchoOptions};
pub use responder::{Prompt, Reply, ReplyPart, Responder, ResponderError};
