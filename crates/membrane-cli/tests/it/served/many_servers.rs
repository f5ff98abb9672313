//! Several servers on one PostgreSQL database: what one does the others show and tell, and neither their deaths nor the
//! database's lose or double what was acknowledged.
//!
//! Not here: what the store promises of itself, which is `membrane-postgres`'s.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use membrane_crashtest::settings::Settings;
use membrane_testservers::{Database, PgBouncer, PoolMode, Postgres, Redis};
use serde_json::{Value, json};

use super::http::{Client, Sent};
use super::server::{PATIENCE, ServerProcess, Serving, until};

const N_SERVERS: usize = 3;
const N_CLIENTS: usize = 32;

/// Fewer clients that talk for longer, so that threads are long enough for a cache.
const N_TALKERS: usize = 4;
const N_LONG: usize = 60;

/// How long all is well between two disturbances. A database that starts takes its clients longer to come back to.
const PEACE: Duration = Duration::from_millis(100);
const PEACE_AFTER_A_START: Duration = Duration::from_millis(400);

fn serving(database: &Database) -> Serving {
    serving_at(&database.url())
}

fn serving_at(url: &str) -> Serving {
    Serving::on(Path::new(url)).with("chat.runs.recover_ms", 200)
}

/// How many messages each client has.
fn n_messages() -> usize {
    if Settings::from_environment().unwrap().is_full { 100 } else { 8 }
}

#[test]
fn what_one_server_does_the_others_show_and_tell() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database);
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let mut feed = one.feed(None);
    assert_eq!(feed.next(), json!({"type": "start"}));
    let id = other.create();
    assert_eq!(other.send(&id, "is this \u{0} kept?").last()["turn_count"], 1);
    for (kind, version) in [("session.created", 1), ("run.started", 1), ("turn.added", 2), ("run.ended", 2)] {
        assert_eq!(feed.next(), json!({"type": kind, "session_id": id, "version": version}));
    }
    assert_eq!(one.turns(&id), other.turns(&id));
    assert_eq!(one.turns(&id)[0]["user_message"]["content"], "is this \u{0} kept?");
    let deleted = serving.command(&["delete", &id]).output().unwrap();
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert_eq!(one.try_get(&format!("/api/chat/session/{id}")).unwrap().status, 404);
    first.stop();
    second.stop();
    serving.must_be_sound();
}

#[test]
fn the_turn_of_a_killed_server_is_closed_by_another_and_a_live_ones_goes_on() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let serving = serving(&database).with_delay(50).with("chat.runs.flush_ms", 20);
    let (killed, client) = serving.start();
    let (witness, other) = serving.start();
    let message = "all work and no play ".repeat(500);
    let of_witness = other.create();
    let mut of_witness_events = other.send(&of_witness, &message);
    of_witness_events.read_text(10);
    let id = client.create();
    client.send(&id, &message).read_text(80);
    assert_eq!(other.session(&id)["state"], "processing");
    killed.kill();
    assert!(until(PATIENCE, || other.session(&id)["state"] == "idle"), "nobody closed the turn");
    let turns = other.turns(&id);
    assert_eq!((turns.len(), &turns[0]["status"]), (1, &json!("interrupted")));
    assert_eq!(other.session(&of_witness)["state"], "processing", "its own turn goes on");
    of_witness_events.read_text(10);
    witness.signal("TERM");
    witness.signal("TERM");
    let ended = witness.wait_for_end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    serving.must_be_sound();
}

/// Servers behind which one asks in turn; any of them may be dead at the moment.
struct Fleet {
    serving: Serving,
    servers: Vec<Mutex<Option<(ServerProcess, Client)>>>,
    next: AtomicUsize,
}

impl Fleet {
    fn start(serving: Serving) -> Self {
        // With few connections each, so that three leave room on a server for others.
        let serving = serving.with("chat.postgres.pool_size", 8);
        let servers = (0..N_SERVERS).map(|_| Mutex::new(Some(serving.start()))).collect();
        Self { serving, servers, next: AtomicUsize::new(0) }
    }

