//! What providers are asked.

use membrane_core::json::Json;
use membrane_core::time::Timestamp;
use membrane_core::tool::{Consent, ConsentKind, ToolUse};
use membrane_core::turn::{Item, Message, TurnStatus};
use membrane_responder::provider::{Account, Provider, ProviderKind, ProviderOptions};
use membrane_responder::{ModelChoice, Prompt, Responder as _};
use membrane_testservers::model::Request;
use serde_json::{Value, json};

use super::{KEY, answer, ask, options, start, step, tool, turn, used};

/// A conversation with everything in it.
fn prompt() -> Prompt {
    let mut with_tools = turn("look", "Let me look.\n\nThere are 2.");
    let denied = Consent {
        kind: ConsentKind::Denied,
        by: "ada".into(),
        reason: Some("not now".into()),
        at: Timestamp::from_micros(0),
    };
    with_tools.items = vec![
        Item::Reasoning("hm".to_owned()),
        Item::Message(Message::new("Let me look.")),
        Item::Tool(used("a1", "count", r#"{"x":1}"#, "2")),
        Item::Tool(ToolUse {
            success: false,
            consent: Some(denied),
            ..used("a1", "wipe", r#""broken {""#, "null")
        }),
    ];
    let mut failed = turn("lost", "");
    failed.status = TurnStatus::Failed;
    let mut prompt = ask("and now?");
    prompt.history = vec![turn("hi", "hello"), with_tools, failed];
    prompt.steps = vec![step("", vec![used("b1", "count", "{}", r#""none \"left\"""#)])];
    prompt.tools = vec![tool("count"), tool("wipe")];
    prompt
}

async fn sent(kind: ProviderKind) -> Request {
    let server = start();
    let said = answer(options(&server, kind), prompt()).await;
    assert!(said.text.starts_with("The tools said: none"), "{said:?}");
    server.requests().remove(0)
}

const DENIED: &str = "The user denied the use of this tool: not now";

fn schema() -> Value {
    json!({"type": "object", "properties": {"x": {"type": "integer"}}})
}

#[tokio::test]
async fn openai_is_sent_the_conversation() {
    let request = sent(ProviderKind::OpenAi).await;
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.body["model"], "model-1");
    let call = |id: &str, name: &str, arguments: &str| json!({"type": "function", "id": id, "function": {"name": name, "arguments": arguments}});
    let result = |id: &str, content: &str| json!({"role": "tool", "content": content, "tool_call_id": id});
    assert_eq!(
        request.body["messages"],
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                call("a1", "count", r#"{"x":1}"#), call("call_1", "wipe", r#""broken {""#)]},
            result("a1", "2"),
            result("call_1", DENIED),
            {"role": "assistant", "content": "\n\nThere are 2."},
            {"role": "user", "content": "and now?"},
            {"role": "assistant", "content": "", "tool_calls": [call("b1", "count", "{}")]},
            result("b1", "none \"left\""),
        ])
    );
    let function = &request.body["tools"][0]["function"];
    assert_eq!((&function["name"], &function["description"]), (&json!("count"), &json!("does count")));
    assert_eq!(function["parameters"], schema());
    assert_eq!(request.body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn anthropic_is_sent_the_conversation() {
    let request = sent(ProviderKind::Anthropic).await;
    assert_eq!((request.path.as_str(), request.header("x-api-key")), ("/v1/messages", Some(KEY)));
    let call = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let result =
        |id: &str, content: &str| json!({"type": "tool_result", "content": content, "tool_use_id": id});
    assert_eq!(
        request.body["messages"],
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me look."},
                call("a1", "count", json!({"x": 1})), call("call_1", "wipe", json!({"input": "broken {"}))]},
            {"role": "user", "content": [result("a1", "2"), result("call_1", DENIED)]},
            {"role": "assistant", "content": "\n\nThere are 2."},
            {"role": "user", "content": "and now?"},
            {"role": "assistant", "content": [call("b1", "count", json!({}))]},
            {"role": "user", "content": [result("b1", "none \"left\"")]},
        ])
    );
    assert_eq!(request.body["tools"][1]["name"], "wipe");
    assert_eq!(request.body["tools"][1]["input_schema"], schema());
    assert!(request.body["max_tokens"].is_u64(), "it has to be told");
}

#[tokio::test]
async fn gemini_is_sent_the_conversation() {
    let request = sent(ProviderKind::Gemini).await;
    assert_eq!(request.path, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
    assert_eq!(request.header("x-goog-api-key"), Some(KEY));
    let result = |name: &str, id: Option<&str>, content: &str| {
        let mut response = json!({"name": name, "response": {"name": name, "content": content}});
        if let Some(id) = id {
            response["id"] = json!(id);
        }
        json!({"functionResponse": response})
    };
    assert_eq!(
        request.body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"text": "hello"}]},
            {"role": "user", "parts": [{"text": "look"}]},
            {"role": "model", "parts": [{"text": "Let me look."},
                {"functionCall": {"id": "a1", "name": "count", "args": {"x": 1}}},
                {"functionCall": {"name": "wipe", "args": {"input": "broken {"}}}]},
            {"role": "user", "parts": [result("count", Some("a1"), "2"), result("wipe", None, DENIED)]},
            {"role": "model", "parts": [{"text": "\n\nThere are 2."}]},
            {"role": "user", "parts": [{"text": "and now?"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "b1", "name": "count", "args": {}}}]},
            {"role": "user", "parts": [result("count", Some("b1"), "none \"left\"")]},
        ])
    );
    let declarations = &request.body["tools"][0]["functionDeclarations"];
    assert_eq!(
        (&declarations[0]["name"], &declarations[0]["parametersJsonSchema"]),
        (&json!("count"), &schema())
    );
    assert_eq!(request.body["generationConfig"]["thinkingConfig"], json!({"includeThoughts": true}));
}

