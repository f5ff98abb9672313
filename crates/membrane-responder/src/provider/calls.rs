//! Tool calls of chat completions, put together from their fragments.
//!
//! genai does that too, but only hands them over at a `[DONE]`, which not every server sends, and joins what servers that
//! number all calls alike say of different ones.

use std::collections::HashSet;

use membrane_core::json::Json;
use serde_json::Value;

use super::conversation::MAX_CALLING;
use super::kind::ProviderKind;
use crate::responder::ReplyPart;

/// A call, as far as it has arrived.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    n_bytes: usize,
}

impl Calls {
    /// How long all arguments were.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Takes an entry of `delta.tool_calls`. What is more than an answer may hold is only counted.
    pub(super) fn push(&mut self, fragment: &Value) {
        let index = fragment.get("index").and_then(Value::as_u64);
        let text = |pointer: &str| fragment.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (id, name) = (text("/id"), text("/function/name"));
        let arguments = match fragment.pointer("/function/arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            // Some servers send them as what they are.
            Some(other) => other.to_string(),
        };
        self.n_bytes = self.n_bytes.saturating_add(arguments.len());
        if self.n_bytes > MAX_CALLING {
            return;
        }
        let position = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None => self.calls.len().checked_sub(1),
        };
        // Some servers give all calls the same number, or none; each still has its own id and name.
        let is_next =
            |call: &Call| !id.is_empty() && !name.is_empty() && !call.id.is_empty() && call.id != id;
        match position.and_then(|position| self.calls.get_mut(position)).filter(|call| !is_next(call)) {
            Some(call) => {
                if call.id.is_empty() {
                    id.clone_into(&mut call.id);
                }
                if call.name.is_empty() {
                    name.clone_into(&mut call.name);
                }
                call.arguments.push_str(&arguments);
            }
            None => self.calls.push(Call { index, id: id.to_owned(), name: name.to_owned(), arguments }),
        }
    }

    /// The calls as parts of the answer.
    pub(super) fn into_parts(self) -> Vec<ReplyPart> {
        let named = self.calls.into_iter().filter(|call| !call.name.is_empty());
        named.map(|call| part(call.id, call.name, input_of_text(&call.arguments))).collect()
    }
}

pub(super) fn part(call_id: String, name: String, input: Json) -> ReplyPart {
    ReplyPart::Call { call_id, name, input }
}

/// What a tool is given: the text itself if it is JSON, nothing if it is empty, else a string.
fn input_of_text(text: &str) -> Json {
    if text.trim().is_empty() {
        return Json::empty_object();
    }
    Json::parse("input", text).unwrap_or_else(|_| Json::from_value(&Value::String(text.to_owned())))
}

/// The same for what genai has already read.
pub(super) fn input_of_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::empty_object(),
        Value::String(text) => input_of_text(text),
        value => Json::from_value(value),
    }
}

/// Names for calls in a request: the ones they have, where every provider takes them, and made up ones elsewhere. Calls of
/// other providers may be named in ways that this one refuses, or not at all.
#[derive(Debug, Default)]
pub(super) struct CallIds {
    used: HashSet<String>,
    n_made: usize,
}

/// The longest name that all providers take.
const MAX_ID_CHARS: usize = 40;

impl CallIds {
    /// A name that no other call of the request has, for this call of `tool`.
    pub(super) fn name(&mut self, kind: ProviderKind, tool: &str, id: &str) -> String {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_good = !id.is_empty() && id.len() <= MAX_ID_CHARS && id.chars().all(is_allowed);
        let mut name = id.to_owned();
        while !is_good && name == id || self.used.contains(&name) {
            self.n_made += 1;
            let n_made = self.n_made;
            name = match kind {
                // What is called so is sent without a name, and Gemini goes by the order.
                ProviderKind::Gemini => format!("call#{tool}#{n_made}"),
                _ => format!("call_{n_made}"),
            };
        }
        self.used.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put_together(fragments: &[Value]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for fragment in fragments {
            calls.push(fragment);
        }
        let parts = calls.into_parts().into_iter().map(|part| match part {
            ReplyPart::Call { call_id, name, input } => (call_id, name, input.to_string()),
            other => panic!("{other:?}"),
        });
        parts.collect()
    }

    fn call(id: &str, name: &str, input: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), input.to_owned())
    }

    #[test]
    fn fragments_are_joined_by_their_number() {
        let calls = put_together(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"y\""}}),
            json!({"index": 0, "function": {"arguments": "{\"x\": "}}),
            json!({"index": 1, "function": {"arguments": ":2}"}}),
            json!({"index": 0, "function": {"arguments": "1.0}"}}),
        ]);
        assert_eq!(calls, [call("a", "f", "{\"x\": 1.0}"), call("b", "g", "{\"y\":2}")]);
    }

    #[test]
    fn calls_that_are_numbered_alike_or_not_at_all_are_told_apart_by_their_ids() {
        for index in [json!(0), Value::Null] {
            let calls = put_together(&[
                json!({"index": index, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
                json!({"index": index, "id": "b", "function": {"name": "f", "arguments": {"x": 1}}}),
            ]);
            assert_eq!(calls, [call("a", "f", "{}"), call("b", "f", "{\"x\":1}")]);
        }
        let repeated = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}});
        assert_eq!(put_together(&[repeated.clone(), repeated]), [call("a", "f", "11")]);
    }

    #[test]
    fn a_high_number_takes_no_room() {
        let calls = put_together(&[json!({"index": u32::MAX, "id": "a", "function": {"name": "f"}})]);
        assert_eq!(calls, [call("a", "f", "{}")]);
    }

    #[test]
    fn what_is_no_json_stays_a_string_and_a_call_without_a_name_is_none() {
        let calls = put_together(&[
            json!({"index": 0, "function": {"name": "f", "arguments": "{\"x\": "}}),
            json!({"index": 1, "function": {"arguments": "{}"}}),
        ]);
        assert_eq!(calls, [call("", "f", r#""{\"x\": ""#)]);
        assert_eq!(input_of_value(&Value::Null).as_str(), "{}");
        assert_eq!(input_of_value(&json!("{\"a\":1}")).as_str(), "{\"a\":1}");
        assert_eq!(input_of_value(&json!("half")).as_str(), "\"half\"");
    }

    #[test]
    fn calls_keep_good_names_and_get_others_for_bad_and_repeated_ones() {
        let mut ids = CallIds::default();
        let mut name = |id: &str| ids.name(ProviderKind::Anthropic, "look", id);
        assert_eq!(name("toolu_1-a"), "toolu_1-a");
        assert_eq!(name("toolu_1-a"), "call_1");
        assert_eq!(name("call_2"), "call_2");
        assert_eq!(name("call#look#0"), "call_3");
        assert_eq!(name(""), "call_4");
        assert_eq!(name(&"x".repeat(41)), "call_5");
        assert_eq!(ids.name(ProviderKind::Gemini, "look", "call#look#0"), "call#look#6");
    }
}