    /// The next server that is not known to be dead.
    fn client(&self) -> Client {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed) % N_SERVERS;
            if let Some((_, client)) = self.servers[number].lock().unwrap().as_ref() {
                return *client;
            }
        }
    }

    fn kill_and_start_again(&self, number: usize) {
        let killed = self.servers[number].lock().unwrap().take();
        killed.unwrap().0.kill();
        let started = self.serving.start();
        *self.servers[number].lock().unwrap() = Some(started);
    }

    fn stop(self) -> Serving {
        for server in self.servers {
            server.into_inner().unwrap().unwrap().0.stop();
        }
        self.serving
    }

    /// Asks until there is an answer of this status.
    fn insist_on_create(&self) -> String {
        loop {
            match self.client().try_post("/api/chat/session", &json!({})) {
                Ok(answer) if answer.status == 201 => return answer.body["id"].as_str().unwrap().to_owned(),
                Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                Err(_) => {}
            }
        }
    }

    /// Sends a message under a key until some server says what became of it.
    fn insist(&self, id: &str, message: &str) -> Value {
        loop {
            match self.client().try_send(id, message, "delta", Some(message)) {
                Ok(Sent::Taken(mut events)) => {
                    let end = std::iter::from_fn(|| events.try_next().unwrap_or(None)).last();
                    if let Some(done) = end.filter(|event| event["type"] == "done") {
                        return done["turn"].clone();
                    }
                }
                Ok(Sent::Refused(answer)) => {
                    assert!([409, 503].contains(&answer.status), "{answer:?}");
                    thread::yield_now();
                }
                Err(_) => {}
            }
        }
    }
}

