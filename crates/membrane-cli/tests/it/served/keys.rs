//! A call with an idempotency key happens once, though the server was killed before it could answer.
//!
//! Not here: keys while the server lives, which are `membrane-http`'s.

use membrane::responder::Echo;
use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::{FULL_CUTS, Settings};
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
