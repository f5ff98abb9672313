//! What `/metrics` tells. In one process there may be several servers at once, which count together: counts are
//! compared by how much they grew at the least.

use serde_json::json;

use crate::app::{TestApp, at};
use crate::client::{Call, until};
use crate::prometheus::Metrics;

const REQUESTS: &str = "membrane_http_request_duration_seconds_count";

#[tokio::test]
async fn the_text_is_prometheus_own_format_and_names_are_by_convention() {
    for in_memory in [false, true] {
        let app = TestApp::with(|setup| setup.in_memory = in_memory).await;
        let id = app.new_session().await;
        app.say(&id, "hi").await;
        app.get(format!("/api/chat/session/{id}")).await.json(200);
        app.get("/nowhere").await.json(404);
        let answer = app.get("/metrics").await;
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let metrics = Metrics::parse(&answer.text());
        for (name, kind) in &metrics.kinds {
            assert!(name.starts_with("membrane_"), "{name}");
            assert!(metrics.help(name).is_some_and(|help| help.ends_with('.')), "{name} is not explained");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            let has_unit = ["_seconds", "_size"].iter().any(|unit| name.ends_with(unit));
            assert_eq!(has_unit, kind == "histogram", "{name} is a {kind}");
        }
        for name in [
            "membrane_sessions",
            "membrane_turns",
            "membrane_storage_bytes",
            "membrane_writer_queue_depth",
            "membrane_writer_queue_capacity",
            "membrane_streams_active",
            "membrane_runs_active",
            "membrane_leader",
            "membrane_leases_held",
            "membrane_leases_expired",
            "membrane_runs_recovered_total",
            "membrane_event_lag",
            "membrane_http_request_duration_seconds",
            "membrane_errors_total",
        ] {
            assert!(metrics.kinds.contains_key(name), "{name} is not there");
        }
        app.stop().await;
    }
}

#[tokio::test]
async fn gauges_tell_what_there_is() {
    let app = TestApp::start().await;
    let gauges = async || {
        let metrics = app.metrics().await;
        ["sessions", "turns", "runs_active", "streams_active"]
            .map(|name| metrics.find(&format!("membrane_{name}"), &[]).expect("it is told").to_string())
    };
    assert_eq!(gauges().await, ["0", "0", "0", "0"]);
    let id = app.session_of(3).await;
    let fork = app.post(at(&id, "fork"), json!({"branch_name": "b"})).await.json(201);
    // The fork holds the same turns.
    assert_eq!(gauges().await, ["2", "3", "0", "0"]);
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    let mut second = app.listen(&id).await;
    assert_eq!(gauges().await, ["2", "3", "1", "2"]);
    drop(speaker);
    events.last().await;
    second.last().await;
    // A stream is let go of after its last byte was sent, which may be a moment after it was read.
    until(async || gauges().await == ["2", "4", "0", "0"]).await;
    app.delete(format!("/api/chat/{id}")).await.empty(204);
    assert_eq!(gauges().await[..2], ["1", "3"]);
    app.delete(format!("/api/chat/{}", fork["id"].as_str().unwrap())).await.empty(204);
    assert_eq!(gauges().await, ["0", "0", "0", "0"]);
    let metrics = app.metrics().await;
    assert!(metrics.get("membrane_storage_bytes", &[]) > 4096.0);
    let capacity = metrics.get("membrane_writer_queue_capacity", &[]);
    assert!(capacity >= 1.0 && metrics.get("membrane_writer_queue_depth", &[]) <= capacity);
    app.stop().await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_id() {
    let app = TestApp::start().await;
    let before = app.metrics().await;
    let id = app.new_session().await;
    for _ in 0..3 {
        app.say(&id, "hi").await;
    }
    app.get("/api/chat/session/nil").await.json(404);
    app.post(at(&id, "rewind"), json!({"turns": 9})).await.json(400);
    app.get(format!("/nowhere/{id}")).await.json(404);
    app.call(Call::new("BREW", format!("/coffee/{id}"), "")).await.json(404);
    app.call(Call::new("BREW", at(&id, "send"), "")).await.json(405);
    let after = app.metrics().await;
    for (route, method, status, n_requests) in [
        ("/api/chat/{id}/send", "POST", "200", 3.0),
        ("/api/chat/session/{id}", "GET", "404", 1.0),
        ("/api/chat/{id}/rewind", "POST", "400", 1.0),
        ("unmatched", "any", "404", 2.0),
        ("/metrics", "GET", "200", 1.0),
    ] {
        let labels = [("route", route), ("method", method), ("status", status)];
        let grown = after.get(REQUESTS, &labels) - before.get(REQUESTS, &labels);
        assert!(grown >= n_requests, "{labels:?}: {grown}");
    }
    for label in ["route", "method", "status"] {
        for value in after.label_values(REQUESTS, label) {
            assert!(!value.contains(&id) && !value.contains("nil"), "{label}={value}");
        }
    }
    let methods = after.label_values(REQUESTS, "method");
    assert!(!methods.contains("BREW"), "any word can be a method: {methods:?}");
    app.stop().await;
}

#[tokio::test]
async fn errors_are_counted_by_their_code() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let before = app.metrics().await;
    app.get("/api/chat/session/nil").await.json(404);
    app.post(at(&id, "rewind"), json!({"turns": 9})).await.json(400);
    app.post(at(&id, "rewind"), json!({})).await.json(422);
    app.post(at(&id, "cancel"), json!({})).await.json(409);
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    speaker.fail("overloaded", "later");
    events.last().await;
    let after = app.metrics().await;
    for code in ["not_found", "invalid_argument", "invalid_body", "wrong_state", "overloaded"] {
        let count = |metrics: &Metrics| metrics.get("membrane_errors_total", &[("code", code)]);
        assert!(count(&after) >= count(&before) + 1.0, "{code}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_scrape_of_a_stopping_server_still_tells() {
    let app = TestApp::start().await;
    app.chat.drain(std::time::Duration::ZERO).await;
    assert_eq!(app.metrics().await.find("membrane_runs_active", &[]), Some(0.0));
    app.stop().await;
}
