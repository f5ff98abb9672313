//! The disk under a server fills and has room again.
//!
//! Not here: how the small disk comes about (`membrane_crashtest::small_disk`), and full disks below the library.

use membrane::responder::Echo;
use membrane_crashtest::small_disk::{Ballast, SmallDisk, on_small_disk};
use serde_json::{Value, json};

use super::http::Client;
use super::server::{PATIENCE, Serving, until};

const DISK_BYTES: u64 = 24 << 20;

fn on_disk(name: &str, body: impl FnOnce(&SmallDisk)) {
    let test = format!("served::full_disk::{name}");
    println!("{}", on_small_disk(&test, DISK_BYTES, body).unwrap_or_else(|error| panic!("{error}")));
}

fn serving(disk: &SmallDisk) -> Serving {
    Serving::on(&disk.path().join("keep.db"))
}

/// Fills the disk and makes sure that nothing finds room any more, not in what the log had left either.
fn fill(disk: &SmallDisk, client: Client) -> Ballast {
    let ballast = disk.fill("ballast", 0).unwrap();
    let id = client.create_or_none();
    let is_full = until(PATIENCE, || id.is_none() || client.create_or_none().is_none());
    assert!(is_full, "the disk must become full");
    ballast
}

impl Client {
    /// A new session's id, or nothing if there is no room for it.
    fn create_or_none(&self) -> Option<String> {
        let answer = self.post("/api/chat/session", &json!({"project_id": "x".repeat(4000)}));
        match (answer.status, &answer.body["code"]) {
            (201, _) => Some(answer.body["id"].as_str().unwrap().to_owned()),
            (507, code) if code == "storage_full" => None,
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn while_the_disk_is_full_writes_answer_507_reads_go_on_and_afterwards_all_works_again() {
    on_disk("while_the_disk_is_full_writes_answer_507_reads_go_on_and_afterwards_all_works_again", |disk| {
        let serving = serving(disk);
        let (server, client) = serving.start();
        let id = client.create();
        for number in 0..5 {
            assert_eq!(client.send(&id, &format!("message {number}")).last()["type"], "done");
        }
        let turns = client.turns(&id);

        let ballast = fill(disk, client);
        let long = "x".repeat(100_000);
        let mut n_refused = 0;
        for _ in 0..3 {
            let answer = client.refused(&id, &long);
            assert_eq!((answer.status, &answer.body["code"]), (507, &json!("storage_full")), "{answer:?}");
            for (path, body) in [
                ("/api/chat/session".to_owned(), json!({"project_id": long[..4000]})),
                (format!("/api/chat/{id}/fork"), json!({"branch_name": long[..4000]})),
                (format!("/api/chat/{id}/checkpoint"), json!({"name": long[..4000]})),
                (format!("/api/chat/{id}/rewind"), json!({"turns": 1})),
                (
                    format!("/api/chat/{id}/feedback"),
                    json!({"turn_number": 0, "signal": "positive", "comment": long[..4000]}),
                ),
            ] {
                let answer = client.post(&path, &body);
                assert_eq!(
                    (answer.status, &answer.body["code"]),
                    (507, &json!("storage_full")),
                    "{path}: {answer:?}"
                );
                n_refused += 1;
            }
            assert_eq!(client.turns(&id), turns);
            assert_eq!(client.session(&id)["state"], "idle");
            client.get("/api/chat/sessions");
            client.get(&format!("/api/chat/{id}/evidence"));
            assert_eq!(client.get("/health")["status"], "ok");
        }

        ballast.remove().unwrap();
        let done = client.send(&id, &long).last();
        assert_eq!((&done["type"], &done["turn_count"]), (&json!("done"), &json!(6)));
        assert_eq!(client.turns(&id)[..5], turns);
        server.stop();
        serving.must_be_sound();
        println!(
            "campaign: served_full_disk target=server disk_bytes={DISK_BYTES} refused={n_refused} lost=0"
        );
    });
}

/// Sends a message whose answer is under way when the disk fills. Gives its reader.
fn send_and_fill(
    disk: &SmallDisk,
    client: Client,
    id: &str,
    message: &str,
) -> (super::http::Events, Ballast) {
    let mut events = client.send(id, message);
    events.read_text(1);
    let ballast = fill(disk, client);
    assert_eq!(client.session(id)["state"], "processing", "the answer must still be under way");
    (events, ballast)
}

/// A message whose answer takes about three seconds and more room than a log has left.
fn message() -> String {
    "all work and no play ".repeat(3000)
}

fn slow(disk: &SmallDisk) -> Serving {
    serving(disk).with_delay(30).with("chat.echo.piece_chars", 630).with("chat.runs.flush_ms", 50)
}

/// The turn is there as a whole.
#[track_caller]
fn must_be_whole(client: Client, id: &str, message: &str) {
    let turns = client.turns(id);
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0]["status"], "complete");
    assert_eq!(turns[0]["assistant_response"]["content"], Echo::text(message));
}

#[test]
fn an_answer_under_way_when_the_disk_fills_is_kept_when_there_is_room_before_its_end() {
    on_disk("an_answer_under_way_when_the_disk_fills_is_kept_when_there_is_room_before_its_end", |disk| {
        let serving = slow(disk);
        let (server, client) = serving.start();
        let (id, message) = (client.create(), message());
        let (mut events, ballast) = send_and_fill(disk, client, &id, &message);
        events.read_text(message.len() / 2);
        ballast.remove().unwrap();
        let done = events.last();
        assert_eq!(
            (&done["type"], &done["turn"]["status"]),
            (&json!("done"), &json!("complete")),
            "{}",
            done["error"]
        );
        must_be_whole(client, &id, &message);
        server.stop();
        serving.must_be_sound();
    });
}

#[test]
fn a_reader_whose_answer_finds_no_room_is_told_and_the_turn_is_kept_when_there_is_some() {
    on_disk("a_reader_whose_answer_finds_no_room_is_told_and_the_turn_is_kept_when_there_is_some", |disk| {
        let serving = slow(disk);
        let (server, client) = serving.start();
        let (id, message) = (client.create(), message());
        let (events, ballast) = send_and_fill(disk, client, &id, &message);
        let last = events.last();
        assert_eq!(
            (&last["type"], &last["code"]),
            (&json!("error"), &json!("storage_full")),
            "{}",
            last["error"]
        );
        let session = client.session(&id);
        assert_eq!(session["pending"]["user_message"], message.as_str());
        let busy = client.refused(&id, "more");
        assert_eq!((busy.status, &busy.body["code"]), (409, &json!("busy")), "{busy:?}");

        ballast.remove().unwrap();
        let is_kept = until(PATIENCE, || client.session(&id)["pending"] == Value::Null);
        assert!(is_kept, "{}", client.session(&id));
        must_be_whole(client, &id, &message);
        assert_eq!(client.send(&id, "more").last()["turn_count"], 2);
        server.stop();
        serving.must_be_sound();
    });
}

#[test]
fn a_server_that_starts_on_a_full_disk_serves_readers_and_closes_what_a_dead_one_left_when_there_is_room() {
    on_disk(
        "a_server_that_starts_on_a_full_disk_serves_readers_and_closes_what_a_dead_one_left_when_there_is_room",
        |disk| {
            let serving = slow(disk).with("chat.runs.recover_ms", 100);
            let (server, client) = serving.start();
            let (id, message) = (client.create(), message());
            let (_events, ballast) = send_and_fill(disk, client, &id, &message);
            server.kill();
            let (server, client) = serving.start();
            assert_eq!(client.session(&id)["pending"]["user_message"], message.as_str());
            // The dead server's turn would have to be closed first.
            let refused = client.refused(&id, "more");
            assert_eq!((refused.status, &refused.body["code"]), (507, &json!("storage_full")), "{refused:?}");

            ballast.remove().unwrap();
            let is_closed = until(PATIENCE, || client.session(&id)["pending"] == Value::Null);
            assert!(is_closed, "the turn is still under way");
            let turns = client.turns(&id);
            assert_eq!((turns.len(), &turns[0]["status"]), (1, &json!("interrupted")));
            assert_eq!(client.send(&id, "more").last()["turn_count"], 2);
            server.stop();
            serving.must_be_sound();
        },
    );
}
