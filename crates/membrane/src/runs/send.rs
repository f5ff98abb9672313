//! Sending a message.

use membrane_core::ids::SessionId;
use membrane_core::turn::Message;

use super::begin::Sent;
use crate::chat::Chat;
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};

/// A message to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct SendOptions {
    /// What the user says; may be empty.
    pub message: Message,
    /// Makes the call happen once: the same key and body again listens to the same answer.
    pub key: Option<ClientKey>,
}

impl SendOptions {
    /// A plain message, without a key.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: Message::new(message), key: None }
    }
}

impl Chat {
    /// Sends a message and gives a reader of the answer. When this returns, the message is durable; the
    /// reader's last event comes when the turn is, or when the model has called tools and waits for their results.
    /// Needs a tokio runtime, on which the turn goes on whether anybody reads or not.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Busy`]: a turn of the session is under way.
    /// - [`ChatError::TooLarge`]: the message is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::AnswerGone`]: the key's turn was taken off the session since, and nothing holds it.
    /// - [`ChatError::Unavailable`]: the keep is about to be closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either nothing or a turn that goes on to its end.
    pub async fn send(&self, id: &SessionId, options: SendOptions) -> Result<Sent, ChatError> {
        self.limits().check_message(&options.message)?;
        let scope = Scope::new("send", Some(id), options.key)?;
        let id = id.clone();
        self.spawn_run(|chat| async move { chat.begin_run(&id, options.message, scope.as_ref()).await }).await
    }
}