#[tokio::test]
async fn ollama_is_sent_the_conversation() {
    let request = sent(ProviderKind::Ollama).await;
    assert_eq!(request.path, "/api/chat");
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {KEY}").as_str()),
        "a gateway may want it"
    );
    let call = |name: &str, arguments: Value| json!({"function": {"name": name, "arguments": arguments}});
    assert_eq!(
        request.body["messages"],
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                call("count", json!({"x": 1})), call("wipe", json!({"input": "broken {"}))]},
            {"role": "tool", "content": "2"},
            {"role": "tool", "content": DENIED},
            {"role": "assistant", "content": "\n\nThere are 2."},
            {"role": "user", "content": "and now?"},
            {"role": "assistant", "tool_calls": [call("count", json!({}))]},
            {"role": "tool", "content": "none \"left\""},
        ])
    );
    assert_eq!(request.body["tools"][0]["function"]["parameters"], schema());
}

#[tokio::test]
async fn a_models_name_arrives_as_it_is() {
    for (kind, name) in [
        (ProviderKind::OpenAi, "qwen-max"),
        (ProviderKind::OpenAi, "accounts/a::b-high"),
        (ProviderKind::OpenAi, "claude-gemini"),
        (ProviderKind::Anthropic, "glm-low"),
        (ProviderKind::Ollama, "hf.co/a/b:Q4-none"),
    ] {
        let server = start();
        let options = ProviderOptions { name: name.to_owned(), ..options(&server, kind) };
        assert!(answer(options, ask("x")).await.has_ended, "{name}");
        let body = &server.requests()[0].body;
        assert_eq!(body["model"], name, "{kind}");
        for key in ["reasoning_effort", "thinking", "output_config", "think"] {
            assert!(body.get(key).is_none(), "{kind} {name}: {body}");
        }
    }
    let server = start();
    let gemini =
        ProviderOptions { name: "gemini-pro-max".to_owned(), ..options(&server, ProviderKind::Gemini) };
    assert!(answer(gemini, ask("x")).await.has_ended);
    let request = server.requests().remove(0);
    assert_eq!(request.path, "/v1beta/models/gemini-pro-max:streamGenerateContent?alt=sse");
    assert!(
        request.body.get("generationConfig").is_none(),
        "a model that does not think is not asked for thoughts"
    );
}

