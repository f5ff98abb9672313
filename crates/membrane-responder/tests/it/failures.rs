//! Providers that cannot be reached, or say no.

use std::net::TcpListener;
use std::time::Duration;

use membrane_responder::provider::{Account, ProviderKind, ProviderOptions};
use membrane_testservers::model::{Answer, Step};
use serde_json::json;

use super::{KEY, Said, answer, ask, options, start};

#[tokio::test]
async fn a_status_that_says_no_has_its_code_and_the_providers_words() {
    for kind in ProviderKind::ALL {
        for (status, code) in [
            (307, "rejected"),
            (400, "rejected"),
            (401, "rejected"),
            (403, "rejected"),
            (404, "rejected"),
            (413, "rejected"),
            (422, "rejected"),
            (429, "rate_limited"),
            (500, "provider_failed"),
            (503, "overloaded"),
            (529, "overloaded"),
        ] {
            let server = start();
            let body = json!({"error": {"message": format!("no, not with {KEY}")}});
            let location = format!("{}/elsewhere", server.url());
            server.then(Answer::status(status, body.to_string()).header("location", &location));
            let said = answer(options(&server, kind), ask("x")).await;
            assert_eq!(said.failed(), (code, false), "{kind} {status}: {said:?}");
            assert!(said.message().contains("no, not with ***"), "{kind} {status}: {said:?}");
            assert!(said.message().contains(&format!("127.0.0.1:{}", server.port())), "{said:?}");
            assert_eq!(server.n_requests(), 1, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn what_to_check_is_said_where_the_key_is_refused_and_where_there_is_none() {
    let server = start();
    server.then(Answer::status(401, "{}"));
    let said = answer(options(&server, ProviderKind::Anthropic), ask("x")).await;
    assert!(said.message().contains("check ANTHROPIC_API_KEY"), "{said:?}");
    server.then(Answer::status(401, "{}"));
    let mut without = options(&server, ProviderKind::OpenAi);
    let account = Account { base_url: Some(server.url()), api_key: None };
    without.accounts.insert(ProviderKind::OpenAi, account);
    let said = answer(without, ask("x")).await;
    assert!(said.message().contains("set OPENAI_API_KEY"), "{said:?}");
    assert_eq!(server.requests()[1].header("authorization"), Some("Bearer none"));
    server.then(Answer::status(429, "{}").header("retry-after", "30"));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
    assert!(said.message().contains("try again in 30 s"), "{said:?}");
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_answer_is_told() {
    for kind in ProviderKind::ALL {
        let server = start();
        let event = json!({"type": "api_error", "message": "the machine burns"});
        server.then(Answer::text("half an").step(Step::ErrorEvent(event)));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), ("provider_failed", true), "{kind}: {said:?}");
        assert!(said.message().contains("the machine burns"), "{kind}: {said:?}");
        assert_eq!(said.text, "half an", "{kind}");
    }
}

#[tokio::test]
async fn an_overload_is_told_by_an_event_too() {
    for (kind, event, code) in [
        (ProviderKind::Anthropic, json!({"type": "overloaded_error", "message": "Overloaded"}), "overloaded"),
        (
            ProviderKind::Gemini,
            json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}),
            "rate_limited",
        ),
        (ProviderKind::OpenAi, json!({"code": "rate_limit_exceeded", "message": "x"}), "rate_limited"),
    ] {
        let server = start();
        server.then(Answer::default().step(Step::ErrorEvent(event)));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), (code, false), "{kind}: {said:?}");
    }
    let server = start();
    server.then(Answer::default().raw("{\"error\":\"model runner has stopped\"}\n").step(Step::Close));
    let said = answer(options(&server, ProviderKind::Ollama), ask("x")).await;
    assert!(said.message().contains("model runner has stopped"), "{said:?}");
}

#[tokio::test]
async fn a_blocked_prompt_is_rejected_with_the_reason() {
    let server = start();
    let event = r#"data: {"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{}}"#;
    server.then(Answer::default().raw(format!("{event}\r\n\r\n")).step(Step::Close));
    let said = answer(options(&server, ProviderKind::Gemini), ask("x")).await;
    assert_eq!(said.failed(), ("rejected", false), "{said:?}");
    assert!(said.message().contains("PROHIBITED_CONTENT"), "{said:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_shown() {
    let frame = |kind, data: &str| match kind {
        ProviderKind::Ollama => format!("{data}\n"),
        ProviderKind::Anthropic => format!("event: content_block_delta\ndata: {data}\n\n"),
        _ => format!("data: {data}\n\n"),
    };
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default().say("a").raw(frame(kind, "{broken}")));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), ("provider_failed", true), "{kind}: {said:?}");
        assert!(said.message().contains("{broken}"), "{kind}: {said:?}");
        server.then(Answer::default().raw(b"data: \xff\xfe\n\n".as_slice()));
        let said = answer(options(&server, kind), ask("x")).await;
        assert_eq!(said.failed(), ("provider_failed", false), "{kind}: {said:?}");
    }
    let server = start();
    server.then(Answer::bytes("220 mail.example ESMTP\r\n"));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
    assert_eq!(said.failed(), ("provider_failed", false), "{said:?}");
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::status(200, "<html>\nHello\n</html>\n").header("content-type", "text/html"));
        let said = answer(options(&server, kind), ask("x")).await;
        assert!(matches!(said.failed().0, "cut_off" | "provider_failed"), "{kind}: {said:?}");
        assert!(said.message().contains("base URL"), "{kind}: {said:?}");
    }
}

async fn at(base_url: String, connect_timeout: Duration) -> Said {
    let mut options = ProviderOptions::new(ProviderKind::OpenAi, "m");
    let account = Account { base_url: Some(base_url), api_key: Some(KEY.to_owned()) };
    options.accounts.insert(ProviderKind::OpenAi, account);
    options.max_retry_wait = Duration::from_millis(1);
    options.connect_timeout = connect_timeout;
    answer(options, ask("x")).await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_refused_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let said = at(format!("http://ada:secret@{address}/v1"), LONG).await;
    assert_eq!(said.failed(), ("unreachable", false), "{said:?}");
    assert!(said.message().contains(&address.to_string()) && said.message().contains("refused"), "{said:?}");
    assert!(!said.message().contains("secret"), "{said:?}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    // A name that no resolver has to be asked for: its first part is too long.
    let host = format!("{}.invalid", "x".repeat(70));
    let said = at(format!("http://{host}/v1"), LONG).await;
    assert_eq!(said.failed(), ("unreachable", false), "{said:?}");
    assert!(said.message().contains(&host), "{said:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_reached_with_it() {
    let server = start();
    let said = at(format!("https://127.0.0.1:{}/v1", server.port()), LONG).await;
    assert_eq!(said.failed(), ("unreachable", false), "{said:?}");
    assert_eq!(server.n_requests(), 0);
}

#[tokio::test]
async fn a_connection_that_is_never_made_takes_no_longer_than_it_may() {
    // It accepts, and does not answer to the beginning of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let said = at(url, Duration::from_millis(100)).await;
    assert_eq!(said.failed(), ("timed_out", false), "{said:?}");
    assert!(said.message().contains("could not be reached in time"), "{said:?}");
}
