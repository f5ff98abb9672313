//! Which API was called, and what of a request decides its answer.

use serde_json::Value;

use crate::model::http::Request;

/// A provider's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

impl Dialect {
    /// The type of a streamed body.
    pub(in crate::model) fn content_type(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Gemini => "text/event-stream",
            Self::Ollama => "application/x-ndjson",
        }
    }
}

/// What of a request decides its answer.
#[derive(Debug)]
pub(in crate::model) struct Asked {
    pub(in crate::model) dialect: Dialect,
    pub(super) model: String,
    /// What the user said last.
    pub(in crate::model) last_user: String,
    /// What tools said since.
    pub(in crate::model) tool_results: Vec<String>,
    /// How often the model has answered since.
    pub(in crate::model) n_rounds: usize,
    pub(in crate::model) is_streaming: bool,
    pub(super) wants_usage: bool,
}

impl Asked {
    /// `None` if no API has this path.
    pub(in crate::model) fn read(request: &Request) -> Option<Self> {
        let path = request.path.split('?').next()?;
        let (dialect, is_streaming) = if path.ends_with("/chat/completions") {
            (Dialect::OpenAi, false)
        } else if path.ends_with("/v1/messages") {
            (Dialect::Anthropic, false)
        } else if path.ends_with(":streamGenerateContent") {
            (Dialect::Gemini, true)
        } else if path.ends_with(":generateContent") {
            (Dialect::Gemini, false)
        } else if path.ends_with("/api/chat") {
            // Ollama streams unless it is told not to.
            (Dialect::Ollama, true)
        } else {
            return None;
        };
        let body = &request.body;
        let mut asked = Self {
            dialect,
            model: body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
            last_user: String::new(),
            tool_results: Vec::new(),
            n_rounds: 0,
            is_streaming: body.get("stream").and_then(Value::as_bool).unwrap_or(is_streaming),
            wants_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
        };
        let messages = body.get("messages").or_else(|| body.get("contents")).and_then(Value::as_array);
        for message in messages.into_iter().flatten() {
            asked.hear(message);
        }
        Some(asked)
    }

    fn hear(&mut self, message: &Value) {
        let content = message.get("content").or_else(|| message.get("parts"));
        match message.get("role").and_then(Value::as_str) {
            Some("assistant" | "model") => self.n_rounds += 1,
            Some("tool") => self.tool_results.push(text_of(content)),
            Some("user") => {
                let results = content.and_then(Value::as_array).into_iter().flatten().filter_map(tool_result);
                let n_before = self.tool_results.len();
                self.tool_results.extend(results);
                if self.tool_results.len() == n_before {
                    self.last_user = text_of(content);
                    self.tool_results.clear();
                    self.n_rounds = 0;
                }
            }
            _ => {}
        }
    }
}

/// What a tool said, if this part of a user's message is that (Anthropic and Gemini).
fn tool_result(part: &Value) -> Option<String> {
    if part.get("type").and_then(Value::as_str) == Some("tool_result") {
        return Some(text_of(part.get("content")));
    }
    let response = part.get("functionResponse")?.get("response")?;
    Some(response.get("content").and_then(Value::as_str).map_or_else(|| response.to_string(), str::to_owned))
}

/// The text of a message: a string, or parts of which some have text.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(path: &str, body: Value) -> Option<Asked> {
        Asked::read(&Request { method: "POST".into(), path: path.into(), headers: Vec::new(), body })
    }

    #[test]
    fn the_path_tells_the_api_and_the_messages_what_was_said_last() {
        let messages = json!([
            {"role": "user", "content": "first"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
            {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "42"}
        ]);
        let asked =
            read("/x/chat/completions", json!({"messages": messages, "stream": true})).expect("known");
        assert_eq!((asked.last_user.as_str(), asked.n_rounds), ("second", 1));
        assert!(asked.is_streaming && asked.tool_results == ["42"]);
        let results = json!([
            {"role": "user", "content": "go"}, {"role": "assistant", "content": []},
            {"role": "user", "content": [{"type": "tool_result", "content": "7"}]}
        ]);
        let asked = read("/v1/messages", json!({"messages": results})).expect("known");
        assert_eq!((asked.last_user.as_str(), asked.n_rounds, asked.is_streaming), ("go", 1, false));
        assert_eq!(asked.tool_results, ["7"]);
        let contents = json!([
            {"role": "user", "parts": [{"text": "go"}]}, {"role": "model", "parts": []},
            {"role": "user", "parts": [{"functionResponse": {"response": {"content": "8"}}}]}
        ]);
        let path = "/v1beta/models/m:streamGenerateContent?alt=sse";
        let asked = read(path, json!({"contents": contents})).expect("known");
        assert_eq!((asked.last_user.as_str(), asked.is_streaming), ("go", true));
        assert_eq!(asked.tool_results, ["8"]);
        assert!(read("/api/chat", json!({})).is_some_and(|asked| asked.is_streaming));
        assert!(read("/v1/models", json!({})).is_none());
    }
}
