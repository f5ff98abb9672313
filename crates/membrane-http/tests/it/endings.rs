//! How turns end that do not end well: cancelled, deleted, failed, too large, cut off by the server's end.

use std::time::Duration;

use serde_json::json;

use crate::app::{TestApp, at, send};
use crate::client::Call;
use crate::shape::{assert_same, evidence, normal, plain_turn, with};

const CANCELLED: &str = "stopped by the user; what had arrived is kept";

#[tokio::test]
async fn a_cancelled_turn_is_kept_with_what_had_arrived() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "wait").await;
    speaker.say("half");
    events.plain().await;
    let cancelled = app.call(Call::new("POST", at(&id, "cancel"), "")).await;
    assert_eq!(cancelled.json(202), json!({"cancelled": true}));
    speaker.stopped().await;
    let session = app.session(&id).await;
    assert_eq!((&session["state"], &session["turn_count"]), (&json!("idle"), &json!(2)));
    let two_thirds = 2.0 / 3.0;
    let turn = with(
        plain_turn(1, "wait", "half"),
        json!({"model": "echo", "status": "interrupted", "confidence": two_thirds,
            "error": {"code": "cancelled", "message": CANCELLED},
            "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.0}}),
    );
    assert_same(&normal(session["turns"][1].clone()), &turn);
    assert_same(&normal(session["evidence"].clone()), &evidence(1, 0));
    let done = events.last().await;
    assert_same(&done, &json!({"type": "done", "turn_count": 2, "turn": session["turns"][1]}));
    app.say(&id, "on").await;
    app.stop().await;
}

#[tokio::test]
async fn there_is_nothing_to_cancel_on_an_idle_session() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    app.say(&id, "hi").await;
    let answer = app.post(at(&id, "cancel"), json!({})).await;
    let body = answer.json(409);
    assert_eq!(body["code"], "wrong_state");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("session {id} is idle, which does not allow cancel;")), "{detail}");
    app.stop().await;
}

#[tokio::test]
async fn a_session_that_is_deleted_during_a_send_stays_deleted() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    let speaker = app.next_answer();
    let mut plain = app.ask(&id, "wait").await;
    let mut numbered = app.listen(&id).await;
    speaker.say("half");
    plain.plain().await;
    let (seq, _) = numbered.numbered().await;
    app.delete(format!("/api/chat/{id}")).await.empty(204);
    speaker.stopped().await;
    let error = "the session was deleted while its turn was under way";
    let expected = json!({"type": "error", "error": error, "code": "not_found"});
    assert_same(&plain.plain().await, &expected);
    assert_eq!(plain.next().await, None);
    let expected = json!({"type": "error", "seq": seq + 1, "error": error, "code": "not_found"});
    assert_same(&numbered.numbered().await.1, &expected);
    assert_eq!(numbered.next().await, None);
    let gone = format!("Session {id} not found");
    app.get(format!("/api/chat/session/{id}")).await.refused(404, "not_found", &gone);
    app.get(at(&id, "stream")).await.refused(404, "not_found", &gone);
    app.call(send(&id, "again")).await.refused(404, "not_found", &gone);
    assert_eq!(app.get("/api/chat/sessions").await.json(200)["total"], 0);
    app.stop().await;
}

#[tokio::test]
async fn a_model_that_fails_ends_with_an_error_and_the_turn_is_kept() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    speaker.say("I was about to");
    speaker.fail("rate_limited", "too many requests; wait a minute");
    let last = events.last().await;
    let session = app.session(&id).await;
    let turn = with(
        plain_turn(0, "hi", "I was about to"),
        json!({"model": "echo", "status": "failed", "confidence": 0.5,
            "error": {"code": "rate_limited", "message": "too many requests; wait a minute"},
            "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.0}}),
    );
    assert_same(&normal(session["turns"][0].clone()), &turn);
    let expected = json!({"type": "error", "error": "too many requests; wait a minute",
        "code": "rate_limited", "turn_count": 1, "turn": session["turns"][0]});
    assert_same(&last, &expected);
    assert_same(&normal(session["evidence"].clone()), &evidence(0, 0));
    assert!(app.metrics().await.get("membrane_errors_total", &[("code", "rate_limited")]) >= 1.0);
    let speaker = app.next_answer();
    let body = json!({"message": "again"});
    let mut events = app.open(Call::post(at(&id, "send?stream=delta"), &body)).await;
    speaker.fail("overloaded", "later");
    let last = events.last().await;
    assert_eq!(
        (&last["type"], &last["code"], &last["error"]),
        (&json!("error"), &json!("overloaded"), &json!("later"))
    );
    app.stop().await;
}

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_off_and_kept() {
    let app = TestApp::with(|setup| setup.limits.max_turn_bytes = 1000).await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    speaker.say(&"x".repeat(900));
    speaker.say(&"y".repeat(200));
    speaker.stopped().await;
    let turn = events.last().await["turn"].clone();
    assert_eq!((&turn["status"], &turn["error"]["code"]), (&json!("interrupted"), &json!("too_large")));
    assert_eq!(turn["assistant_response"]["content"], "x".repeat(900));
    app.stop().await;
}

#[tokio::test]
async fn a_server_without_patience_interrupts_what_is_under_way_and_tells_so() {
    let mut app = TestApp::with(|setup| setup.server.drain = Duration::ZERO).await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "wait").await;
    speaker.say("half");
    events.plain().await;
    let server = app.begin_to_stop();
    speaker.stopped().await;
    let done = events.last().await;
    assert_eq!((&done["type"], &done["turn"]["status"]), (&json!("done"), &json!("interrupted")));
    assert_eq!(done["turn"]["error"]["code"], "server_stopped");
    server.await.unwrap();
    let kept = app.chat.load_turns(&crate::app::session_id(&id), 0..9).await.unwrap().unwrap();
    assert_eq!(kept.turns[0].turn.assistant.content, "half");
    app.chat.close().await.unwrap();
}
