//! The header `Idempotency-Key` on every POST: the call happens once.

use serde_json::{Value, json};

use crate::app::{TestApp, at, send};
use crate::client::{Call, Connection};

/// Every POST but `send` and `cancel`, on a session that is good for it, each with another body that is as good.
async fn posts(app: &TestApp) -> Vec<(Call, Call, u16)> {
    let mut posts = Vec::new();
    for path in ["/api/chat/session", "/api/chat/sessions"] {
        let bodies = [json!({"project_id": "p"}), json!({"project_id": "other"})];
        posts.push((path.to_owned(), bodies, 201));
    }
    let merged = app.session_of(1).await;
    let restored = app.session_of(2).await;
    let left = app.post(at(&restored, "checkpoint"), json!({})).await.json(201);
    for (resource, bodies, status) in [
        ("fork", [json!({"branch_name": "a"}), json!({"branch_name": "b"})], 201),
        ("rewind", [json!({"turns": 1}), json!({"turns": 2})], 200),
        ("merge", [json!({"other_id": merged}), json!({"other_id": merged, "strategy": "interleave"})], 201),
        ("checkpoint", [json!({"name": "a"}), json!({"name": "b"})], 201),
        (
            "feedback",
            [
                json!({"turn_number": 0, "signal": "positive"}),
                json!({"turn_number": 0, "signal": "negative"}),
            ],
            200,
        ),
        ("crystal", [json!({"title": "t", "summary": "s"}), json!({"title": "u", "summary": "s"})], 201),
    ] {
        posts.push((at(&app.session_of(3).await, resource), bodies, status));
    }
    let bodies = [json!({"checkpoint_id": left["id"]}), json!({"checkpoint_id": left["id"], "again": true})];
    posts.push((at(&restored, "restore"), bodies, 200));
    let calls = posts.into_iter().map(|(path, [body, other], status)| {
        (Call::post(path.clone(), &body).key("k"), Call::post(path, &other).key("k"), status)
    });
    calls.collect()
}

/// How much there is.
async fn count(app: &TestApp) -> Value {
    let mut counts = Vec::new();
    for session in app.get("/api/chat/sessions?limit=100").await.json(200)["sessions"].as_array().unwrap() {
        let id = session["id"].as_str().unwrap();
        let checkpoints = app.get(at(id, "checkpoints")).await.json(200)["checkpoints"].clone();
        counts.push(json!([id, session["version"], session["turn_count"], checkpoints]));
    }
    json!(counts)
}

/// How many sessions and how many checkpoints that is.
fn totals(counted: &Value) -> (usize, usize) {
    let sessions = counted.as_array().unwrap();
    (sessions.len(), sessions.iter().map(|session| session[3].as_array().unwrap().len()).sum())
}

#[tokio::test]
async fn a_call_that_is_repeated_gives_the_same_answer_and_does_nothing_twice() {
    let app = TestApp::start().await;
    for (call, other, status) in posts(&app).await {
        let first = app.call(call.clone()).await.json(status);
        let counted = count(&app).await;
        for _ in 0..2 {
            assert_eq!(app.call(call.clone()).await.json(status), first, "{}", call.path);
        }
        let detail = "the idempotency key \"k\" was already used with another body; use a new key";
        app.call(other).await.refused(409, "key_reused", detail);
        assert_eq!(count(&app).await, counted, "{}", call.path);
        app.call(Call { headers: Vec::new(), ..call }.key("another")).await;
    }
    app.stop().await;
}

