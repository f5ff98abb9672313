//! Ollama: a line of JSON for each piece; the last one is marked.

use serde_json::{Value, json};

use super::{Asked, Said, arguments_of};
use crate::model::answer::Step;

fn line(asked: &Asked, mut message: Value) -> String {
    message["role"] = json!("assistant");
    let line = json!({"model": asked.model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": false});
    format!("{line}\n")
}

fn call(name: &str, id: &str, arguments: &str) -> Value {
    let mut call = json!({"function": {"name": name, "arguments": arguments_of(arguments)}});
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    call
}

pub(super) fn say(asked: &Asked, said: &mut Said, step: &Step) -> String {
    match step {
        Step::Text(text) => line(asked, json!({"content": text})),
        Step::Reasoning(text) => line(asked, json!({"content": "", "thinking": text})),
        Step::Call { id, name, arguments } => {
            line(asked, json!({"content": "", "tool_calls": [call(name, id, &arguments.concat())]}))
        }
        Step::ErrorEvent(error) => format!("{}\n", json!({"error": error})),
        Step::Finish { .. } => {
            format!("{}\n", last(asked, said, &json!({"role": "assistant", "content": ""})))
        }
        _ => String::new(),
    }
}

fn last(asked: &Asked, said: &Said, message: &Value) -> Value {
    let usage = said.usage(asked);
    json!({
        "model": asked.model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": true,
        "done_reason": said.reason("stop", "stop"), "prompt_eval_count": usage.prompt, "eval_count": usage.completion,
    })
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text});
    if !said.reasoning.is_empty() {
        message["thinking"] = json!(said.reasoning);
    }
    if !said.calls.is_empty() {
        let calls = said.calls.iter().map(|(name, id, arguments)| call(name, id, arguments));
        message["tool_calls"] = calls.collect();
    }
    last(asked, said, &message)
}
