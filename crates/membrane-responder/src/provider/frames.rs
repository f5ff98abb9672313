//! What the raw events say and genai does not hand on: that an answer has come to its end, calls, errors that are told in
//! passing, signs of life.

use std::sync::{Mutex, MutexGuard, PoisonError};

use genai::chat::{ChatFrameSink, FrameCtx, RawFrameRef, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::calls::Calls;
use super::kind::ProviderKind;

/// How much of an event is kept for messages, in bytes.
const MAX_SHOWN: usize = 200;

/// What the events of one answer said so far.
#[derive(Debug)]
pub(super) struct Seen {
    /// When the last one came, if only to keep the connection open.
    pub(super) last_at: Instant,
    /// The beginning of the last one that held anything.
    pub(super) last: String,
    /// How long all of them were.
    pub(super) n_bytes: usize,
    /// Why the model stopped, once it has.
    pub(super) finish_reason: Option<String>,
    /// Whether the answer is whole.
    pub(super) is_finished: bool,
    pub(super) usage: Option<Usage>,
    pub(super) calls: Calls,
    /// Whether thoughts come in the field that its servers want back with the results of tools.
    pub(super) has_reasoning_content: bool,
    /// An error that genai reads over.
    pub(super) error: Option<Value>,
    /// Why the provider does not let the model answer.
    pub(super) blocked: Option<String>,
}

/// Listens to the raw events of one answer.
#[derive(Debug)]
pub(super) struct Frames {
    kind: ProviderKind,
    seen: Mutex<Seen>,
}

impl Frames {
    pub(super) fn new(kind: ProviderKind) -> Self {
        let seen = Seen {
            last_at: Instant::now(),
            last: String::new(),
            n_bytes: 0,
            finish_reason: None,
            is_finished: false,
            usage: None,
            calls: Calls::default(),
            has_reasoning_content: false,
            error: None,
            blocked: None,
        };
        Self { kind, seen: Mutex::new(seen) }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChatFrameSink for Frames {
    fn on_frame(&self, _: &FrameCtx, frame: RawFrameRef<'_>) {
        let mut seen = self.seen();
        seen.last_at = Instant::now();
        seen.n_bytes = seen.n_bytes.saturating_add(frame.data.len());
        if frame.data.trim().is_empty() {
            return;
        }
        seen.last.clear();
        seen.last.push_str(beginning(frame.data));
        // Anthropic's streamer leaves nothing out, and nearly all chunks of OpenAI's language say nothing else.
        if self.kind == ProviderKind::Anthropic || self.kind == ProviderKind::OpenAi && is_text(frame.data) {
            return;
        }
        let Ok(mut event) = serde_json::from_str::<Value>(frame.data) else { return };
        match self.kind {
            ProviderKind::OpenAi => seen.read_chunk(&mut event),
            ProviderKind::Gemini => {
                let reason = event.pointer("/promptFeedback/blockReason").and_then(Value::as_str);
                seen.blocked = reason.map(str::to_owned).or(seen.blocked.take());
            }
            ProviderKind::Ollama => {
                // Old versions give no reason with it.
                seen.is_finished |= event.get("done") == Some(&Value::Bool(true));
                seen.error = event.get_mut("error").map(Value::take).or(seen.error.take());
            }
            ProviderKind::Anthropic => {}
        }
    }
}

/// As much of an event as is kept, in whole characters.
fn beginning(data: &str) -> &str {
    let mut end = data.len().min(MAX_SHOWN);
    while !data.is_char_boundary(end) {
        end -= 1;
    }
    data.get(..end).unwrap_or_default()
}

/// A chunk of a chat completion, as far as it has to be looked at to know that it says nothing but text.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
    #[serde(default, borrow)]
    reasoning_content: Option<&'a RawValue>,
}

/// Whether a chunk is one of text or of nothing. What is not read so may be anything.
fn is_text(data: &str) -> bool {
    let Ok(Chunk { choices, usage: None }) = serde_json::from_str(data) else { return false };
    choices.iter().all(|choice| {
        let Delta { tool_calls, reasoning_content } = &choice.delta;
        choice.finish_reason.is_none() && tool_calls.is_none() && reasoning_content.is_none()
    })
}

impl Seen {
    /// Reads a chunk of a chat completion.
    fn read_chunk(&mut self, chunk: &mut Value) {
        if let Some(usage) = chunk.get_mut("usage").map(Value::take).filter(|usage| !usage.is_null()) {
            self.usage = serde_json::from_value(usage).ok();
        }
        let Some(choice) = chunk.pointer("/choices/0") else { return };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
            self.is_finished = true;
        }
        let reasoning = choice.pointer("/delta/reasoning_content").and_then(Value::as_str);
        self.has_reasoning_content |= reasoning.is_some_and(|text| !text.is_empty());
        let calls = choice.pointer("/delta/tool_calls").and_then(Value::as_array);
        calls.into_iter().flatten().for_each(|call| self.calls.push(call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_say_nothing_but_text_are_told_from_all_others() {
        for text in [
            r#"{"choices":[{"index":0,"delta":{"content":"tool_calls"}}]}"#,
            r#"{"id":"x","choices":[{"delta":{"role":"assistant","content":null},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":null,"reasoning_content":null}}]}"#,
        ] {
            assert!(is_text(text), "{text}");
        }
        for other in [
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":null,"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"finish_reason":"length"}]}"#,
            r#"{"error":{"message":"no"}}"#,
            r#"{"choices":null}"#,
            "[DONE]",
            "",
        ] {
            assert!(!is_text(other), "{other}");
        }
    }

    #[test]
    fn what_is_kept_of_an_event_is_whole() {
        assert_eq!(beginning("short"), "short");
        let long = format!("a{}", "é".repeat(MAX_SHOWN));
        assert_eq!(beginning(&long).len(), MAX_SHOWN - 1);
        assert!(long.starts_with(beginning(&long)));
    }
}
