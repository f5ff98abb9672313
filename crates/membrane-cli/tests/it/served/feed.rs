//! The feed of what happens to sessions, over processes: another server's and the command line's writes are heard, and
//! whoever comes back misses nothing.

use serde_json::json;

use super::http::{Client, Events};
use super::server::Serving;

/// Opens the feed and waits until it has begun.
#[track_caller]
fn follow(client: Client) -> Events {
    let mut feed = client.feed(None);
    assert_eq!(feed.next(), json!({"type": "start"}));
    feed
}

#[track_caller]
fn must_tell(feed: &mut Events, expected: &[(&str, u64)], id: &str) {
    for (kind, version) in expected {
        assert_eq!(feed.next(), json!({"type": kind, "session_id": id, "version": version}));
    }
}

#[test]
fn what_the_command_line_and_another_server_write_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db"));
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let mut feed = follow(one);
    let id = other.create();
    must_tell(&mut feed, &[("session.created", 1)], &id);
    assert_eq!(other.send(&id, "hi").last()["turn_count"], 1);
    must_tell(&mut feed, &[("run.started", 1), ("turn.added", 2), ("run.ended", 2)], &id);
    let turn = ["append", &id, "--user", "from a shell", "--assistant", "so it is"];
    let appended = serving.command(&turn).output().unwrap();
    assert!(appended.status.success(), "{}", String::from_utf8_lossy(&appended.stderr));
    must_tell(&mut feed, &[("turn.added", 3)], &id);
    // What is told can be read.
    assert_eq!(one.session(&id)["turn_count"], 2);
    first.stop();
    second.stop();
    assert_eq!(feed.try_next().unwrap(), None, "the feed ends with its server");
    serving.must_be_sound();
}

#[test]
fn whoever_comes_back_to_a_server_that_was_killed_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db"));
    let (server, client) = serving.start();
    let mut feed = follow(client);
    let id = client.create();
    must_tell(&mut feed, &[("session.created", 1)], &id);
    let place = feed.last_id().to_owned();
    assert_eq!(client.send(&id, "hi").last()["turn_count"], 1);
    server.kill();
    let (server, client) = serving.start();
    let mut feed = client.feed(Some(&place));
    must_tell(&mut feed, &[("run.started", 1), ("turn.added", 2), ("run.ended", 2)], &id);
    let mut stale = client.feed(Some("1"));
    assert_eq!(stale.next(), json!({"type": "reset"}));
    assert_eq!(client.session(&id)["turn_count"], 1);
    server.stop();
    serving.must_be_sound();
}
