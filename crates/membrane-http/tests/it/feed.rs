//! What happens to sessions, as a second client hears it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{TestApp, at};
use crate::client::{Call, until};
use crate::events::Events;

fn call() -> Call {
    Call::get("/api/chat/events")
}

fn after(id: u64) -> Call {
    call().header("Last-Event-ID", id.to_string())
}

impl Events {
    /// The next one: its id and its data.
    async fn told(&mut self) -> (u64, Value) {
        loop {
            let frame = self.next().await.expect("another event");
            if frame.is_comment() {
                assert_eq!(frame.0, ": alive\n\n", "a comment has no id");
                continue;
            }
            let (id, data) = frame.0.split_once('\n').unwrap();
            let data = data.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            return (id.strip_prefix("id: ").unwrap().parse().unwrap(), serde_json::from_str(data).unwrap());
        }
    }

    /// The next ones' data, in order.
    async fn must_tell(&mut self, expected: &[Value]) -> u64 {
        let mut last = 0;
        for expected in expected {
            let (id, data) = self.told().await;
            assert_eq!(data, *expected);
            assert!(id > last);
            last = id;
        }
        last
    }
}

fn event(kind: &str, id: &str, version: u64) -> Value {
    json!({"type": kind, "session_id": id, "version": version})
}

async fn a_second_client_hears_all_that_the_first_does(in_memory: bool) {
    let app = TestApp::with(|setup| setup.in_memory = in_memory).await;
    let mut feed = app.open(call()).await;
    feed.must_tell(&[json!({"type": "start"})]).await;
    let made = app.post("/api/chat/session", json!({})).await.json(201);
    let id = made["id"].as_str().unwrap();
    feed.must_tell(&[event("session.created", id, 1)]).await;
    app.say(id, "hi").await;
    let sent = [event("run.started", id, 1), event("turn.added", id, 2), event("run.ended", id, 2)];
    feed.must_tell(&sent).await;
    let fork = app.post(at(id, "fork"), json!({"branch_name": "b"})).await.json(201);
    let fork = fork["id"].as_str().unwrap_or_else(|| fork["session"]["id"].as_str().unwrap()).to_owned();
    let place = feed.must_tell(&[event("session.created", &fork, 1)]).await;
    app.post(at(id, "feedback"), json!({"turn_number": 0, "signal": "positive"})).await.json(200);
    let (_, first) = feed.told().await;
    let (_, second) = feed.told().await;
    for session in [event("turn.updated", id, 2), event("turn.updated", &fork, 1)] {
        assert!(first == session || second == session, "{first} {second}");
    }
    app.post(at(id, "checkpoint"), json!({})).await.json(201);
    app.post(at(id, "rewind"), json!({"turns": 1})).await.json(200);
    app.post(at(id, "crystal"), json!({"title": "t", "summary": "s"})).await.json(201);
    app.delete(format!("/api/chat/{fork}")).await.empty(204);
    let rest = [
        event("checkpoint.created", id, 2),
        event("session.updated", id, 3),
        event("crystal.saved", id, 3),
        event("session.deleted", &fork, 1),
    ];
    let last = feed.must_tell(&rest).await;
    drop(feed);

    // Whoever was cut off misses nothing.
    let mut again = app.open(after(place)).await;
    again.told().await;
    again.told().await;
    again.must_tell(&rest).await;
    let mut late = app.open(after(last)).await;
    app.say(id, "and?").await;
    late.must_tell(&[event("run.started", id, 3)]).await;
    drop((again, late));
    app.stop().await;
}

#[tokio::test]
async fn a_second_client_hears_all_that_the_first_does_on_sqlite() {
    a_second_client_hears_all_that_the_first_does(false).await;
}

#[tokio::test]
async fn a_second_client_hears_all_that_the_first_does_in_memory() {
    a_second_client_hears_all_that_the_first_does(true).await;
}

#[tokio::test]
async fn an_id_that_is_no_place_here_starts_over() {
    let app = TestApp::start().await;
    let mut feed = app.open(call()).await;
    let (start, _) = feed.told().await;
    for odd in ["0", "1", "x", "-1", "1.5", "18446744073709551615", "99999999999999999999", "\u{e9}"] {
        let mut feed = app.open(call().header("Last-Event-ID", odd)).await;
        let told = feed.told().await;
        assert_eq!(told, (start, json!({"type": "reset"})), "{odd}");
    }
    // No id at all.
    let mut none = app.open(call().header("Last-Event-ID", " ")).await;
    assert_eq!(none.told().await, (start, json!({"type": "start"})));
    let id = app.new_session().await;
    none.must_tell(&[event("session.created", &id, 1)]).await;
    drop((feed, none));
    app.stop().await;
}

#[tokio::test]
async fn a_silent_feed_shows_that_it_is_alive_and_has_its_place_among_the_streams() {
    let app = TestApp::with(|setup| {
        setup.http.max_streams = 1;
        setup.http.heartbeat = Duration::from_millis(10);
    })
    .await;
    let mut feed = app.open(call()).await;
    feed.told().await;
    assert_eq!(feed.next().await.unwrap().0, ": alive\n\n");
    let refused = app.try_open(&call()).await.unwrap_err();
    assert_eq!(refused.status(), 503, "{}", refused.text());
    drop(feed);
    until(async || app.try_open(&call()).await.is_ok()).await;
    app.stop().await;
}

#[tokio::test]
async fn a_feed_ends_when_the_server_stops_and_with_all_that_happened() {
    let mut app = TestApp::start().await;
    let mut feed = app.open(call()).await;
    feed.told().await;
    let id = app.new_session().await;
    feed.must_tell(&[event("session.created", &id, 1)]).await;
    let server = app.begin_to_stop();
    assert_eq!(feed.next().await, None);
    server.await.unwrap();
    app.chat.close().await.unwrap();
}
