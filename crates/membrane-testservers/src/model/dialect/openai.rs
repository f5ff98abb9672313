//! Chat completions, as OpenAI does them.

use serde_json::{Value, json};

use super::{Asked, Said};
use crate::model::answer::Step;

fn event(asked: &Asked, choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": asked.model,
        "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

fn delta(asked: &Asked, delta: &Value) -> String {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    event(asked, &choices, &Value::Null)
}

/// What is said over and over, without building a value each time: benchmarks are not to measure this server.
fn piece(asked: &Asked, key: &str, text: &str) -> String {
    let (model, text) = (quoted(&asked.model), quoted(text));
    let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":0,"model":"#;
    let choice = r#","choices":[{"index":0,"delta":{""#;
    let tail = "},\"finish_reason\":null}],\"usage\":null}\n\n";
    [head, &model, choice, key, "\":", &text, tail].concat()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn begin(asked: &Asked) -> String {
    delta(asked, &json!({"role": "assistant", "content": ""}))
}

pub(super) fn say(asked: &Asked, said: &mut Said, step: &Step) -> String {
    match step {
        Step::Text(text) => piece(asked, "content", text),
        Step::Reasoning(text) => piece(asked, "reasoning_content", text),
        Step::Call { id, name, arguments } => {
            let index = said.calls.len().saturating_sub(1);
            let mut function = json!({"index": index, "type": "function",
                "function": {"name": name, "arguments": ""}});
            if !id.is_empty() {
                function["id"] = json!(id);
            }
            let mut text = delta(asked, &json!({"tool_calls": [function]}));
            for fragment in arguments {
                let function = json!({"index": index, "function": {"arguments": fragment}});
                text += &delta(asked, &json!({"tool_calls": [function]}));
            }
            text
        }
        Step::ErrorEvent(error) => format!("data: {}\n\n", json!({"error": error})),
        Step::Finish { .. } => {
            let choices = json!([{"index": 0, "delta": {}, "finish_reason": reason(said)}]);
            let mut text = event(asked, &choices, &Value::Null);
            if asked.wants_usage {
                text += &event(asked, &json!([]), &usage(asked, said));
            }
            text
        }
        _ => String::new(),
    }
}

fn reason(said: &Said) -> String {
    said.reason("tool_calls", "stop")
}

fn usage(asked: &Asked, said: &Said) -> Value {
    let usage = said.usage(asked);
    json!({
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    })
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Value {
    let calls = said.calls.iter().map(|(name, id, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    let mut message = json!({"role": "assistant", "content": said.text});
    if !said.reasoning.is_empty() {
        message["reasoning_content"] = json!(said.reasoning);
    }
    if !said.calls.is_empty() {
        message["tool_calls"] = calls.collect();
    }
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason(said)}],
        "usage": usage(asked, said),
    })
}

#[test]
fn a_piece_looks_like_any_other_chunk() {
    let request = crate::model::Request {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        headers: Vec::new(),
        body: json!({"model": "a \"model\""}),
    };
    let asked = Asked::read(&request).expect("it is a known path");
    let text = "a \"quoted\" \u{0} text";
    assert_eq!(piece(&asked, "content", text), delta(&asked, &json!({"content": text})));
}