/// What was acknowledged must be there once, in order; the number of turns.
fn judge(client: Client, told: &[(String, Vec<Value>)]) -> usize {
    let mut n_turns = 0;
    for (id, told) in told {
        let kept = client.turns(id);
        let ids = |turns: &[Value]| turns.iter().map(|turn| turn["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&kept), ids(told), "session {id}");
        n_turns += kept.len();
    }
    n_turns
}

/// Every client talks in a session of its own while `disturb` is repeated, at least so often.
fn campaign(
    fleet: &Fleet,
    at_least: usize,
    peace: Duration,
    disturb: impl Fn(usize) + Sync,
) -> (Vec<(String, Vec<Value>)>, usize) {
    let n_messages = n_messages();
    let talk = |client: usize| {
        let id = fleet.insist_on_create();
        let say = |number| fleet.insist(&id, &format!("{client}: {number}"));
        let turns = (0..n_messages).map(say).collect::<Vec<_>>();
        (id, turns)
    };
    disturbed(N_CLIENTS, at_least, peace, disturb, talk)
}

/// Clients talk, each in a session of its own, while `disturb` is repeated, at least so often.
fn disturbed(
    n_clients: usize,
    at_least: usize,
    peace: Duration,
    disturb: impl Fn(usize) + Sync,
    talk: impl Fn(usize) -> (String, Vec<Value>) + Sync,
) -> (Vec<(String, Vec<Value>)>, usize) {
    let (told, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let n_disturbed = thread::scope(|scope| {
        let disturber = scope.spawn(|| {
            let mut number = 0;
            while number < at_least || !is_over.load(Ordering::Acquire) {
                disturb(number);
                number += 1;
                thread::sleep(peace);
            }
            number
        });
        let clients: Vec<_> = (0..n_clients)
            .map(|client| {
                let (told, talk) = (&told, &talk);
                scope.spawn(move || {
                    let talked = talk(client);
                    told.lock().unwrap().push(talked);
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        is_over.store(true, Ordering::Release);
        disturber.join().unwrap()
    });
    (told.into_inner().unwrap(), n_disturbed)
}

#[test]
fn three_servers_that_are_killed_in_turn_lose_and_double_nothing() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let fleet = Fleet::start(serving(&database));
    let (told, n_kills) = campaign(&fleet, 3, PEACE, |number| fleet.kill_and_start_again(number % N_SERVERS));
    let n_turns = judge(fleet.client(), &told);
    assert_eq!(n_turns, N_CLIENTS * n_messages());
    println!(
        "campaign: many_servers servers={N_SERVERS} clients={N_CLIENTS} kills={n_kills} acked={n_turns} lost=0 doubled=0"
    );
    fleet.stop().must_be_sound();
}

/// Behind PgBouncer in transaction mode, with a way past it for the locks that tell who is alive and without one, where the
/// lease of a killed server's turn has to expire.
#[test]
fn three_servers_behind_a_pooler_lose_and_double_nothing_when_they_are_killed() {
    for has_direct in [true, false] {
        let databases = Postgres::shared().unwrap();
        let database = databases.create_database().unwrap();
        let pooler = PgBouncer::start(&databases.admin_url(), PoolMode::Transaction).unwrap();
        let mut serving = serving_at(&pooler.url(database.name()))
            .with_text("chat.postgres.pooler", "transaction")
            .with("chat.runs.lease_ms", 2_000)
            .with("chat.runs.renew_ms", 500);
        if has_direct {
            serving = serving.with_text("chat.postgres.direct_url", &database.url());
        }
        let fleet = Fleet::start(serving);
        let (told, n_kills) =
            campaign(&fleet, 3, PEACE, |number| fleet.kill_and_start_again(number % N_SERVERS));
        let n_turns = judge(fleet.client(), &told);
        assert_eq!(n_turns, N_CLIENTS * n_messages());
        println!(
            "campaign: many_servers pooler=transaction direct={has_direct} servers={N_SERVERS} clients={N_CLIENTS} \
             kills={n_kills} acked={n_turns} lost=0 doubled=0"
        );
        fleet.stop().must_be_sound();
    }
}

#[test]
fn a_database_that_starts_again_in_the_middle_loses_and_doubles_nothing() {
    let mut cluster = Postgres::start().unwrap();
    let database = cluster.create_database().unwrap();
    let fleet = Fleet::start(serving(&database));
    let cluster = Mutex::new(&mut cluster);
    let (told, n_restarts) =
        campaign(&fleet, 5, PEACE_AFTER_A_START, |_| cluster.lock().unwrap().restart().unwrap());
    let n_turns = judge(fleet.client(), &told);
    assert_eq!(n_turns, N_CLIENTS * n_messages());
    println!(
        "campaign: database_restarts servers={N_SERVERS} clients={N_CLIENTS} restarts={n_restarts} acked={n_turns} lost=0 doubled=0"
    );
    fleet.stop().must_be_sound();
}

#[test]
fn a_shared_cache_that_is_emptied_stands_still_and_goes_away_changes_nothing_that_is_read() {
    let redis = Redis::start().unwrap();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let fleet = Fleet::start(serving(&database).with_text("chat.cache.url", &redis.url()));
    let disturb = |number| {
        match number % 5 {
            0 => redis.flush_all(),
            1 => redis.pause(),
            2 => redis.resume(),
            3 => redis.stop(),
            _ => redis.restart(),
        }
        .unwrap();
    };
    let talk = |client: usize| {
        let id = fleet.insist_on_create();
        let mut told = Vec::new();
        for number in 0..N_LONG {
            told.push(fleet.insist(&id, &format!("{client}: {number}")));
            // Through whichever server comes next: what one wrote the others show at once.
            judge(fleet.client(), &[(id.clone(), told.clone())]);
        }
        let fork = fleet.client().post(&format!("/api/chat/{id}/fork"), &json!({"branch_name": "gone"}));
        let gone = fork.body["id"].as_str().unwrap().to_owned();
        for _ in 0..N_SERVERS {
            assert_eq!(fleet.client().turns(&gone).len(), N_LONG);
        }
        let deleted = fleet.serving.command(&["delete", &gone]).output().unwrap();
        assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
        for _ in 0..N_SERVERS {
            assert_eq!(fleet.client().try_get(&format!("/api/chat/session/{gone}")).unwrap().status, 404);
        }
        (id, told)
    };
    let (told, n_disturbed) = disturbed(N_TALKERS, 10, PEACE, disturb, talk);
    let n_turns = judge(fleet.client(), &told);
    assert_eq!(n_turns, N_TALKERS * N_LONG);
    println!(
        "campaign: shared_cache servers={N_SERVERS} clients={N_TALKERS} disturbed={n_disturbed} acked={n_turns} lost=0 doubled=0"
    );
    fleet.stop().must_be_sound();
}
