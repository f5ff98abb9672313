//! Who answers a message: the trait that every model stands behind, the echo, which needs none, and real models of
//! providers (with the feature `providers`, which is on).
//!
//! A responder knows nothing of sessions, stores and connections. It gets a [`Prompt`] and answers with a
//! stream of [`ReplyPart`]s; whoever drives it decides when to stop, and stops by dropping the stream.

mod echo;
#[cfg(feature = "providers")]
pub mod provider;
mod responder;

pub use echo::{Echo, EchoOptions};
pub use responder::{ModelChoice, Prompt, Reply, ReplyPart, Responder, ResponderError};
