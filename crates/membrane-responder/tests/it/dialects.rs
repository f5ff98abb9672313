//! Each provider's language, there and back.

use membrane_core::usage;
use membrane_responder::provider::ProviderKind;
use membrane_testservers::model::{Answer, Tokens};

use super::{answer, ask, options, start};

const USAGE: Tokens = Tokens { prompt: 12, completion: 5 };

/// Its words for an end, and for one with calls.
fn reasons(kind: ProviderKind) -> (&'static str, &'static str) {
    match kind {
        ProviderKind::OpenAi => ("stop", "tool_calls"),
        ProviderKind::Anthropic => ("end_turn", "tool_use"),
        ProviderKind::Gemini => ("STOP", "STOP"),
        ProviderKind::Ollama => ("stop", "stop"),
    }
}

#[tokio::test]
async fn an_answer_arrives_piece_by_piece_with_thoughts_a_reason_and_counts() {
    for kind in ProviderKind::ALL {
        let server = start();
        let reason = reasons(kind).0;
        server
            .then(Answer::default().think("Hm, ").think("well.").words("Yes, it is.").finish(reason, USAGE));
        let said = answer(options(&server, kind), ask("Is it?")).await;
        assert_eq!((said.text.as_str(), said.n_pieces), ("Yes, it is.", 3), "{kind}: {said:?}");
        assert_eq!(said.reasoning, "Hm, well.", "{kind}");
        assert_eq!(said.finish_reason.as_deref(), Some(reason), "{kind}");
        let counts = r#"{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}"#;
        assert_eq!(usage::add(None, said.usage).unwrap().as_str(), counts, "{kind}");
        assert!(said.has_ended && said.carry.is_none() && said.calls.is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn text_comes_back_byte_for_byte() {
    let text = "a\0b 🙂 日本語 \r\n\u{2028}\u{85} \"quoted\" \\ data: [DONE]\n\nevent: x\n\n end ";
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default().pieces(text, 4));
        let said = answer(options(&server, kind), ask(text)).await;
        assert_eq!(said.text, text, "{kind}: {said:?}");
        assert!(said.has_ended, "{kind}");
        let sent = server.requests()[0].body.to_string();
        assert!(sent.contains(&serde_json::to_string(text).unwrap()), "{kind}: {sent}");
    }
}

#[tokio::test]
async fn calls_come_after_what_was_said_in_their_order_and_with_their_input() {
    for kind in ProviderKind::ALL {
        let server = start();
        let reason = reasons(kind).1;
        let long = format!(r#"{{"text":"{}"}}"#, "é🙂".repeat(200));
        server.then(
            Answer::text("Let me look.")
                .call_in_fragments("c1", "look", &long, 3)
                .call("c1", "look", r#"{"x":2}"#)
                .call("c3", "stop", "")
                .finish(reason, USAGE),
        );
        let said = answer(options(&server, kind), ask("look")).await;
        assert_eq!(said.text, "Let me look.", "{kind}: {said:?}");
        let call = |id: &str, name: &str, input: &str| (id.to_owned(), name.to_owned(), input.to_owned());
        let expected =
            [call("c1", "look", &long), call("c1", "look", r#"{"x":2}"#), call("c3", "stop", "{}")];
        assert_eq!(said.calls, expected, "{kind}");
        assert_eq!(said.finish_reason.as_deref(), Some(reason), "{kind}");
    }
}

#[tokio::test]
async fn input_that_is_no_json_stays_a_string() {
    for kind in [ProviderKind::OpenAi, ProviderKind::Anthropic] {
        let server = start();
        server.then(Answer::default().call("c1", "look", r#"{"x": "#));
        let said = answer(options(&server, kind), ask("look")).await;
        assert_eq!(said.calls[0].2, r#""{\"x\": ""#, "{kind}");
    }
}

#[tokio::test]
async fn a_server_of_openais_language_may_say_its_input_as_it_is() {
    let server = start();
    server.then(Answer::default().call_in_fragments(
        "c",
        "look",
        r#"{"x": 1.50, "x": 12345678901234567890123}"#,
        1,
    ));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("look")).await;
    assert_eq!(said.calls[0].2, r#"{"x": 1.50, "x": 12345678901234567890123}"#);
}

#[tokio::test]
async fn an_answer_without_counts_has_none() {
    let server = start();
    let chunk = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
    server.then(
        Answer::default()
            .raw(format!("{chunk}\n\ndata: [DONE]\n\n"))
            .step(membrane_testservers::model::Step::Close),
    );
    let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
    assert_eq!((said.text.as_str(), said.usage, said.has_ended), ("a", None, true));
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default());
        let said = answer(options(&server, kind), ask("x")).await;
        assert!(said.has_ended && said.text.is_empty(), "{kind}: {said:?}");
    }
}
