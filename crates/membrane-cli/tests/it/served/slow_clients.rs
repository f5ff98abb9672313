//! Clients that stop in the middle of a request or never read an answer: others are served all the same, and the
//! server's memory stays within bounds.
//!
//! Not here: how long they are borne with, which is `membrane-http`'s.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{Client, Events, Sent};
use super::server::Serving;

const N_HALF: usize = 50;
const N_UNREAD: usize = 50;
const N_LARGE: usize = 20;

/// Connections on which half a request was sent.
fn half_requests(client: Client) -> Vec<TcpStream> {
    let halves: [&[u8]; 2] = [
        b"POST /api/chat/session HTTP/1.1\r\nHost: memb",
        b"POST /api/chat/session HTTP/1.1\r\nHost: membrane\r\nContent-Length: 100\r\n\r\n{\"project",
    ];
    let send = |number: usize| {
        let mut stream = client.connect().unwrap();
        stream.write_all(halves[number % halves.len()]).unwrap();
        stream
    };
    (0..N_HALF).map(send).collect()
}

/// Answers that nobody reads.
fn unread(client: Client, n_answers: usize, form: &str, message: &str) -> Vec<(String, Events)> {
    let send = |_| {
        let id = client.create();
        match client.try_send(&id, message, form, None).unwrap() {
            Sent::Taken(events) => (id, events),
            Sent::Refused(answer) => panic!("{answer:?}"),
        }
    };
    (0..n_answers).map(send).collect()
}

#[test]
fn clients_that_send_half_a_request_or_never_read_keep_nobody_from_being_served() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db")).with("chat.echo.piece_chars", 4096);
    let (server, client) = serving.start();
    let halves = half_requests(client);
    let unread = unread(client, N_UNREAD, "delta", &"x".repeat(300_000));

    let start = Instant::now();
    let id = client.create();
    for number in 0..20 {
        let done = client.send(&id, &format!("message {number}")).last();
        assert_eq!((&done["type"], &done["turn_count"]), (&json!("done"), &json!(number + 1)));
        assert_eq!(client.get("/ready")["status"], "ready");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for (id, _) in &unread {
        // Nobody reads, and yet it is kept.
        let is_kept = super::server::until(super::server::PATIENCE, || client.session(id)["turn_count"] == 1);
        assert!(is_kept, "{}", client.session(id));
    }
    drop((halves, unread));
    server.stop();
    serving.must_be_sound();
}

#[test]
fn large_answers_that_nobody_reads_take_a_bounded_amount_of_memory() {
    /// What an answer of 1 MiB may take: itself while it is made and as it is kept, and the frames on their way.
    const MAX_BYTES_EACH: u64 = 12 << 20;
    for form in ["delta", "cumulative"] {
        let folder = tempfile::tempdir().unwrap();
        let serving = Serving::on(&folder.path().join("keep.db"))
            .with("chat.echo.piece_chars", 4096)
            .with("chat.sqlite.cache_kib", 1024);
        let (server, client) = serving.start();
        let id = client.create();
        client.send(&id, &"x".repeat(1 << 20)).last();
        let before = server.memory_bytes();
        let unread = unread(client, N_LARGE, form, &"x".repeat(1 << 20));
        for (id, _) in &unread {
            let is_kept =
                super::server::until(super::server::PATIENCE, || client.session(id)["turn_count"] == 1);
            assert!(is_kept, "{}", client.session(id));
        }
        let grown = server.memory_bytes().saturating_sub(before);
        assert!(grown < MAX_BYTES_EACH * N_LARGE as u64, "{form}: it grew by {grown} bytes");
        println!(
            "campaign: unread_answers target=server form={form} answers={N_LARGE} grown_mib={}",
            grown >> 20
        );
        drop(unread);
        server.stop();
    }
}
