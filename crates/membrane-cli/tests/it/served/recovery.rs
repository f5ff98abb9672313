//! A server is killed in the middle of an answer: whoever comes next, or is there already, closes the turn at once
//! with what had been written.
//!
//! Not here: leases that run out because a server is silent, which are `membrane`'s.

use std::time::{Duration, Instant};

use membrane::responder::Echo;
use serde_json::{Value, json};

use super::http::Client;
use super::server::{PATIENCE, Serving, until};

/// A lease lasts 30 s; whoever waits for its end is far later than this.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A message whose answer takes half a minute.
fn long_message() -> String {
    "all work and no play ".repeat(500)
}

fn slow(folder: &tempfile::TempDir) -> Serving {
    Serving::on(&folder.path().join("keep.db")).with_delay(50).with("chat.runs.flush_ms", 20)
}

/// Waits until the file holds as much of the answer, and gives what it holds.
fn written(serving: &Serving, id: &str, heard: &str) -> String {
    let mut partial = String::new();
    let is_there = until(PATIENCE, || {
        let shown = serving.command(&["show", id, "--json"]).output().unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["pending"]["partial"].as_str().unwrap().clone_into(&mut partial);
        partial.len() >= heard.len()
    });
    assert!(is_there, "{heard:?} was heard and is not written: {partial:?}");
    assert!(partial.starts_with(heard), "{partial:?}");
    partial
}

/// The one turn must be interrupted and hold what was written.
#[track_caller]
fn must_be_interrupted(client: Client, id: &str, message: &str, written: &str) {
    let session = client.session(id);
    assert_eq!((&session["state"], &session["pending"]), (&json!("idle"), &Value::Null), "{session}");
    let turns = client.turns(id);
    assert_eq!(turns.len(), 1);
    assert_eq!(
        (&turns[0]["status"], &turns[0]["error"]["code"]),
        (&json!("interrupted"), &json!("server_stopped"))
    );
    assert_eq!(turns[0]["user_message"]["content"], message);
    let answer = turns[0]["assistant_response"]["content"].as_str().unwrap();
    assert!(answer.starts_with(written), "{answer:?} is not what was written: {written:?}");
    assert!(Echo::text(message).starts_with(answer), "{answer:?}");
}

#[test]
fn a_server_that_starts_again_shows_the_interrupted_turn_with_all_that_was_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let serving = slow(&folder);
    let (server, client) = serving.start();
    let (id, message) = (client.create(), long_message());
    let mut events = client.send(&id, &message);
    let heard = events.read_text(80);
    let written = written(&serving, &id, &heard);
    let killed_at = Instant::now();
    server.kill();

    let (server, client) = serving.start();
    must_be_interrupted(client, &id, &message, &written);
    assert!(killed_at.elapsed() < AT_ONCE, "{:?}", killed_at.elapsed());
    // What had been sent before is still to be read.
    let end = std::iter::repeat_with(|| events.try_next()).find(|event| !matches!(event, Ok(Some(_))));
    assert!(matches!(end, Some(Err(_))), "the reader must see that it broke: {end:?}");
    let mut events = client.send(&id, "next");
    events.read_text(10);
    assert_eq!(serving.locks().len(), 1, "the dead one's lock file is gone: {:?}", serving.locks());
    assert_eq!(events.last()["turn_count"], 2);
    server.stop();
    assert_eq!(serving.locks(), Vec::<String>::new());
    serving.must_be_sound();
}

#[test]
fn a_server_that_was_there_all_the_time_closes_the_turn_of_a_killed_one_within_its_interval() {
    let folder = tempfile::tempdir().unwrap();
    let serving = slow(&folder).with("chat.runs.recover_ms", 200);
    let (killed, client) = serving.start();
    let (witness, other) = serving.start();
    let (id, message) = (client.create(), long_message());
    // Both own something, so that both have a lock file.
    let of_witness = other.create();
    let mut of_witness = other.send(&of_witness, &message);
    of_witness.read_text(10);
    let mut events = client.send(&id, &message);
    let heard = events.read_text(80);
    let written = written(&serving, &id, &heard);
    assert_eq!(serving.locks().len(), 2);
    assert_eq!(other.session(&id)["state"], "processing", "it is closed only when its server is dead");
    let killed_at = Instant::now();
    killed.kill();

    let is_closed = until(PATIENCE, || other.session(&id)["pending"].is_null());
    assert!(is_closed && killed_at.elapsed() < AT_ONCE, "{:?}", killed_at.elapsed());
    must_be_interrupted(other, &id, &message, &written);
    assert_eq!(serving.locks().len(), 1, "the dead one's lock file is gone: {:?}", serving.locks());
    // Its own turn goes on.
    of_witness.read_text(10);
    witness.signal("TERM");
    witness.signal("TERM");
    drop(of_witness);
}
