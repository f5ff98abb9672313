//! A session while a turn is under way: what it shows, what it allows, who may leave.

use serde_json::{Value, json};

use crate::app::{TestApp, at, send, session_id};
use crate::client::{Answer, Connection, until};
use crate::events::Events;
use crate::script::Speaker;
use crate::shape::{assert_same, evidence, normal, time};

/// A session of two turns whose third one is under way: "wait" was said, and "half" of the answer.
async fn under_way(app: &TestApp) -> (String, Speaker, Events) {
    let id = app.session_of(2).await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "wait").await;
    speaker.say("half");
    assert_eq!(events.plain().await["content"], "half");
    (id, speaker, events)
}

#[tokio::test]
async fn the_turn_under_way_is_pending_and_not_yet_a_turn() {
    let app = TestApp::start().await;
    let (id, speaker, mut events) = under_way(&app).await;
    let pending =
        json!({"turn_number": 2, "user_message": "wait", "partial": "half", "started_at": "<time>"});
    let session = app.session(&id).await;
    assert_eq!(normal(session["pending"].clone()), pending);
    assert_eq!((&session["state"], &session["turn_count"]), (&json!("processing"), &json!(2)));
    assert_eq!(session["turns"].as_array().unwrap().len(), 2);
    assert_same(&normal(session["evidence"].clone()), &evidence(2, 0));
    let list = app.get("/api/chat/sessions").await.json(200);
    assert_eq!(list["sessions"][0]["pending"], session["pending"]);
    assert_eq!(list["sessions"][0]["state"], "processing");
    assert_eq!(app.get(at(&id, "turns")).await.json(200)["total"], 2);
    drop(speaker);
    assert_eq!(events.last().await["turn_count"], 3);
    let session = app.session(&id).await;
    assert_eq!((&session["state"], &session["pending"]), (&json!("idle"), &json!(null)));
    assert_eq!(session["turns"][2]["assistant_response"]["content"], "half");
    app.stop().await;
}

#[tokio::test]
async fn a_second_message_is_refused_and_not_taken() {
    let app = TestApp::start().await;
    let (id, speaker, mut events) = under_way(&app).await;
    let since = app.session(&id).await["pending"]["started_at"].clone();
    let refused = app.call(send(&id, "and?")).await;
    let detail = format!("session {id} is busy with a turn since {}; wait for it or cancel it", time(&since));
    refused.refused(409, "busy", &detail);
    drop(speaker);
    events.last().await;
    assert_eq!(app.words(&id).await, ["u0", "u1", "wait"]);
    app.say(&id, "and?").await;
    app.stop().await;
}

#[tokio::test]
async fn what_concerns_finished_turns_goes_on_meanwhile() {
    let app = TestApp::start().await;
    let (id, speaker, mut events) = under_way(&app).await;
    let fork = app.post(at(&id, "fork"), json!({"branch_name": "b"})).await.json(201);
    assert_eq!((&fork["turn_count"], &fork["state"]), (&json!(2), &json!("idle")));
    let left = app.post(at(&id, "checkpoint"), json!({"name": "n"})).await.json(201);
    assert_eq!(left["turn_count"], 2);
    let feedback = json!({"turn_number": 1, "signal": "negative"});
    let answer = app.post(at(&id, "feedback"), feedback).await.json(200);
    assert_same(&normal(answer["evidence"].clone()), &evidence(2, 1));
    app.delete(at(&id, &format!("checkpoints/{}", left["id"].as_str().unwrap()))).await.empty(204);
    for what in ["evidence", "checkpoints", "turns"] {
        app.get(at(&id, what)).await.json(200);
    }
    app.get(at(&id, &format!("diff?other={}", fork["id"].as_str().unwrap()))).await.json(200);
    let pending = json!({"turn_number": 2, "signal": "positive"});
    let detail = format!("session {id} has no turn 2; its 2 turns count from 0");
    app.post(at(&id, "feedback"), pending).await.refused(400, "invalid_argument", &detail);
    drop(speaker);
    let done = events.last().await;
    assert_eq!((&done["turn_count"], &done["turn"]["confidence"]), (&json!(3), &json!(0.6)));
    app.stop().await;
}

