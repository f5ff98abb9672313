//! A server that is told to stop: what is under way is finished or kept, whoever listens is told, nothing is left
//! behind.
//!
//! Not here: servers that are not asked (`killed`, `recovery`).

use std::io::Read;
use std::io::Write;
use std::time::{Duration, Instant};

use membrane::responder::Echo;
use serde_json::{Value, json};

use super::http::{Client, request};
use super::server::{PATIENCE, ServerProcess, Serving, until};

/// A message whose answer takes about a second with the delays below.
const SHORT: &str = "a message whose answer takes a while";

fn serving(folder: &tempfile::TempDir) -> Serving {
    Serving::on(&folder.path().join("keep.db")).with_delay(100)
}

/// A message whose answer takes more than a minute.
fn long_message() -> String {
    "all work and no play ".repeat(600)
}

/// Waits until the server takes no more connections.
#[track_caller]
fn must_refuse_connections(client: Client) {
    assert!(until(PATIENCE, || client.connect().is_err()), "it still takes connections");
}

/// It ended well and left nothing behind.
#[track_caller]
fn must_have_ended_well(server: ServerProcess, serving: &Serving) {
    let ended = server.wait_for_end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(serving.locks(), Vec::<String>::new());
    assert_eq!(serving.log_bytes(), 0, "the write-ahead log is folded in");
    serving.must_be_sound();
}

#[test]
fn an_answer_under_way_is_finished_and_delivered_before_the_server_ends() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let serving = serving(&folder);
        let (server, client) = serving.start();
        let id = client.create();
        let mut events = client.send(&id, SHORT);
        let mut idle = client.connect().unwrap();
        let mut text = events.read_text(1);
        server.signal(signal);
        must_refuse_connections(client);
        // A connection on which nothing is under way is closed.
        assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);

        let done = loop {
            let event = events.next();
            match event["delta"].as_str() {
                Some(more) => text.push_str(more),
                None => break event,
            }
        };
        assert_eq!((&done["type"], &done["turn"]["status"]), (&json!("done"), &json!("complete")), "{done}");
        assert_eq!(text, Echo::text(SHORT));
        assert_eq!(events.try_next().unwrap(), None);
        must_have_ended_well(server, &serving);
        let (server, client) = serving.start();
        assert_eq!(client.turns(&id), [done["turn"].clone()]);
        server.stop();
    }
}

/// The last event tells of an interrupted turn, which is kept as it was told.
#[track_caller]
fn must_be_kept_interrupted(serving: &Serving, id: &str, heard: &str, last: &Value) {
    assert_eq!((&last["type"], &last["turn"]["status"]), (&json!("done"), &json!("interrupted")), "{last}");
    let text = last["turn"]["assistant_response"]["content"].as_str().unwrap();
    assert!(text.starts_with(heard) && Echo::text(&long_message()).starts_with(text), "{text:?}");
    let (server, client) = serving.start();
    assert_eq!(client.turns(id), [last["turn"].clone()]);
    server.stop();
}

#[test]
fn a_server_without_patience_interrupts_the_answer_keeps_it_and_tells_its_reader() {
    for (signal, drain_ms) in [("TERM", 0), ("INT", 300)] {
        let folder = tempfile::tempdir().unwrap();
        let serving = serving(&folder).with("chat.server.drain_ms", drain_ms);
        let (server, client) = serving.start();
        let id = client.create();
        let mut events = client.send(&id, &long_message());
        let heard = events.read_text(40);
        server.signal(signal);
        let told_at = Instant::now();
        let last = events.last();
        must_have_ended_well(server, &serving);
        assert!(told_at.elapsed() < Duration::from_secs(10), "{:?}", told_at.elapsed());
        must_be_kept_interrupted(&serving, &id, &heard, &last);
    }
}

#[test]
fn a_second_signal_interrupts_the_answer_keeps_it_and_tells_its_reader() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let folder = tempfile::tempdir().unwrap();
        let serving = serving(&folder);
        let (server, client) = serving.start();
        let id = client.create();
        let mut events = client.send(&id, &long_message());
        let heard = events.read_text(40);
        server.signal(first);
        // Two of a kind at the same time are one.
        must_refuse_connections(client);
        server.signal(second);
        let told_at = Instant::now();
        let last = events.last();
        must_have_ended_well(server, &serving);
        assert!(told_at.elapsed() < Duration::from_secs(10), "{:?}", told_at.elapsed());
        must_be_kept_interrupted(&serving, &id, &heard, &last);
    }
}

#[test]
fn a_connection_that_stays_open_gets_no_new_message_through_once_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serving(&folder);
    let (server, client) = serving.start();
    let (busy, id) = (client.create(), client.create());
    let mut events = client.send(&busy, SHORT);
    events.read_text(1);
    // Half of a request is there before the signal, the other half comes after it.
    let whole = request("POST", &format!("/api/chat/{id}/send"), &[], Some(&json!({"message": "late"})));
    let (before, after) = whole.split_at(20);
    let mut connection = client.connect().unwrap();
    connection.write_all(before).unwrap();
    server.signal("TERM");
    must_refuse_connections(client);
    let mut answer = Vec::new();
    // The connection may be closed at any point of this.
    let _ = connection.write_all(after).and_then(|()| connection.read_to_end(&mut answer).map(drop));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(events.last()["type"], "done");
    must_have_ended_well(server, &serving);
    let (server, client) = serving.start();
    assert_eq!(client.turns(&id), Vec::<Value>::new());
    server.stop();
}

#[test]
fn clients_that_neither_speak_nor_read_keep_a_server_from_ending_for_a_short_time_only() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serving(&folder).with("chat.echo.delay_ms", 0).with("chat.echo.piece_chars", 100_000);
    let (server, client) = serving.start();
    let mut half = client.connect().unwrap();
    half.write_all(b"GET /health HT").unwrap();
    let unread = client.send(&client.create(), &"x".repeat(3 << 20));
    assert_eq!(client.get("/health")["status"], "ok");
    server.signal("TERM");
    let told_at = Instant::now();
    must_have_ended_well(server, &serving);
    // No turn is under way, so that the time for them, 30 s, is not for these.
    assert!(told_at.elapsed() < Duration::from_secs(25), "{:?}", told_at.elapsed());
    drop((half, unread));
}
