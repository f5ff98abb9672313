//! A server on a PostgreSQL database that is in trouble, or holds something back: what a client sees of it.
//!
//! Not here: several servers (`many_servers`), and what the store does below (`membrane-postgres`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use membrane_crashtest::small_disk::{SmallDisk, on_small_disk};
use membrane_testservers::{Database, Postgres, PostgresOptions};
use serde_json::{Value, json};

use super::http::{Client, request};
use super::server::{PATIENCE, Serving, until};

fn serving(url: &str) -> Serving {
    Serving::on(Path::new(url)).with("chat.runs.recover_ms", 200)
}

/// What `/ready` answers, head and all.
fn ready(client: Client) -> String {
    let mut stream = client.connect().unwrap();
    stream.write_all(&request("GET", "/ready", &[], None)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn becomes_ready(client: Client) {
    assert!(until(PATIENCE, || ready(client).starts_with("HTTP/1.1 200")), "{}", ready(client));
}

/// Waits until it is not ready for a reason with these words, and looks at the answer.
fn becomes_unready(client: Client, words: &[&str]) {
    let is_so = |answer: &str| words.iter().all(|word| answer.contains(word));
    let mut answer = String::new();
    let became = until(PATIENCE, || {
        answer = ready(client);
        is_so(&answer)
    });
    assert!(became, "{words:?}: {answer}");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("\"code\":\"unavailable\""), "{answer}");
    for secret in ["hush", "psst", "keeper", "127.0.0.1"] {
        assert!(!answer.contains(secret), "{answer}");
    }
}

#[test]
fn ready_names_what_is_wrong_and_is_well_again_without_a_restart() {
    let server = Postgres::start_with(&PostgresOptions::default().password("hush")).unwrap();
    let admin = server.databases();
    let sql = |text: &str| {
        admin.execute(text).unwrap();
    };
    sql("CREATE ROLE keeper LOGIN PASSWORD 'hush'");
    sql("CREATE DATABASE kept OWNER keeper");
    let cut_off = || sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kept'");
    let url = server.url("kept").replace("//postgres:", "//keeper:");
    let serving = serving(&url).with("chat.postgres.timeout_ms", 2_000);
    let (process, client) = serving.start();
    becomes_ready(client);
    let id = client.create();

    sql("ALTER ROLE keeper PASSWORD 'psst'");
    cut_off();
    becomes_unready(client, &["refuses user and password", "set the password back"]);
    sql("ALTER ROLE keeper PASSWORD 'hush'");
    becomes_ready(client);

    sql("ALTER SYSTEM SET default_transaction_read_only = on");
    sql("SELECT pg_reload_conf()");
    becomes_unready(client, &["takes no writes", "default_transaction_read_only is on; switch it off"]);
    let refused = client.post("/api/chat/session", &json!({}));
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")), "{refused:?}");
    assert_eq!(client.session(&id)["id"], id.as_str(), "reading goes on");
    sql("ALTER SYSTEM RESET default_transaction_read_only");
    sql("SELECT pg_reload_conf()");
    becomes_ready(client);
    assert_eq!(client.send(&id, "still here").last()["turn_count"], 1);

    // Whoever is cut off is connected again at the next moment, unless nobody may be.
    sql("ALTER DATABASE kept ALLOW_CONNECTIONS false");
    cut_off();
    sql("ALTER DATABASE kept RENAME TO elsewhere");
    sql("ALTER DATABASE elsewhere ALLOW_CONNECTIONS true");
    becomes_unready(client, &["database is gone", "pg_restore"]);
    sql("ALTER DATABASE elsewhere RENAME TO kept");
    becomes_ready(client);

    server.pause().unwrap();
    becomes_unready(client, &["in time"]);
    server.resume().unwrap();
    becomes_ready(client);
    server.stop().unwrap();
    becomes_unready(client, &["cannot be reached", "start it"]);
    server.restart().unwrap();
    becomes_ready(client);
    assert_eq!(client.turns(&id).len(), 1);
    process.stop();
    serving.must_be_sound();
}

/// Makes each commit that tells an event of this session wait for an advisory lock.
fn hold_commits(database: &Database, id: &str) {
    let sql = format!(
        "CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER held AFTER INSERT ON told_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             WHEN ('{id}' = ANY (NEW.session_ids)) EXECUTE FUNCTION wait_for_lock()"
    );
    database.execute(&sql).unwrap();
}

#[test]
fn a_commit_that_is_held_open_across_anothers_is_told_after_it_and_not_passed_over() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database.url()).with("chat.postgres.timeout_ms", 60_000);
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let (held, free) = (one.create(), other.create());
    hold_commits(&database, &held);
    let mut feed = one.feed(None);
    assert_eq!(feed.next(), json!({"type": "start"}));
    let told = |feed: &mut super::http::Events, id: &str| {
        for (kind, version) in [("run.started", 1), ("turn.added", 2), ("run.ended", 2)] {
            assert_eq!(feed.next(), json!({"type": kind, "session_id": id, "version": version}));
        }
    };
    let of_locks = "FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
    let counts = |what: &str| database.execute(&format!("SELECT count(*) {of_locks} AND {what}")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| database.execute("SELECT pg_advisory_lock(4711), pg_sleep(600)"));
        assert!(until(PATIENCE, || counts("granted") == "1"));
        let sent = scope.spawn(|| one.send(&held, "held").last());
        assert!(until(PATIENCE, || counts("NOT granted") == "1"), "its transaction is open");
        assert_eq!(other.send(&free, "free").last()["turn_count"], 1);
        told(&mut feed, &free);
        let end =
            format!("SELECT pg_terminate_backend(pid) {of_locks} AND granted AND mode = 'ExclusiveLock'");
        database.execute(&end).unwrap();
        told(&mut feed, &held);
        assert_eq!(sent.join().unwrap()["turn_count"], 1);
    });
    first.stop();
    second.stop();
    serving.must_be_sound();
}

