//! A server among several on one PostgreSQL database that is told to stop: what it has under way is finished or kept, what
//! the others have is theirs, and so it is when one starts.
//!
//! Not here: the same on a file, and who leads next.

use std::io::{Read, Write};
use std::path::Path;

use membrane::responder::Echo;
use membrane_testservers::{Database, Postgres};
use serde_json::{Value, json};

use super::http::{Client, Events, request};
use super::server::{PATIENCE, ServerProcess, Serving, until};

/// A message whose answer takes about a second with the delay below.
const SHORT: &str = "a message whose answer takes a while";

fn serving(database: &Database) -> Serving {
    Serving::on(Path::new(&database.url())).with_delay(100).with("chat.runs.recover_ms", 100)
}

/// A message whose answer takes more than a minute.
fn long_message() -> String {
    "all work and no play ".repeat(600)
}

/// A server that has a turn under way for as long as the test takes.
struct Witness {
    server: ServerProcess,
    client: Client,
    id: String,
    events: Events,
}

impl Witness {
    fn start(serving: &Serving) -> Self {
        let (server, client) = serving.start();
        let id = client.create();
        let mut events = client.send(&id, &long_message());
        events.read_text(1);
        Self { server, client, id, events }
    }

    /// Its turn goes on.
    #[track_caller]
    fn must_be_untouched(&mut self) {
        assert_eq!(self.client.session(&self.id)["state"], "processing");
        self.events.read_text(32);
    }

    /// Lets it stop at once; its turn is kept with what had arrived.
    #[track_caller]
    fn stop(mut self) {
        let heard = self.events.read_text(32);
        self.server.signal("TERM");
        assert!(until(PATIENCE, || self.client.connect().is_err()), "it still takes connections");
        self.server.signal("TERM");
        must_be_interrupted(&self.events.last(), &heard);
        must_have_ended_well(self.server);
    }
}

#[track_caller]
fn must_have_ended_well(server: ServerProcess) {
    let ended = server.wait_for_end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// The last event tells of a turn that was cut short, with all that was heard of it.
#[track_caller]
fn must_be_interrupted(last: &Value, heard: &str) {
    assert_eq!((&last["type"], &last["turn"]["status"]), (&json!("done"), &json!("interrupted")), "{last}");
    let text = last["turn"]["assistant_response"]["content"].as_str().unwrap();
    assert!(text.contains(heard) && Echo::text(&long_message()).starts_with(text), "{text:?}");
}

#[test]
fn a_server_that_is_told_to_stop_takes_no_message_finishes_its_turn_and_leaves_the_others_alone() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database);
    let mut witness = Witness::start(&serving);
    let (server, client) = serving.start();
    witness.must_be_untouched();
    let (busy, idle) = (client.create(), client.create());
    let mut events = client.send(&busy, SHORT);
    events.read_text(1);
    // Half of a request is there before the signal, the other half comes after it.
    let whole = request("POST", &format!("/api/chat/{idle}/send"), &[], Some(&json!({"message": "late"})));
    let (before, after) = whole.split_at(20);
    let mut connection = client.connect().unwrap();
    connection.write_all(before).unwrap();
    server.signal("TERM");
    assert!(until(PATIENCE, || client.connect().is_err()), "it still takes connections");
    let mut answer = Vec::new();
    // The connection may be closed at any point of this.
    let _ = connection.write_all(after).and_then(|()| connection.read_to_end(&mut answer).map(drop));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let done = events.last();
    assert_eq!((&done["type"], &done["turn"]["status"]), (&json!("done"), &json!("complete")), "{done}");
    assert_eq!(done["turn"]["assistant_response"]["content"], Echo::text(SHORT).as_str());
    must_have_ended_well(server);
    assert_eq!(witness.client.turns(&busy), [done["turn"].clone()]);
    assert_eq!(witness.client.turns(&idle), Vec::<Value>::new());
    witness.must_be_untouched();
    witness.stop();
    serving.must_be_sound();
}

#[test]
fn a_server_whose_grace_time_is_over_keeps_its_turn_interrupted_and_leaves_the_others_alone() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database);
    let mut witness = Witness::start(&serving);
    let (server, client) = serving.clone().with("chat.server.drain_ms", 300).start();
    let id = client.create();
    let mut events = client.send(&id, &long_message());
    let heard = events.read_text(80);
    server.signal("TERM");
    let last = events.last();
    must_be_interrupted(&last, &heard);
    must_have_ended_well(server);
    assert_eq!(witness.client.turns(&id), [last["turn"].clone()]);
    assert_eq!(witness.client.session(&id)["state"], "idle");
    witness.must_be_untouched();
    witness.stop();
    serving.must_be_sound();
}
