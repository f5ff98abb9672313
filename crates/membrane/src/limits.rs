//! How large a value may be. Checked before anything is sent to the store, so that the answer names
//! the value. Limits on requests and open streams belong to the HTTP layer and are not here.

use membrane_core::error::ValueError;
use membrane_core::json::Json;
use membrane_core::text::cut;
use membrane_core::turn::{Item, Message, Turn};
use membrane_store::change::MAX_KEY_BYTES;

use crate::error::ChatError;

/// The largest values that are accepted, each inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A user's message, in bytes; 4 MiB by default.
    pub max_message_bytes: usize,
    /// A turn with its answer, its tools' inputs and outputs and everything else, in bytes; 64 MiB by
    /// default.
    pub max_turn_bytes: usize,
    /// A branch name, title, project id, checkpoint name, tag, crystal title or comment, in bytes;
    /// 64 KiB by default.
    pub max_name_bytes: usize,
    /// A session's metadata and a crystal's text, in bytes; 4 MiB by default.
    pub max_metadata_bytes: usize,
    /// How many tags a session has; 1,000 by default.
    pub max_tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 4 * 1024 * 1024,
            max_turn_bytes: 64 * 1024 * 1024,
            max_name_bytes: 64 * 1024,
            max_metadata_bytes: 4 * 1024 * 1024,
            max_tags: 1000,
        }
    }
}

impl Limits {
    pub(crate) fn check_message(&self, message: &Message) -> Result<(), ChatError> {
        at_most("user message", message.content.len(), self.max_message_bytes)
    }

    pub(crate) fn check_turn(&self, turn: &Turn) -> Result<(), ChatError> {
        self.check_message(&turn.user)?;
        at_most("turn", turn_bytes(turn), self.max_turn_bytes)
    }

    pub(crate) fn check_name(&self, what: &'static str, name: &str) -> Result<(), ChatError> {
        at_most(what, name.len(), self.max_name_bytes)
    }

    /// A name that nobody chose, cut to what is allowed.
    pub(crate) fn cut_name(&self, mut name: String) -> String {
        cut(&mut name, self.max_name_bytes);
        name
    }

    pub(crate) fn check_optional_name(
        &self,
        what: &'static str,
        name: Option<&str>,
    ) -> Result<(), ChatError> {
        name.map_or(Ok(()), |name| self.check_name(what, name))
    }

    pub(crate) fn check_tags(&self, tags: &[String]) -> Result<(), ChatError> {
        if tags.len() > self.max_tags {
            let problem = format!("it has {} entries, at most {} are allowed", tags.len(), self.max_tags);
            return Err(ValueError::NotJson { what: "list of tags", problem }.into());
        }
        tags.iter().try_for_each(|tag| self.check_name("tag", tag))
    }

    pub(crate) fn check_metadata(&self, metadata: &Json) -> Result<(), ChatError> {
        if !metadata.is_object() {
            let problem = "it must be an object such as {}".to_owned();
            return Err(ValueError::NotJson { what: "metadata", problem }.into());
        }
        at_most("metadata", metadata.as_str().len(), self.max_metadata_bytes)
    }

    pub(crate) fn check_output(&self, output: &Json) -> Result<(), ChatError> {
        at_most("tool's output", output.as_str().len(), self.max_message_bytes)
    }

    pub(crate) fn check_optional_text(
        &self,
        what: &'static str,
        text: Option<&str>,
    ) -> Result<(), ChatError> {
        text.map_or(Ok(()), |text| self.check_text(what, text))
    }

    pub(crate) fn check_text(&self, what: &'static str, text: &str) -> Result<(), ChatError> {
        at_most(what, text.len(), self.max_metadata_bytes)
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), ChatError> {
    if key.is_empty() {
        return Err(ValueError::Empty { what: "idempotency key" }.into());
    }
    at_most("idempotency key", key.len(), MAX_KEY_BYTES)
}

fn at_most(what: &'static str, bytes: usize, max_bytes: usize) -> Result<(), ChatError> {
    if bytes > max_bytes { Err(ChatError::TooLarge { what, bytes, max_bytes }) } else { Ok(()) }
}

/// What a turn weighs: the bytes of its texts.
fn turn_bytes(turn: &Turn) -> usize {
    let json = |value: &Option<Json>| value.as_ref().map_or(0, |value| value.as_str().len());
    let text = |value: &Option<String>| value.as_ref().map_or(0, String::len);
    let message = |message: &Message| message.content.len() + json(&message.mentions);
    let items = turn.items.iter().map(|item| match item {
        Item::Tool(tool) => {
            let output = tool.input.as_str().len() + tool.output.as_str().len();
            tool.call_id.len() + tool.name.len() + output
        }
        Item::Reasoning(text) => text.len(),
        Item::Message(said) => message(said),
        Item::Other(value) => value.as_str().len(),
    });
    items.sum::<usize>()
        + message(&turn.user)
        + message(&turn.assistant)
        + json(&turn.usage)
        + json(&turn.portal_emissions)
        + text(&turn.model)
        + text(&turn.finish_reason)
        + turn.error.as_ref().map_or(0, |error| error.code.len() + error.message.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane_core::ids::TurnId;
    use membrane_core::time::Timestamp;

    fn turn(user: &str, answer: &str) -> Turn {
        Turn::plain(TurnId::from_stored("t"), user, answer, Timestamp::from_micros(0))
    }

    #[test]
    fn a_limit_is_inclusive_and_names_both_sizes() {
        let limits = Limits { max_message_bytes: 4, max_turn_bytes: 10, ..Limits::default() };
        limits.check_turn(&turn("é12", "123456")).unwrap();
        let error = limits.check_turn(&turn("12345", "")).unwrap_err();
        assert!(
            matches!(error, ChatError::TooLarge { what: "user message", bytes: 5, max_bytes: 4 }),
            "{error:?}"
        );
        let mut over = turn("1234", "12345");
        over.items.push(Item::Reasoning("ab".into()));
        assert!(matches!(
            limits.check_turn(&over).unwrap_err(),
            ChatError::TooLarge { what: "turn", bytes: 11, max_bytes: 10 }
        ));
    }

    #[test]
    fn metadata_must_be_an_object() {
        let limits = Limits::default();
        limits.check_metadata(&Json::empty_object()).unwrap();
        let error = limits.check_metadata(&Json::null()).unwrap_err().to_string();
        assert!(error.contains("metadata") && error.contains("{}"), "{error}");
    }

    #[test]
    fn a_key_has_between_1_and_255_bytes() {
        check_key(&"k".repeat(255)).unwrap();
        assert!(matches!(check_key(&"k".repeat(256)), Err(ChatError::TooLarge { bytes: 256, .. })));
        assert!(check_key("").is_err());
    }
}