#[test]
fn messages_of_four_mebibytes_with_nul_come_back_byte_for_byte() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database.url()).with("chat.echo.piece_chars", 100_000);
    let (process, client) = serving.start();
    let id = client.create();
    let unit = "é\0\u{1}0🙂\u{1}\u{1} and so on, ";
    let long = unit.repeat((4 << 20) / unit.len());
    let messages = [long.as_str(), "\0", "\u{1}", "\0\u{1}\0", "ends in \0"];
    for message in messages {
        assert_eq!(client.send(&id, message).last()["type"], "done");
    }
    let is_same = |client: Client| {
        let turns = client.turns(&id);
        assert_eq!(turns.len(), messages.len());
        for (turn, message) in turns.iter().zip(messages) {
            let said = turn["user_message"]["content"].as_str().unwrap();
            assert!(said == message, "{} bytes of {} are as they were", said.len(), message.len());
            // The echo repeats what it was told.
            let answer = turn["assistant_response"]["content"].as_str().unwrap();
            assert!(answer.contains(message), "{} bytes of {}", answer.len(), message.len());
        }
    };
    is_same(client);
    process.stop();
    // And from another process, which has nothing in memory.
    let (process, client) = serving.start();
    is_same(client);
    process.stop();
    serving.must_be_sound();
}

fn on_disk(name: &str, body: impl FnOnce(&SmallDisk)) {
    let test = format!("served::on_postgres::{name}");
    println!("{}", on_small_disk(&test, 48 << 20, body).unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn a_full_disk_under_the_database_answers_507_and_afterwards_all_works_again() {
    on_disk("a_full_disk_under_the_database_answers_507_and_afterwards_all_works_again", |disk| {
        let cluster = Postgres::start().unwrap();
        // Its user must get to a folder of its own there.
        let place = disk.path().join("tables");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let owner = fs::metadata(cluster.socket_folder()).unwrap();
        let (uid, gid) =
            (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        std::os::unix::fs::chown(&place, Some(uid), Some(gid)).unwrap();
        let admin = cluster.databases();
        admin.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display())).unwrap();
        admin.execute("CREATE DATABASE kept TABLESPACE small TEMPLATE template0").unwrap();
        let serving = serving(&cluster.url("kept"));
        let (process, client) = serving.start();
        let id = client.create();
        assert_eq!(client.send(&id, "before").last()["type"], "done");
        let mut ballast = disk.fill("ballast", 0).unwrap();
        let metadata = json!({"project_id": "x".repeat(4000)});
        let mut n_made = 1;
        let is_full = until(PATIENCE, || {
            let answer = client.post("/api/chat/session", &metadata);
            n_made += usize::from(answer.status == 201);
            assert!([201, 507].contains(&answer.status), "{answer:?}");
            answer.status == 507
        });
        assert!(is_full, "the disk must become full");
        let answer = client.post("/api/chat/session", &metadata);
        assert_eq!((answer.status, &answer.body["code"]), (507, &json!("storage_full")), "{answer:?}");
        assert_eq!(client.turns(&id).len(), 1, "reading goes on");
        assert!(
            ready(client).starts_with("HTTP/1.1 200"),
            "a full disk does not make it unready: {}",
            ready(client)
        );
        ballast.shrink(ballast.n_bytes()).unwrap();
        let mut made: Option<Value> = None;
        assert!(until(PATIENCE, || {
            let answer = client.post("/api/chat/session", &metadata);
            made = (answer.status == 201).then_some(answer.body);
            made.is_some()
        }));
        assert_eq!(client.send(&id, "after").last()["type"], "done");
        let counted = client.get("/api/chat/sessions?limit=1");
        assert_eq!(counted["total"], n_made + 1, "what was refused did not come later");
        process.stop();
        serving.must_be_sound();
    });
}
