//! A call with an idempotency key happens once, though the server was killed before it could answer.
//!
//! Not here: keys while the server lives, which are `membrane-http`'s.

use std::path::Path;

use membrane::responder::Echo;
use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::{FULL_CUTS, Settings};
use membrane_testservers::Postgres;
use serde_json::{Value, json};

use super::http::{Client, Sent};
use super::server::Serving;

/// Sends again what was sent before; the last event.
#[track_caller]
fn again(client: Client, id: &str, message: &str, key: &str) -> Value {
    match client.try_send(id, message, "delta", Some(key)).unwrap() {
        Sent::Taken(events) => events.last(),
        Sent::Refused(answer) => panic!("{answer:?}"),
    }
}

#[test]
fn a_send_that_is_repeated_after_a_kill_is_the_same_turn_and_never_two() {
    let settings = Settings::from_environment().unwrap();
    let n_rounds = if settings.n_cuts == FULL_CUTS { 30 } else { 6 };
    let mut choices = Choices::of_item(settings.seed, 0x6b65_7973);
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db")).with_delay(20);
    let (mut server, mut client) = serving.start();
    let id = client.create();
    for round in 0..n_rounds {
        let (message, key) = (format!("message {round}"), format!("key-{round}"));
        // Some are killed before anything was read, some after the last event.
        let n_events = choices.below(9);
        let mut seen = None;
        if let Sent::Taken(mut events) = client.try_send(&id, &message, "delta", Some(&key)).unwrap() {
            for _ in 0..n_events {
                seen = events.try_next().unwrap().or(seen);
            }
        }
        server.kill();
        (server, client) = serving.start();

        let first = again(client, &id, &message, &key);
        assert_eq!((&first["type"], &first["turn_count"]), (&json!("done"), &json!(round + 1)), "{first}");
        if let Some(seen) = seen.filter(|seen| seen["type"] == "done") {
            assert_eq!(seen["turn"]["id"], first["turn"]["id"]);
        }
        let second = again(client, &id, &message, &key);
        assert_eq!(first["turn"], second["turn"]);
        let turns = client.turns(&id);
        assert_eq!(turns.len(), round + 1);
        assert_eq!(turns[round], first["turn"]);
        assert_eq!(turns[round]["user_message"]["content"], message.as_str());
        let answer = turns[round]["assistant_response"]["content"].as_str().unwrap();
        assert!(Echo::text(&message).starts_with(answer), "{answer:?}");

        let other = client.try_send(&id, "something else", "delta", Some(&key)).unwrap();
        let Sent::Refused(other) = other else { panic!("another message under the same key was taken") };
        assert_eq!((other.status, &other.body["code"]), (409, &json!("key_reused")));
    }
    server.stop();
    serving.must_be_sound();
}

#[test]
fn a_fork_a_rewind_and_a_new_session_that_are_repeated_after_a_kill_happened_once() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db"));
    let (server, client) = serving.start();
    let id = client.create();
    for message in ["one", "two", "three"] {
        assert_eq!(client.send(&id, message).last()["type"], "done");
    }
    let calls = [
        ("/api/chat/session".to_owned(), json!({"project_id": "p"})),
        (format!("/api/chat/{id}/fork"), json!({"branch_name": "b", "fork_point": 2})),
        (format!("/api/chat/{id}/rewind"), json!({"turns": 1})),
        (format!("/api/chat/{id}/checkpoint"), json!({"name": "c"})),
    ];
    let call = |client: Client| calls.each_ref().map(|(path, body)| client.post_with_key(path, body, "k"));
    let before = call(client);
    server.kill();
    let (server, client) = serving.start();
    for (before, after) in before.iter().zip(call(client)) {
        assert_eq!((before.status, &before.body["id"]), (after.status, &after.body["id"]));
    }
    assert_eq!(client.get("/api/chat/sessions")["total"], 3);
    assert_eq!(client.turns(&id).len(), 2);
    let checkpoints = client.get(&format!("/api/chat/{id}/checkpoints"));
    let named = |found: &&Value| found["kind"] == "named";
    assert_eq!(checkpoints["checkpoints"].as_array().unwrap().iter().filter(named).count(), 1);
    server.stop();
}

/// Kills a server in the middle of an answer, and sends the message again to another one, which does not look for such
/// turns by itself for an hour.
fn a_repeated_send_closes_what_a_killed_server_left(serving: &Serving) {
    let serving =
        serving.clone().with_delay(50).with("chat.runs.flush_ms", 20).with("chat.runs.recover_ms", 3_600_000);
    let (other_server, other) = serving.start();
    let (killed, client) = serving.start();
    let (id, message) = (client.create(), "all work and no play ".repeat(500));
    let Sent::Taken(mut events) = client.try_send(&id, &message, "delta", Some("k")).unwrap() else {
        panic!("the message was not taken")
    };
    events.read_text(80);
    let Sent::Taken(mut elsewhere) = other.try_send(&id, &message, "delta", Some("k")).unwrap() else {
        panic!("the turn is under way elsewhere, and can be followed")
    };
    elsewhere.read_text(80);
    killed.kill();
    // The database may take a moment to notice.
    let first = again(other, &id, &message, "k");
    assert_eq!(elsewhere.last(), first, "who listened is told the same");
    assert_eq!(
        (&first["type"], &first["turn"]["status"]),
        (&json!("done"), &json!("interrupted")),
        "{first}"
    );
    assert_eq!(again(other, &id, &message, "k")["turn"], first["turn"]);
    assert_eq!(other.turns(&id), [first["turn"].clone()]);
    other_server.stop();
    serving.must_be_sound();
}

#[test]
fn a_send_that_is_repeated_at_another_server_closes_the_turn_of_a_killed_one_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    a_repeated_send_closes_what_a_killed_server_left(&Serving::on(&folder.path().join("keep.db")));
}

#[test]
fn a_send_that_is_repeated_at_another_server_closes_the_turn_of_a_killed_one_on_postgresql() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    a_repeated_send_closes_what_a_killed_server_left(&Serving::on(Path::new(&database.url())));
}