#[tokio::test]
async fn what_would_move_the_session_is_refused_and_the_state_is_named() {
    let app = TestApp::start().await;
    let other = app.session_of(1).await;
    let checkpointed = app.session_of(1).await;
    let left = app.post(at(&checkpointed, "checkpoint"), json!({})).await.json(201);
    let speaker = app.next_answer();
    let mut events = app.ask(&checkpointed, "wait").await;
    let id = &checkpointed;
    let allowed = "read, fork, checkpoint, feedback, pin, rename, cancel, delete";
    for (path, body, action) in [
        (at(id, "rewind"), json!({"turns": 1}), "rewind"),
        (at(id, "restore"), json!({"checkpoint_id": left["id"]}), "restore"),
        (at(id, "merge"), json!({"other_id": other}), "merge"),
        (at(&other, "merge"), json!({"other_id": id}), "merge"),
        (at(id, "crystal"), json!({"title": "t", "summary": "s"}), "crystallize"),
    ] {
        let detail =
            format!("session {id} is processing, which does not allow {action}; it allows: {allowed}");
        app.post(path, body).await.refused(409, "wrong_state", &detail);
    }
    drop(speaker);
    events.last().await;
    assert_eq!(app.words(id).await, ["u0", "wait"]);
    assert_eq!(app.words(&other).await, ["u0"]);
    app.stop().await;
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_stop_the_turn() {
    let app = TestApp::start().await;
    let (id, speaker, events) = under_way(&app).await;
    drop(events);
    let mut another = app.listen(&id).await;
    assert_eq!(another.numbered().await.1["delta"], "half");
    drop(another);
    speaker.say(" and half");
    let mut third = app.listen(&id).await;
    drop(speaker);
    assert_eq!(third.last().await["type"], "done");
    let turn = app.session(&id).await["turns"][2].clone();
    assert_eq!(turn["assistant_response"]["content"], "half and half");
    assert_eq!(turn["status"], "complete");
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_is_gone_before_the_answer_has_sent_its_message() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    drop(app.ask(&id, "hi").await);
    speaker.say("anyone?");
    let mut events = app.listen(&id).await;
    drop(speaker);
    assert_eq!(events.last().await["turn_count"], 1);
    assert_eq!(app.words(&id).await, ["hi"]);
    app.stop().await;
}

/// Whether the answer says that too many streams are open.
#[track_caller]
fn assert_full(answer: &Answer) {
    let detail = "2 streams are open, and no more are taken; try again in a moment";
    answer.refused(503, "unavailable", detail);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn over_the_limit_of_streams_nothing_is_taken_and_who_leaves_makes_room() {
    let app = TestApp::with(|setup| {
        setup.http.max_streams = 2;
        setup.http.heartbeat = std::time::Duration::from_millis(20);
    });
    let app = app.await;
    let (id, speaker, mut events) = under_way(&app).await;
    let second = app.listen(&id).await;
    let other = app.new_session().await;
    assert_full(&app.call(send(&other, "hi")).await);
    assert_full(&app.get(at(&id, "stream")).await);
    let session = app.session(&other).await;
    assert_eq!((&session["turns"], &session["pending"]), (&json!([]), &json!(null)));
    assert_eq!(app.metrics().await.find("membrane_streams_active", &[]), Some(2.0));
    drop(second);
    // The server notices when it writes the next heartbeat.
    let mut taken = None;
    until(async || {
        taken = match app.try_open(&send(&other, "hi")).await {
            Ok(events) => Some(events),
            Err(full) => {
                assert_full(&full);
                None
            }
        };
        taken.is_some()
    })
    .await;
    let mut events_of_other = taken.unwrap();
    assert_eq!(events_of_other.last().await["turn_count"], 1);
    drop(speaker);
    events.last().await;
    app.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_lets_turns_end_and_takes_no_more_messages() {
    let mut app = TestApp::start().await;
    let (_, speaker, mut events) = under_way(&app).await;
    let other = app.new_session().await;
    let late = send(&other, "too late").header("Expect", "100-continue").bytes();
    let mut connection = Connection::open(app.addr).await;
    connection.write(&late[..late.len() - 1]).await;
    connection.leave_to_send().await;
    let server = app.begin_to_stop();
    until(async || app.chat.ready().await.is_err()).await;
    // A request that the server has begun to read is still answered.
    connection.write(&late[late.len() - 1..]).await;
    let answer = connection.answer("POST").await.expect("an answer");
    answer.refused(503, "unavailable", "unavailable: the server is stopping; try again in 1000 ms");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(connection.is_closed().await);
    speaker.say(" done");
    drop(speaker);
    let done: Value = events.last().await;
    assert_eq!(done["turn"]["assistant_response"]["content"], "half done");
    server.await.unwrap();
    assert_eq!(app.chat.n_open_runs(), 0);
    let kept = app.chat.find_session(&session_id(&other)).await.unwrap().unwrap();
    assert_eq!(kept.turn_count(), 0);
    app.chat.close().await.unwrap();
}
