//! Numbered events: only what is new, with ids that go up and can be resumed from.

use std::time::Duration;

use membrane::responder::{Echo, EchoOptions};
use serde_json::{Value, json};

use crate::app::{TestApp, at, send};
use crate::client::Call;
use crate::events::Events;
use crate::shape::assert_same;

fn send_delta(id: &str, message: &str) -> Call {
    Call::post(at(id, "send?stream=delta"), &json!({"message": message}))
}

fn listen_after(id: &str, last_event_id: &str) -> Call {
    Call::get(at(id, "stream")).header("Last-Event-ID", last_event_id)
}

/// Reads to the end: the text, the ids, and the last event.
async fn read(events: &mut Events) -> (String, Vec<u64>, Value) {
    let (mut text, mut ids) = (String::new(), Vec::new());
    loop {
        let (id, event) = events.numbered().await;
        ids.push(id);
        if event["type"] != "delta" {
            assert_eq!(events.next().await, None, "nothing follows");
            return (text, ids, event);
        }
        let delta = event["delta"].as_str().unwrap();
        assert!(!delta.is_empty());
        assert_same(&event, &json!({"type": "delta", "seq": id, "delta": delta}));
        text.push_str(delta);
    }
}

#[tokio::test]
async fn deltas_add_up_to_the_answer_and_ids_go_up_without_gaps() {
    let app = TestApp::with(|setup| setup.echo.delay = Duration::from_millis(15)).await;
    let id = app.new_session().await;
    let mut last_id = 0;
    for (number, message) in ["hi", "", "日本語 🙂\u{0}"].into_iter().enumerate() {
        let mut events = app.open(send_delta(&id, message)).await;
        assert_eq!(events.head.header("cache-control"), Some("no-cache"));
        assert_eq!(events.head.header("x-accel-buffering"), Some("no"));
        let (text, ids, done) = read(&mut events).await;
        assert_eq!(text, Echo::text(message));
        assert!(ids.len() > 2 && ids[0] > last_id, "{ids:?}");
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
        last_id = *ids.last().unwrap();
        let turn = app.session(&id).await["turns"][number].clone();
        assert_same(&done, &json!({"type": "done", "seq": last_id, "turn_count": number + 1, "turn": turn}));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_long_answer_takes_little_more_than_its_own_bytes() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let message = "x".repeat(1 << 20);
    let frames = app.open(send_delta(&id, &message)).await.rest().await;
    let n_bytes: usize = frames.iter().map(|frame| frame.0.len()).sum();
    // Once as it arrives; the last event holds the turn, which has the message and the answer.
    assert!(n_bytes < (3 << 20) + (1 << 18), "{n_bytes}");
    app.stop().await;
}

#[tokio::test]
async fn heartbeats_are_comments_in_numbered_streams_alone() {
    let app = TestApp::with(|setup| setup.http.heartbeat = Duration::from_millis(50)).await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut plain = app.ask(&id, "hi").await;
    let mut numbered = app.listen(&id).await;
    for _ in 0..3 {
        assert_eq!(numbered.next().await.unwrap().0, ": alive\n\n");
    }
    speaker.say("word");
    assert_eq!(numbered.numbered().await.1["delta"], "word");
    assert_eq!(plain.plain().await["content"], "word", "no comment came before it");
    drop(speaker);
    assert_eq!(read(&mut numbered).await.2["type"], "done");
    assert_eq!(plain.plain().await["type"], "done");
    app.stop().await;
}

#[tokio::test]
async fn a_reader_attaches_from_the_beginning_or_after_what_it_saw() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut first = app.open(send_delta(&id, "hi")).await;
    let mut ids = Vec::new();
    for word in ["one ", "two ", "three "] {
        speaker.say(word);
        let (id, event) = first.numbered().await;
        assert_eq!(event["delta"], word);
        ids.push(id);
    }
    let mut from_the_beginning = app.listen(&id).await;
    let mut after_one = app.open(listen_after(&id, &ids[0].to_string())).await;
    let mut after_all = app.open(listen_after(&id, &ids[2].to_string())).await;
    let still_to_come = (ids[2] + 500).to_string();
    let mut after_what_is_to_come = app.open(listen_after(&id, &still_to_come)).await;
    let mut after_nonsense = app.open(listen_after(&id, "abc")).await;
    speaker.say("four");
    drop(speaker);
    for (events, expected) in [
        (&mut from_the_beginning, "one two three four"),
        (&mut after_one, "two three four"),
        (&mut after_all, "four"),
        (&mut after_what_is_to_come, "one two three four"),
        (&mut after_nonsense, "one two three four"),
        (&mut first, "four"),
    ] {
        let (text, seen, done) = read(events).await;
        assert_eq!(text, expected);
        assert_eq!(*seen.last().unwrap(), ids[2] + 2);
        assert_eq!(done["turn"]["assistant_response"]["content"], "one two three four");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_turn_that_has_just_ended_is_replayed_and_then_there_is_nothing() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    app.get(at(&id, "stream")).await.empty(204);
    let (text, ids, done) = read(&mut app.open(send_delta(&id, "hi")).await).await;
    for _ in 0..2 {
        let again = read(&mut app.listen(&id).await).await;
        assert_eq!(again, (text.clone(), ids.clone(), done.clone()));
    }
    let before_the_last = ids[ids.len() - 2].to_string();
    let (nothing, only, same) = read(&mut app.open(listen_after(&id, &before_the_last)).await).await;
    assert_eq!((nothing.as_str(), only.len(), same), ("", 1, done));
    let last = ids.last().unwrap().to_string();
    app.call(listen_after(&id, &last)).await.empty(204);
    app.stop().await;
}

#[tokio::test]
async fn what_is_kept_of_an_ended_turn_is_let_go_after_a_while() {
    let app = TestApp::with(|setup| setup.runs.keep_ended_for = Duration::ZERO).await;
    let id = app.new_session().await;
    app.say(&id, "hi").await;
    app.get(at(&id, "stream")).await.empty(204);
    app.stop().await;
}

#[tokio::test]
async fn an_id_of_an_earlier_turn_is_known_for_what_it_is() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let (_, ids, _) = read(&mut app.open(send_delta(&id, "first")).await).await;
    let stale = ids.last().unwrap().to_string();
    let speaker = app.next_answer();
    let mut plain = app.ask(&id, "second").await;
    speaker.say("all of it");
    assert_eq!(plain.plain().await["content"], "all of it");
    let mut events = app.open(listen_after(&id, &stale)).await;
    drop(speaker);
    assert_eq!(read(&mut events).await.0, "all of it");
    let mut events = app.open(listen_after(&id, &stale)).await;
    assert_eq!(read(&mut events).await.0, "all of it");
    app.stop().await;
}

