//! Requests that are sent again, and requests that are not.

use std::time::Duration;

use membrane_responder::provider::{ProviderKind, ProviderOptions};
use membrane_testservers::model::{Answer, ModelServer, Step};
use serde_json::json;
use tokio::time::Instant;

use super::{Said, answer, ask, options, start};

async fn retrying(server: &ModelServer, kind: ProviderKind) -> Said {
    answer(ProviderOptions { max_retries: 2, ..options(server, kind) }, ask("x")).await
}

#[tokio::test]
async fn what_may_do_better_is_sent_again_until_it_does() {
    for kind in ProviderKind::ALL {
        for status in [408, 409, 429, 500, 502, 503, 504, 529] {
            let server = start();
            server.then(Answer::status(status, "{}"));
            server.then(Answer::bytes(""));
            let said = retrying(&server, kind).await;
            assert_eq!(
                (said.text.as_str(), said.has_ended),
                ("You said: x", true),
                "{kind} {status}: {said:?}"
            );
            assert_eq!(server.n_requests(), 3, "{kind} {status}");
            let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
            assert!(bodies.iter().all(|body| *body == bodies[0]), "{kind}");
        }
    }
}

#[tokio::test]
async fn it_is_not_sent_more_often_than_it_may_be() {
    let server = start();
    for _ in 0..3 {
        server.then(Answer::status(503, r#"{"error":{"message":"full"}}"#));
    }
    let said = retrying(&server, ProviderKind::OpenAi).await;
    assert_eq!((said.failed(), server.n_requests()), (("overloaded", false), 3));
}

#[tokio::test]
async fn what_will_not_do_better_is_not_sent_again() {
    for status in [307, 400, 401, 403, 404, 413, 422, 501] {
        let server = start();
        server.then(Answer::status(status, "{}"));
        let said = retrying(&server, ProviderKind::OpenAi).await;
        assert!(!said.failed().1, "{status}");
        assert_eq!(server.n_requests(), 1, "{status}");
    }
    let server = start();
    server.then(Answer::status(503, "{}").header("x-should-retry", "false"));
    assert_eq!(retrying(&server, ProviderKind::OpenAi).await.failed().0, "overloaded");
    assert_eq!(server.n_requests(), 1);
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_piece_has_arrived() {
    for kind in ProviderKind::ALL {
        for begun in [Answer::text("a"), Answer::default().think("a")] {
            let server = start();
            server.then(begun.cut());
            let said = retrying(&server, kind).await;
            assert_eq!((said.failed(), server.n_requests()), (("cut_off", true), 1), "{kind}");
        }
        let server = start();
        let event = json!({"type": "overloaded_error", "message": "x", "code": 529});
        server.then(Answer::text("a").step(Step::ErrorEvent(event)));
        let said = retrying(&server, kind).await;
        assert_eq!((said.failed().1, server.n_requests()), (true, 1), "{kind}: {said:?}");
    }
}

#[tokio::test]
async fn an_overload_that_an_event_tells_of_is_waited_out() {
    let server = start();
    let event = json!({"type": "overloaded_error", "message": "Overloaded"});
    server.then(Answer::default().step(Step::ErrorEvent(event)));
    let said = retrying(&server, ProviderKind::Anthropic).await;
    assert_eq!((said.text.as_str(), server.n_requests()), ("You said: x", 2));
}

#[tokio::test]
async fn the_wait_is_the_one_that_the_provider_asks_for_unless_that_is_too_long() {
    let server = start();
    let patient = ProviderOptions {
        max_retries: 1,
        max_retry_wait: Duration::from_secs(2),
        ..options(&server, ProviderKind::Anthropic)
    };
    server.then(Answer::status(429, "{}").header("retry-after-ms", "700"));
    let start_at = Instant::now();
    assert!(answer(patient.clone(), ask("x")).await.has_ended);
    assert!(start_at.elapsed() >= Duration::from_millis(700), "{:?}", start_at.elapsed());
    server.then(Answer::status(429, "{}").header("retry-after", "3600"));
    let start_at = Instant::now();
    let said = answer(patient, ask("x")).await;
    assert_eq!(said.failed(), ("rate_limited", false));
    assert!(said.message().contains("try again in 3600 s"), "{said:?}");
    assert!(start_at.elapsed() < Duration::from_secs(60) && server.n_requests() == 3);
}

#[tokio::test]
async fn a_connection_that_the_provider_closed_while_it_was_idle_costs_nothing() {
    use futures_util::StreamExt as _;
    use membrane_responder::Responder as _;
    let server = start();
    let options = ProviderOptions { max_retries: 1, ..options(&server, ProviderKind::Ollama) };
    let provider = membrane_responder::provider::Provider::new(options).unwrap();
    let first: Vec<_> = provider.respond(ask("x")).collect().await;
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    // On the same connection, and closed instead of answered.
    server.then(Answer::bytes(""));
    let second: Vec<_> = provider.respond(ask("x")).collect().await;
    assert!(second.iter().all(Result::is_ok), "{second:?}");
    assert_eq!(server.n_requests(), 3);
}