#[tokio::test]
async fn the_longest_answer_is_told_to_everybody() {
    for (kind, pointer) in [
        (ProviderKind::OpenAi, "/max_tokens"),
        (ProviderKind::Anthropic, "/max_tokens"),
        (ProviderKind::Gemini, "/generationConfig/maxOutputTokens"),
        (ProviderKind::Ollama, "/options/num_predict"),
    ] {
        let server = start();
        answer(ProviderOptions { max_tokens: Some(77), ..options(&server, kind) }, ask("x")).await;
        assert_eq!(server.requests()[0].body.pointer(pointer), Some(&json!(77)), "{kind}");
    }
}

#[tokio::test]
async fn a_session_chooses_another_providers_model() {
    let server = start();
    let mut options = options(&server, ProviderKind::OpenAi);
    let account = Account { base_url: Some(server.url() + "/v1"), api_key: Some("other".to_owned()) };
    options.accounts.insert(ProviderKind::Anthropic, account);
    let choice = ModelChoice { provider: Some("anthropic".to_owned()), name: Some("claude".to_owned()) };
    let provider = Provider::new(options.clone()).unwrap();
    assert_eq!(provider.model().as_deref(), Some("model-1"));
    assert_eq!(provider.chosen_model(&choice).as_deref(), Some("claude"));
    assert!(provider.reads_history() && !format!("{provider:?}").contains(KEY));
    let mut prompt = ask("x");
    prompt.model = Some(choice);
    assert!(answer(options.clone(), prompt).await.has_ended);
    let request = server.requests().remove(0);
    assert_eq!((request.path.as_str(), request.header("x-api-key")), ("/v1/messages", Some("other")));
    let mut prompt = ask("x");
    prompt.model = Some(ModelChoice { provider: Some("mistral".to_owned()), name: None });
    assert_eq!(answer(options, prompt).await.failed(), ("invalid_model", false));
    assert_eq!(server.n_requests(), 1);
}

#[tokio::test]
async fn a_tool_named_as_one_of_the_providers_own_is_sent_as_ours() {
    for (kind, name, pointer) in [
        (ProviderKind::Anthropic, "web_search", "/tools/0/input_schema"),
        (ProviderKind::Gemini, "codeExecution", "/tools/0/functionDeclarations/0/parametersJsonSchema"),
        (ProviderKind::OpenAi, "web_search", "/tools/0/function/parameters"),
    ] {
        let server = start();
        let mut prompt = ask("x");
        prompt.tools = vec![tool(name)];
        assert!(answer(options(&server, kind), prompt).await.has_ended);
        let body = server.requests().remove(0).body;
        assert_eq!(body.pointer(pointer), Some(&schema()), "{kind}: {body}");
        assert!(body.pointer("/tools/0/type").is_none_or(|word| word == "function"), "{kind}: {body}");
    }
}

#[tokio::test]
async fn results_that_are_no_plain_text_are_sent_as_json() {
    let server = start();
    let mut prompt = ask("x");
    let tools = vec![used("", "look", "null", r#"{"a": [1, 2.50]}"#), ToolUse::new("", "look", Json::null())];
    prompt.steps = vec![step(" ", tools)];
    answer(options(&server, ProviderKind::Anthropic), prompt).await;
    let messages = &server.requests().remove(0).body["messages"];
    assert_eq!(
        messages[1]["content"].as_array().map(Vec::len),
        Some(2),
        "white space is no text: {messages}"
    );
    assert_eq!(messages[2]["content"][0]["content"], r#"{"a": [1, 2.50]}"#);
    assert_eq!(messages[1]["content"][1]["id"], messages[2]["content"][1]["tool_use_id"]);
    assert_ne!(messages[1]["content"][0]["id"], messages[1]["content"][1]["id"]);
}