#[tokio::test]
async fn an_id_of_a_turn_that_was_taken_off_is_known_for_what_it_is() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let (_, ids, _) = read(&mut app.open(send_delta(&id, "first")).await).await;
    app.post(at(&id, "rewind"), json!({"turns": 1})).await.json(200);
    let speaker = app.next_answer();
    let mut plain = app.ask(&id, "in its place").await;
    speaker.say("all of it");
    assert_eq!(plain.plain().await["content"], "all of it");
    drop(speaker);
    for stale in ids {
        let mut events = app.open(listen_after(&id, &stale.to_string())).await;
        assert_eq!(read(&mut events).await.0, "all of it");
    }
    assert_eq!(plain.last().await["turn_count"], 1);
    app.stop().await;
}

#[tokio::test]
async fn two_readers_hear_the_same_each_at_its_own_pace() {
    let echo = EchoOptions { delay: Duration::from_millis(2), piece_chars: 4 };
    let app = TestApp::with(|setup| setup.echo = echo).await;
    let id = app.new_session().await;
    let mut one = app.open(send_delta(&id, &"word ".repeat(200))).await;
    let mut other = app.listen(&id).await;
    let heard = read(&mut one).await;
    // The other one has not read a byte so far.
    assert_eq!(read(&mut other).await, heard);
    let mut plain = app.ask(&id, "and on").await;
    let (text, _, _) = read(&mut app.listen(&id).await).await;
    let done = plain.last().await;
    assert_eq!(done["turn"]["assistant_response"]["content"], text);
    app.stop().await;
}

#[tokio::test]
async fn thoughts_have_events_of_their_own_and_are_in_the_turn() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.open(send_delta(&id, "hi")).await;
    speaker.think("hm");
    let thought = events.next().await.expect("a thought");
    assert_eq!(thought.0, "id: 1\ndata: {\"type\":\"reasoning\",\"seq\":1,\"reasoning\":\"hm\"}\n\n");
    speaker.say("so");
    drop(speaker);
    let (text, _, done) = read(&mut events).await;
    assert_eq!((text.as_str(), &done["turn"]["reasoning"]), ("so", &json!("hm")));
    app.stop().await;
}

#[tokio::test]
async fn a_turn_is_in_the_session_when_its_last_event_arrives() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    for n_turns in 1..20 {
        let call = if n_turns % 2 == 0 { send(&id, "hi") } else { send_delta(&id, "hi") };
        app.open(call).await.last().await;
        let session = app.session(&id).await;
        assert_eq!((&session["turn_count"], &session["state"]), (&json!(n_turns), &json!("idle")));
        assert_eq!(session["pending"], json!(null));
    }
    app.stop().await;
}