#[tokio::test]
async fn calls_at_the_same_time_happen_once_and_get_the_same_answer() {
    let app = TestApp::start().await;
    for (call, _, status) in posts(&app).await {
        let before = totals(&count(&app).await);
        let answers = futures_util::future::join_all((0..8).map(|_| app.call(call.clone()))).await;
        let bodies: Vec<_> = answers.iter().map(|answer| answer.json(status)).collect();
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{}: {bodies:?}", call.path);
        let after = totals(&count(&app).await);
        assert!(after.0 <= before.0 + 1 && after.1 <= before.1 + 1, "{}: {before:?} {after:?}", call.path);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_a_call_of_one_kind_on_one_session() {
    let app = TestApp::start().await;
    for (call, _, status) in posts(&app).await.into_iter().skip(1) {
        app.call(call).await.json(status);
    }
    let (one, other) = (app.new_session().await, app.new_session().await);
    for id in [&one, &other] {
        let done = app.open(send(id, "hi").key("k")).await.last().await;
        assert_eq!(done["turn_count"], 1);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_message_sent_again_is_answered_by_the_same_turn_during_and_after_it() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let call = send(&id, "hi").key("k");
    let mut first = app.open(call.clone()).await;
    speaker.say("one ");
    assert_eq!(first.plain().await["content"], "one ");
    let mut second = app.open(call.clone()).await;
    assert_eq!(second.plain().await["content"], "one ", "from the beginning");
    let detail = "the idempotency key \"k\" was already used with another body; use a new key";
    app.call(send(&id, "ho").key("k")).await.refused(409, "key_reused", detail);
    speaker.say("two");
    drop(speaker);
    let done = first.last().await;
    assert_eq!(second.last().await, done);
    assert_eq!(done["turn"]["assistant_response"]["content"], "one two");
    app.say(&id, "next").await;
    for query in ["send", "send?stream=cumulative"] {
        let call = Call::post(at(&id, query), &json!({"message": "hi"})).key("k");
        let mut again = app.open(call).await;
        assert_eq!(again.plain().await["content"], "one two");
        assert_eq!(again.plain().await, done);
    }
    let call = Call::post(at(&id, "send?stream=delta"), &json!({"message": "hi"})).key("k");
    let mut again = app.open(call).await;
    assert_eq!(again.numbered().await.1["delta"], "one two");
    assert_eq!(again.numbered().await.1["turn"], done["turn"]);
    assert_eq!(app.words(&id).await, ["hi", "next"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_sent_twice_at_the_same_time_is_one_turn_and_both_get_the_answer() {
    let app = TestApp::start().await;
    for _ in 0..10 {
        let id = app.new_session().await;
        let call = send(&id, "hi").key("k");
        let ask = async || app.open(call.clone()).await.last().await;
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!(one, other);
        assert_eq!(app.words(&id).await, ["hi"]);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_answer_of_a_message_whose_turn_was_taken_off_is_told_and_not_sent_again() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let call = send(&id, "hi").key("k");
    let done = app.open(call.clone()).await.last().await;
    app.post(at(&id, "rewind"), json!({"turns": 1})).await.json(200);
    app.say(&id, "in its place").await;
    assert_eq!(app.open(call.clone()).await.last().await, done);
    let list = app.get(at(&id, "checkpoints")).await.json(200);
    for left in list["checkpoints"].as_array().unwrap() {
        let left = left["id"].as_str().unwrap();
        app.delete(at(&id, &format!("checkpoints/{left}"))).await.empty(204);
    }
    let detail =
        format!("the turn of this idempotency key was taken off session {id}; use a new key to send again");
    app.call(call).await.refused(409, "key_reused", &detail);
    assert_eq!(app.words(&id).await, ["in its place"]);
    app.stop().await;
}

#[tokio::test]
async fn a_cancel_that_is_repeated_is_none_of_the_next_turn() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let cancel = Call::new("POST", at(&id, "cancel"), "").key("k");
    let _first = app.next_answer();
    let mut events = app.ask(&id, "one").await;
    app.call(cancel.clone()).await.json(202);
    assert_eq!(events.last().await["turn"]["status"], "interrupted");
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "two").await;
    assert_eq!(app.call(cancel.clone()).await.json(202), json!({"cancelled": true}));
    speaker.say("on");
    assert_eq!(events.plain().await["content"], "on");
    let detail = "the idempotency key \"k\" was already used with another body; use a new key";
    app.call(Call::post(at(&id, "cancel"), &json!({})).key("k")).await.refused(409, "key_reused", detail);
    drop(speaker);
    assert_eq!(events.last().await["turn"]["status"], "complete");
    app.stop().await;
}

#[tokio::test]
async fn a_refused_call_does_not_use_its_key_up() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    app.call(Call::post(at(&id, "rewind"), &json!({"turns": 2})).key("k")).await.json(400);
    app.call(Call::post(at(&id, "rewind"), &json!({"turns": 1})).key("k")).await.json(200);
    app.stop().await;
}

#[tokio::test]
async fn keys_go_with_their_session() {
    let app = TestApp::start().await;
    let create = Call::post("/api/chat/session", &json!({})).key("k");
    let first = app.call(create.clone()).await.json(201)["id"].as_str().unwrap().to_owned();
    app.delete(format!("/api/chat/{first}")).await.empty(204);
    let second = app.call(create).await.json(201)["id"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    app.session(&second).await;
    app.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_is_asked_for_again_is_told_as_it_was_made() {
    let app = TestApp::start().await;
    let id = app.session_of(3).await;
    let call = Call::post(at(&id, "checkpoint"), &json!({})).key("k");
    let made = app.call(call.clone()).await.json(201);
    app.post(at(&id, "rewind"), json!({"turns": 2})).await.json(200);
    assert_eq!(app.call(call).await.json(201), made);
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused_on_every_post() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let mut calls: Vec<_> = posts(&app).await.into_iter().map(|(call, _, _)| call).collect();
    calls.extend([send(&id, "hi"), Call::new("POST", at(&id, "cancel"), "")]);
    let counted = count(&app).await;
    for call in calls {
        let call = Call { headers: Vec::new(), ..call };
        let detail = "the idempotency key has 256 bytes; at most 255 are allowed, make it shorter";
        app.call(call.clone().key(&"k".repeat(256))).await.refused(400, "invalid_argument", detail);
        let detail = "the header Idempotency-Key is given more than once; give one key";
        app.call(call.clone().key("a").key("b")).await.refused(400, "invalid_argument", detail);
        let detail = "the idempotency key is empty; give at least one character, or leave the header out";
        app.call(call.key("")).await.refused(400, "invalid_argument", detail);
    }
    assert_eq!(count(&app).await, counted);
    let mut connection = Connection::open(app.addr).await;
    let longest = send(&id, "hi").key(&"🙂".repeat(63));
    assert_eq!(connection.call(&longest).await.status(), 200);
    drop(connection);
    app.stop().await;
}
