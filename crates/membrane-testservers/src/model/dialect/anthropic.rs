//! Anthropic's messages: an answer is a list of blocks, each of which begins and ends.

use serde_json::{Value, json};

use super::{Asked, Said, arguments_of};
use crate::model::answer::Step;

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

pub(super) fn begin(asked: &Asked) -> String {
    let usage = Said::default().usage(asked);
    event(&json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.model, "content": [],
        "stop_reason": null, "usage": {"input_tokens": usage.prompt, "output_tokens": 0},
    }})) + &event(&json!({"type": "ping"}))
}

pub(super) fn end() -> String {
    event(&json!({"type": "message_stop"}))
}

/// Ends the block that is open.
fn close(said: &mut Said) -> String {
    if said.open_block.take().is_none() {
        return String::new();
    }
    said.n_blocks += 1;
    event(&json!({"type": "content_block_stop", "index": said.n_blocks - 1}))
}

/// Begins a block, unless one of this kind is open.
fn open(said: &mut Said, kind: &'static str, block: &Value) -> String {
    if said.open_block == Some(kind) {
        return String::new();
    }
    let text = close(said);
    said.open_block = Some(kind);
    text + &event(&json!({"type": "content_block_start", "index": said.n_blocks, "content_block": block}))
}

fn delta(said: &Said, delta: &Value) -> String {
    event(&json!({"type": "content_block_delta", "index": said.n_blocks, "delta": delta}))
}

pub(super) fn say(asked: &Asked, said: &mut Said, step: &Step) -> String {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    match step {
        Step::Text(text) => {
            let opened = open(said, "text", &json!({"type": "text", "text": ""}));
            opened + &delta(said, &json!({"type": "text_delta", "text": text}))
        }
        Step::Reasoning(text) => {
            let opened = open(said, "thinking", &thinking);
            opened + &delta(said, &json!({"type": "thinking_delta", "thinking": text}))
        }
        Step::Signature(signature) => {
            let opened = open(said, "thinking", &thinking);
            let signed = opened + &delta(said, &json!({"type": "signature_delta", "signature": signature}));
            signed + &close(said)
        }
        Step::Redacted(data) => {
            let opened = open(said, "redacted_thinking", &json!({"type": "redacted_thinking", "data": data}));
            opened + &close(said)
        }
        Step::Call { id, name, arguments } => {
            let closed = close(said);
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            let mut text = closed + &open(said, "tool_use", &block);
            for fragment in arguments {
                text += &delta(said, &json!({"type": "input_json_delta", "partial_json": fragment}));
            }
            text + &close(said)
        }
        Step::ErrorEvent(error) => event(&json!({"type": "error", "error": error})),
        Step::Finish { .. } => {
            let usage = said.usage(asked);
            let delta = json!({"stop_reason": reason(said), "stop_sequence": null});
            let mut counts = json!({"output_tokens": usage.completion});
            if said.usage.is_some() {
                counts["input_tokens"] = json!(usage.prompt);
            }
            close(said) + &event(&json!({"type": "message_delta", "delta": delta, "usage": counts}))
        }
        _ => String::new(),
    }
}

fn reason(said: &Said) -> String {
    said.reason("tool_use", "end_turn")
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Value {
    let usage = said.usage(asked);
    let mut content = Vec::new();
    if !said.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": said.reasoning, "signature": ""}));
    }
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    content.extend(said.calls.iter().map(|(name, id, arguments)| {
        json!({"type": "tool_use", "id": id, "name": name, "input": arguments_of(arguments)})
    }));
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.model, "content": content,
        "stop_reason": reason(said), "stop_sequence": null,
        "usage": {"input_tokens": usage.prompt, "output_tokens": usage.completion},
    })
}
