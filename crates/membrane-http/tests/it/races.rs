//! Many clients at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::app::{TestApp, at, send};
use crate::client::{Call, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_messages_at_once_each_is_a_turn_or_refused_as_busy() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let sends = (0..100).map(|n| {
        let call = send(&id, &format!("m{n}"));
        let app = &app;
        async move { (n, app.try_open(&call).await) }
    });
    let mut sent = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (n, outcome) in join_all(sends).await {
        match outcome {
            Ok(mut events) => {
                let done = events.last().await;
                assert_eq!(done["turn"]["user_message"]["content"], format!("m{n}"));
                assert!(numbers.insert(done["turn"]["turn_number"].as_u64().unwrap()), "a number twice");
                sent.insert(format!("m{n}"));
            }
            Err(refused) => assert_eq!(refused.json(409)["code"], "busy"),
        }
    }
    assert!(!sent.is_empty());
    let session = app.session(&id).await;
    assert_eq!(session["turn_count"], sent.len());
    assert_eq!(session["evidence"]["tools_succeeded"], sent.len());
    assert_eq!(app.words(&id).await.into_iter().collect::<BTreeSet<_>>(), sent);
    assert_eq!(numbers, (0..sent.len() as u64).collect());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_deletes_at_once_one_finds_the_session() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        let id = app.session_of(2).await;
        let answers = join_all((0..8).map(|_| app.delete(format!("/api/chat/{id}")))).await;
        let mut statuses: Vec<_> = answers.iter().map(crate::client::Answer::status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404, 404, 404, 404, 404, 404, 404]);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_do_not_wait_for_each_other() {
    let app = TestApp::start().await;
    let waiting = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&waiting, "wait").await;
    let others = (0..40).map(|n| {
        let app = &app;
        async move {
            let id = app.new_session().await;
            for turn in 0..3 {
                assert_eq!(app.say(&id, &format!("{n}.{turn}")).await["turn_count"], turn + 1);
            }
            assert_eq!(app.words(&id).await, [0, 1, 2].map(|turn| format!("{n}.{turn}")));
        }
    });
    join_all(others).await;
    drop(speaker);
    assert_eq!(events.last().await["turn_count"], 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_operations_at_once_on_one_session_leave_it_whole_and_nothing_fails() {
    let app = TestApp::start().await;
    let id = app.session_of(5).await;
    let other = app.session_of(2).await;
    let left = app.post(at(&id, "checkpoint"), json!({})).await.json(201);
    let calls = [
        send(&id, "hi"),
        Call::post(at(&id, "fork"), &json!({"branch_name": "b"})),
        Call::post(at(&id, "rewind"), &json!({"turns": 1})),
        Call::post(at(&id, "merge"), &json!({"other_id": other})),
        Call::post(at(&other, "merge"), &json!({"other_id": id, "strategy": "interleave"})),
        Call::post(at(&id, "checkpoint"), &json!({})),
        Call::post(at(&id, "restore"), &json!({"checkpoint_id": left["id"]})),
        Call::post(at(&id, "feedback"), &json!({"turn_number": 0, "signal": "negative"})),
        Call::post(at(&id, "crystal"), &json!({"title": "t", "summary": "s"})),
        Call::post(at(&id, "cancel"), &json!({})),
        Call::get(format!("/api/chat/session/{id}")),
        Call::get("/api/chat/sessions"),
        Call::get(at(&id, "stream")),
        Call::get(at(&id, "turns")),
        Call::get(at(&id, &format!("diff?other={other}"))),
        Call::get(format!("/api/chat/sessions/{id}/branches")),
    ];
    let all = (0..12).flat_map(|_| calls.iter());
    for answer in join_all(all.map(|call| app.call(call.clone()))).await {
        let status = answer.status();
        assert!(matches!(status, 200 | 201 | 202 | 204 | 400 | 409 | 503), "{status}: {}", answer.text());
        assert!(status != 503 || answer.header("retry-after").is_some());
    }
    // What is left of it can still be worked with.
    until(async || app.session(&id).await["state"] == "idle").await;
    app.say(&id, "on").await;
    app.stop().await;
}
