//! The default stream, as kgents' clients read it: whole answers so far, in frames of one line, few enough.

use std::time::{Duration, Instant};

use membrane::responder::{Echo, EchoOptions};
use serde_json::{Value, json};

use crate::app::{TestApp, at, send};
use crate::client::{Call, Connection};
use crate::events::Frame;
use crate::shape::{assert_same, normal, plain_turn, with};

/// Checks the form of all frames, and gives the last content and the event that ends the stream.
#[track_caller]
fn check(frames: &[Frame]) -> (String, Value) {
    let (last, contents) = frames.split_last().expect("frames");
    let mut so_far = String::new();
    for frame in contents {
        let event = frame.plain();
        let content = event["content"].as_str().expect("content");
        assert_same(&event, &json!({"type": "content", "content": content}));
        assert!(content.len() > so_far.len() && content.starts_with(&so_far), "{frame:?}");
        content.clone_into(&mut so_far);
    }
    (so_far, last.plain())
}

fn n_bytes(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.0.len()).sum()
}

#[tokio::test]
async fn frames_grow_to_the_whole_answer_and_end_with_the_turn() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    for (number, message) in ["hi", "", "a\nb\r\n\"\\\u{0}", "日本語 🙂 שלום"].into_iter().enumerate()
    {
        let mut events = app.ask(&id, message).await;
        assert_eq!(events.head.header("cache-control"), Some("no-cache"));
        assert_eq!(events.head.header("x-accel-buffering"), Some("no"));
        assert_eq!(events.head.header("content-encoding"), None);
        let (content, done) = check(&events.rest().await);
        assert_eq!(content, Echo::text(message));
        let session = app.session(&id).await;
        let expected = json!({"type": "done", "turn_count": number + 1, "turn": session["turns"][number]});
        assert_same(&done, &expected);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_turn_is_shown_in_done_as_the_model_ended_it() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "why?").await;
    speaker.think("hm ");
    speaker.say("be");
    speaker.think("so");
    speaker.say("cause");
    speaker.end("length", r#"{"tokens": 3}"#);
    let (content, done) = check(&events.rest().await);
    assert_eq!(content, "because");
    let turn = with(
        plain_turn(0, "why?", "because"),
        json!({"model": "echo", "finish_reason": "length", "usage": {"tokens": 3}, "reasoning": "hm so"}),
    );
    assert_same(&normal(done), &json!({"type": "done", "turn_count": 1, "turn": turn}));
    app.stop().await;
}

#[tokio::test]
async fn an_answer_without_a_word_has_no_content() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    drop(app.next_answer());
    let frames = app.ask(&id, "hi").await.rest().await;
    assert_eq!(frames.len(), 1);
    assert_eq!(check(&frames).1["turn"]["assistant_response"]["content"], "");
    app.stop().await;
}

#[tokio::test]
async fn what_is_said_is_heard_before_the_answer_ends() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    speaker.say("one");
    assert_eq!(events.plain().await["content"], "one");
    // An eighth is not needed: time alone makes a frame due while the answer is short.
    speaker.say(&"x".repeat(100));
    assert_eq!(events.plain().await["content"].as_str().unwrap().len(), 103);
    speaker.say("y");
    assert_eq!(events.plain().await["content"].as_str().unwrap().len(), 104);
    drop(speaker);
    assert_eq!(events.plain().await["type"], "done");
    assert_eq!(events.next().await, None);
    app.stop().await;
}

#[tokio::test]
async fn all_frames_of_a_long_answer_are_a_small_multiple_of_it() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    for (piece, n_bytes_of_message) in [("x", 1 << 20), ("🙂", 1 << 17), ("\u{1}\n", 1 << 17)] {
        let message = piece.repeat(n_bytes_of_message / piece.len());
        let frames = app.ask(&id, &message).await.rest().await;
        let (content, done) = check(&frames);
        assert_eq!(content, Echo::text(&message));
        let answer_bytes = json!(content).to_string().len();
        let contents = n_bytes(&frames) - done.to_string().len();
        // Each frame is at least an eighth longer than the one before: together at most nine times the last.
        assert!(contents < 10 * answer_bytes, "{contents} bytes of frames for {answer_bytes}");
    }
    app.stop().await;
}

#[tokio::test]
async fn all_frames_of_a_slow_short_answer_are_bounded_by_its_time() {
    let echo = EchoOptions { delay: Duration::from_millis(1), piece_chars: 1 };
    let app = TestApp::with(|setup| setup.echo = echo).await;
    let id = app.new_session().await;
    let start = Instant::now();
    let frames = app.ask(&id, &"slow ".repeat(100)).await.rest().await;
    let n_pauses = usize::try_from(start.elapsed().as_millis() / 100).unwrap() + 1;
    let (content, done) = check(&frames);
    let contents = n_bytes(&frames) - done.to_string().len();
    let frame_bytes = json!({"type": "content", "content": content}).to_string().len() + "data: \n\n".len();
    assert!(contents < (10 + n_pauses) * frame_bytes, "{contents} bytes in {n_pauses} pauses");
    app.stop().await;
}

#[tokio::test]
async fn the_form_of_a_stream_is_one_of_two_words() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let body = json!({"message": "hi"});
    let mut events = app.open(Call::post(at(&id, "send?stream=cumulative"), &body)).await;
    check(&events.rest().await);
    let wrong = app.post(at(&id, "send?stream=both"), body).await.wrong_fields();
    assert_eq!((&wrong[0]["type"], &wrong[0]["loc"]), (&json!("literal_error"), &json!(["query", "stream"])));
    assert_eq!(app.words(&id).await, ["hi"], "the refused one was not taken");
    app.stop().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_stream() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let mut connection = Connection::open(app.addr).await;
    for n_turns in 1..4 {
        let answer = connection.call(&send(&id, "hi")).await;
        assert!(answer.text().contains(&format!("\"turn_count\":{n_turns},")), "{}", answer.text());
        let session = connection.call(&Call::get(format!("/api/chat/session/{id}"))).await.json(200);
        assert_eq!(session["turn_count"], n_turns);
    }
    drop(connection);
    app.stop().await;
}
