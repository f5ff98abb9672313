//! Answers that end too early, in every place where one can end.

use std::time::Duration;

use futures_util::StreamExt as _;
use membrane_responder::Responder as _;
use membrane_responder::provider::{Provider, ProviderKind, ProviderOptions};
use membrane_testservers::model::{Answer, Step, Tokens};

use super::{answer, ask, eventually, options, start};

const USAGE: Tokens = Tokens { prompt: 1, completion: 1 };

#[tokio::test]
async fn a_connection_that_ends_before_the_head_or_in_it_is_cut_off() {
    for bytes in
        ["", "HTTP/1.1 200 OK\r\ncontent-ty", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    {
        for kind in ProviderKind::ALL {
            let server = start();
            server.then(Answer::bytes(bytes));
            let said = answer(options(&server, kind), ask("x")).await;
            assert_eq!(said.failed(), ("cut_off", false), "{kind} {bytes:?}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_between_events_is_cut_off_with_what_was_said() {
    for kind in ProviderKind::ALL {
        for is_unframed in [false, true] {
            let server = start();
            let cut = Answer::text("half an").step(Step::Reasoning("h".to_owned())).cut();
            server.then(if is_unframed { cut.unframed() } else { cut });
            let said = answer(options(&server, kind), ask("x")).await;
            assert_eq!(said.failed(), ("cut_off", true), "{kind}: {said:?}");
            assert_eq!((said.text.as_str(), said.has_ended), ("half an", false), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_properly_but_too_early_is_cut_off_too() {
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::text("half an").call("c", "look", "{}").step(Step::Close));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), ("cut_off", true), "{kind}: {said:?}");
        assert!(said.calls.is_empty(), "{kind}: half an answer calls nothing");
    }
}

#[tokio::test]
async fn a_connection_that_ends_in_an_event_or_a_character_is_cut_off() {
    let event = |kind| match kind {
        ProviderKind::OpenAi => r#"data: {"choices":[{"delta":{"content":"é"#,
        ProviderKind::Anthropic => {
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"é"
        }
        ProviderKind::Gemini => r#"data: {"candidates":[{"content":{"parts":[{"text":"é"#,
        ProviderKind::Ollama => r#"{"message":{"content":"é"#,
    };
    for kind in ProviderKind::ALL {
        for n_missing in [0, 1, 5] {
            for is_unframed in [false, true] {
                let server = start();
                let bytes = event(kind).as_bytes();
                let cut = Answer::default().say("so").raw(&bytes[..bytes.len() - n_missing]).cut();
                server.then(if is_unframed { cut.unframed() } else { cut });
                let said = answer(options(&server, kind), ask("x")).await;
                assert_eq!(said.failed(), ("cut_off", true), "{kind} {n_missing} {is_unframed}: {said:?}");
                assert_eq!(said.text, "so", "{kind}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_of_openais_language_is_whole_once_it_has_a_reason_to_end() {
    for last in [Step::Close, Step::Cut] {
        let server = start();
        let finished = Answer::text("all of it").call_in_fragments("c", "look", r#"{"x":1}"#, 2);
        server.then(finished.finish("tool_calls", USAGE).step(last));
        let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
        assert!(said.has_ended, "{said:?}");
        assert_eq!((said.text.as_str(), said.finish_reason.as_deref()), ("all of it", Some("tool_calls")));
        assert_eq!(said.calls, [("c".to_owned(), "look".to_owned(), r#"{"x":1}"#.to_owned())]);
        let usage = r#"{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}"#;
        assert_eq!(said.usage.unwrap().as_str(), usage);
    }
}

#[tokio::test]
async fn a_call_that_the_length_of_the_answer_cut_is_not_carried_out() {
    let reason = |kind| match kind {
        ProviderKind::OpenAi | ProviderKind::Ollama => "length",
        ProviderKind::Anthropic => "max_tokens",
        ProviderKind::Gemini => "MAX_TOKENS",
    };
    // Gemini and Ollama send arguments as what they are, never as half a text.
    for (kind, arguments) in [
        (ProviderKind::OpenAi, "{\"path\": \"/tm"),
        (ProviderKind::OpenAi, ""),
        (ProviderKind::Anthropic, "{\"path\": \"/tm"),
        (ProviderKind::Anthropic, ""),
        (ProviderKind::Gemini, "{}"),
        (ProviderKind::Ollama, "{}"),
    ] {
        let server = start();
        let cut = Answer::text("I look").call_in_fragments("c", "remove", arguments, 4);
        server.then(cut.finish(reason(kind), USAGE));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), ("cut_off", true), "{kind} {arguments:?}: {said:?}");
        assert!(said.calls.is_empty() && said.message().contains("remove"), "{kind}: {said:?}");
        assert_eq!(server.n_requests(), 1, "{kind}: it is not asked again");
    }
    // One that is whole is a call, whatever ended the answer.
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default().call("c", "look", r#"{"x":1}"#).finish(reason(kind), USAGE));
        let said = answer(options(&server, kind), ask("x")).await;
        assert!(said.has_ended && said.calls.len() == 1, "{kind}: {said:?}");
    }
}

#[tokio::test]
async fn a_call_without_an_end_is_given_up() {
    let server = start();
    let endless = "x".repeat(80 << 20);
    server.then(Answer::text("so").call_in_fragments("c", "look", &endless, 1 << 20));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
    assert_eq!(said.failed(), ("too_large", true), "{:?}", said.message());
}

#[tokio::test]
async fn an_old_ollama_ends_without_a_reason() {
    let server = start();
    let lines = "{\"message\":{\"content\":\"a\"}}\n{\"done\":true}\n";
    server.then(Answer::default().raw(lines).step(Step::Close));
    let said = answer(options(&server, ProviderKind::Ollama), ask("x")).await;
    assert_eq!((said.text.as_str(), said.has_ended, said.finish_reason), ("a", true, None));
}

#[tokio::test]
async fn a_model_that_says_nothing_is_given_up() {
    for kind in ProviderKind::ALL {
        let server = start();
        let short = Duration::from_millis(150);
        let patient = ProviderOptions { silence_timeout: short, max_retries: 2, ..options(&server, kind) };
        server.then(Answer::default().before_head(Step::Hold));
        let said = answer(patient.clone(), ask("x")).await;
        assert_eq!(said.failed(), ("timed_out", false), "{kind}: {said:?}");
        assert!(said.message().contains("0.15 s"), "{kind}: {said:?}");
        server.then(Answer::default().say("a").hold());
        let said = answer(patient, ask("x")).await;
        assert_eq!((said.failed(), said.text.as_str()), (("timed_out", true), "a"), "{kind}: {said:?}");
        assert_eq!(server.n_requests(), 2, "it is not asked again");
        eventually(|| server.n_hung_up() == 2).await;
    }
}

#[tokio::test]
async fn a_slow_model_is_waited_for_as_long_as_it_shows_signs_of_life() {
    let server = start();
    let short = Duration::from_millis(1500);
    let patient = ProviderOptions { silence_timeout: short, ..options(&server, ProviderKind::Anthropic) };
    // Twice as long in all as it may be silent, with nothing but comments in between.
    let pause = Duration::from_millis(300);
    let slow =
        (0..10).fold(Answer::default().say("a"), |answer, _| answer.wait(pause).raw(": still here\n\n"));
    server.then(slow.say("b"));
    let said = answer(patient, ask("x")).await;
    assert_eq!((said.text.as_str(), said.has_ended), ("ab", true), "{said:?}");
}

#[tokio::test]
async fn whoever_drops_the_reply_stops_the_model() {
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default().say("a").hold());
        server.then(Answer::default().before_head(Step::Hold));
        let provider = Provider::new(options(&server, kind)).unwrap();
        let mut reply = provider.respond(ask("x"));
        assert!(reply.next().await.is_some_and(|part| part.is_ok()), "{kind}");
        drop(reply);
        eventually(|| server.n_hung_up() == 1).await;
        let mut reply = provider.respond(ask("x"));
        tokio::select! {
            part = reply.next() => panic!("{part:?}"),
            () = eventually(|| server.n_requests() == 2) => {}
        }
        drop(reply);
        eventually(|| server.n_hung_up() == 2).await;
    }
}
