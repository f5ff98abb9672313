//! Two servers on one file: each sees what the other does, and neither gets into the other's way.
//!
//! Not here: one of them dies (`recovery`).

use std::thread;

use serde_json::{Value, json};

use super::http::{Answer, Client, Sent};
use super::server::Serving;

const N_THREADS: usize = 8;
const N_SENDS: usize = 12;

#[test]
fn what_one_server_does_the_other_shows_and_a_turn_under_way_on_one_is_busy_on_both() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db")).with_delay(50);
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let id = one.create();
    let mut events = one.send(&id, &"all work and no play ".repeat(20));
    let heard = events.read_text(16);

    let session = other.session(&id);
    assert_eq!(session["state"], "processing");
    assert!(session["pending"]["user_message"].as_str().unwrap().starts_with("all work"));
    for client in [one, other] {
        let busy = client.refused(&id, "me too");
        assert_eq!((busy.status, &busy.body["code"]), (409, &json!("busy")), "{busy:?}");
        let refused = client.post(&format!("/api/chat/{id}/rewind"), &json!({"turns": 1}));
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    // It is heard on both.
    let heard_elsewhere = other.attach(&id).unwrap();
    let done = events.last();
    assert_eq!(heard_elsewhere.last(), done);
    assert_eq!((&done["type"], &done["turn"]["status"]), (&json!("done"), &json!("complete")), "{done}");
    assert!(done["turn"]["assistant_response"]["content"].as_str().unwrap().starts_with(&heard));
    assert_eq!(other.turns(&id), one.turns(&id));
    assert_eq!(other.send(&id, "now I").last()["turn_count"], 2);
    assert_eq!(one.turns(&id).len(), 2);
    assert_eq!(other.attach(&id).unwrap().last()["turn_count"], 2);
    // And stopped through either.
    let mut events = one.send(&id, &"all work and no play ".repeat(20));
    events.read_text(16);
    let cancel = other.post(&format!("/api/chat/{id}/cancel"), &Value::Null);
    assert_eq!((cancel.status, &cancel.body["cancelled"]), (202, &json!(true)), "{cancel:?}");
    assert_eq!(other.session(&id)["state"], "idle", "it is kept when the answer comes");
    assert_eq!(events.last()["turn"]["error"]["code"], "cancelled");
    first.stop();
    assert_eq!(other.send(&id, "alone").last()["turn_count"], 4);
    second.stop();
    serving.must_be_sound();
}

/// Sends until it is taken; the turn.
fn insist(client: Client, id: &str, message: &str) -> Value {
    loop {
        match client.try_send(id, message, "delta", None).unwrap() {
            Sent::Taken(events) => {
                let done = events.last();
                assert_eq!(done["type"], "done", "{done}");
                return done["turn"].clone();
            }
            Sent::Refused(Answer { status: 409, body }) if body["code"] == "busy" => thread::yield_now(),
            Sent::Refused(answer) => panic!("{answer:?}"),
        }
    }
}

#[test]
fn messages_that_both_servers_take_at_the_same_time_for_the_same_sessions_are_all_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db"));
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let sessions = [one.create(), other.create()];
    let mut told: Vec<Vec<Value>> = vec![Vec::new(); sessions.len()];
    thread::scope(|scope| {
        let clients: Vec<_> = (0..N_THREADS)
            .map(|number| {
                let client = if number % 2 == 0 { one } else { other };
                let sessions = &sessions;
                scope.spawn(move || {
                    let send = |send: usize| {
                        let session = (number / 2 + send) % sessions.len();
                        (session, insist(client, &sessions[session], &format!("message {number} {send}")))
                    };
                    (0..N_SENDS).map(send).collect::<Vec<_>>()
                })
            })
            .collect();
        for client in clients {
            for (session, turn) in client.join().unwrap() {
                told[session].push(turn);
            }
        }
    });
    for (id, mut told) in sessions.iter().zip(told) {
        told.sort_by_key(|turn| turn["turn_number"].as_u64());
        assert_eq!(one.turns(id), told);
        assert_eq!(other.turns(id), told);
    }
    first.stop();
    second.stop();
    serving.must_be_sound();
    println!(
        "campaign: two_servers target=server clients={N_THREADS} acked={} lost=0 doubled=0",
        N_THREADS * N_SENDS
    );
}
