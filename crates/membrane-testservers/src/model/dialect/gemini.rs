//! Gemini: every event is an answer of its own, with some of the parts. Lines end as Google's do, with CR and LF.

use serde_json::{Value, json};

use super::{Asked, Said, arguments_of};
use crate::model::answer::Step;

fn event(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

fn candidate(part: &Value) -> String {
    event(&json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]}))
}

/// Puts the signature that waits for a part on this one.
fn signed(said: &mut Said, mut part: Value) -> Value {
    if let Some(signature) = said.signature.take() {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

fn call(name: &str, id: &str, arguments: &str) -> Value {
    let mut call = json!({"name": name, "args": arguments_of(arguments)});
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    json!({"functionCall": call})
}

pub(super) fn say(asked: &Asked, said: &mut Said, step: &Step) -> String {
    match step {
        Step::Text(text) => candidate(&signed(said, json!({"text": text}))),
        Step::Reasoning(text) => candidate(&json!({"text": text, "thought": true})),
        Step::Signature(signature) => {
            said.signature = Some(signature.clone());
            String::new()
        }
        Step::Call { id, name, arguments } => candidate(&signed(said, call(name, id, &arguments.concat()))),
        Step::ErrorEvent(error) => event(&json!({"error": error})),
        Step::Finish { .. } => {
            let content = json!({"role": "model", "parts": [{"text": ""}]});
            event(&json!({
                "candidates": [{"content": content, "finishReason": said.reason("STOP", "STOP"), "index": 0}],
                "usageMetadata": usage(asked, said),
            }))
        }
        _ => String::new(),
    }
}

fn usage(asked: &Asked, said: &Said) -> Value {
    let usage = said.usage(asked);
    json!({
        "promptTokenCount": usage.prompt, "candidatesTokenCount": usage.completion,
        "totalTokenCount": usage.prompt + usage.completion,
    })
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Value {
    let mut parts = Vec::new();
    if !said.reasoning.is_empty() {
        parts.push(json!({"text": said.reasoning, "thought": true}));
    }
    if !said.text.is_empty() {
        parts.push(json!({"text": said.text}));
    }
    parts.extend(said.calls.iter().map(|(name, id, arguments)| call(name, id, arguments)));
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts},
            "finishReason": said.reason("STOP", "STOP"), "index": 0}],
        "usageMetadata": usage(asked, said),
    })
}
