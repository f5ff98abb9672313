//! What a provider gives to be given back.

use membrane_core::run::Step;
use membrane_responder::provider::ProviderKind;
use membrane_testservers::model::{Answer, ModelServer, Step as Says};
use serde_json::{Value, json};

use super::{Said, answer, ask, options, start, used};

/// Asks on, with what the tools said, and returns what was sent.
async fn go_on(server: &ModelServer, kind: ProviderKind, said: &Said) -> Value {
    let mut prompt = ask("look");
    let tools = said.calls.iter().map(|(id, name, input)| used(id, name, input, "1"));
    prompt.steps = vec![Step {
        thoughts: vec![said.reasoning.clone()],
        text: said.text.clone(),
        tools: tools.collect(),
        carry: said.carry.clone(),
    }];
    let said = answer(options(server, kind), prompt).await;
    assert!(said.has_ended, "{said:?}");
    server.requests().pop().unwrap().body
}

#[tokio::test]
async fn anthropic_gets_its_signed_and_encrypted_thoughts_back() {
    let server = start();
    server.then(
        Answer::default()
            .think("one ")
            .think("two")
            .step(Says::Signature("c2ln".to_owned()))
            .step(Says::Redacted("encrypted".to_owned()))
            .say("Let me look.")
            .call("toolu_1", "look", "{}"),
    );
    let said = answer(options(&server, ProviderKind::Anthropic), ask("look")).await;
    assert_eq!(said.reasoning, "one two");
    assert!(said.carry.is_some(), "{said:?}");
    let body = go_on(&server, ProviderKind::Anthropic, &said).await;
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "one two", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "encrypted"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        ])
    );
    let body = go_on(&server, ProviderKind::Gemini, &said).await;
    assert!(!body.to_string().contains("c2ln"), "it is nobody else's: {body}");
}

#[tokio::test]
async fn gemini_gets_the_signature_of_each_part_back_with_it() {
    let server = start();
    server.then(
        Answer::default()
            .step(Says::Signature("of the text".to_owned()))
            .say("Let me look.")
            .step(Says::Signature("of the call".to_owned()))
            .call("", "look", r#"{"x":1}"#)
            .call("", "look", r#"{"x":2}"#),
    );
    let said = answer(options(&server, ProviderKind::Gemini), ask("look")).await;
    assert_eq!(said.calls.len(), 2);
    let body = go_on(&server, ProviderKind::Gemini, &said).await;
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "Let me look.", "thoughtSignature": "of the text"},
            {"functionCall": {"name": "look", "args": {"x": 1}}, "thoughtSignature": "of the call"},
            {"functionCall": {"name": "look", "args": {"x": 2}}},
        ])
    );
}

#[tokio::test]
async fn a_server_of_openais_language_gets_its_reasoning_content_back() {
    let server = start();
    server.then(Answer::default().think("hm").say("Let me look.").call("c", "look", "{}"));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("look")).await;
    let body = go_on(&server, ProviderKind::OpenAi, &said).await;
    assert_eq!(body["messages"][1]["reasoning_content"], "hm");
    let chunk = r#"data: {"choices":[{"delta":{"reasoning":"hm","tool_calls":[{"index":0,"id":"c","function":{"name":"look"}}]},"finish_reason":"tool_calls"}]}"#;
    server.then(Answer::default().raw(format!("{chunk}\n\n")));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("look")).await;
    assert_eq!((said.reasoning.as_str(), said.carry), ("hm", None), "others refuse the field");
}
