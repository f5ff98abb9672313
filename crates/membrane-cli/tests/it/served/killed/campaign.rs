//! The campaign: kills, restarts, and the judgement at the end.

use std::thread;
use std::time::Duration;

use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::{FULL_CUTS, Settings};

use super::super::http::Client;
use super::super::server::{ServerProcess, Serving};
use super::client::Player;
use super::findings::Findings;
use super::shared::Shared;
use super::stage::Stage;

const N_CLIENTS: u64 = 16;
const N_SHARED: usize = 3;
const N_KILLS: usize = 50;

/// How many events are heard between two kills, at the most.
const MAX_EVENTS: usize = 1500;

/// What a server needs at the most to open a file and recover it; some are killed in the middle of that.
const MAX_START: usize = 60;

#[test]
fn what_a_server_acknowledged_is_there_once_and_in_order_however_often_it_is_killed() {
    let settings = Settings::from_environment().unwrap();
    let n_kills = if settings.n_cuts == FULL_CUTS { N_KILLS } else { N_KILLS / 10 };
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db")).with_delay(4);
    let (first, client) = serving.start();
    let shared = (0..N_SHARED).map(|_| Shared::new(client.create())).collect();
    let stage = Stage::new(client, shared);

    let (players, last) = thread::scope(|scope| {
        // Whatever fails in here, the server goes, and with it the clients.
        let mut server = first;
        let players: Vec<_> = (0..N_CLIENTS)
            .map(|number| {
                let player = Player::new(&stage, Choices::of_item(settings.seed, number));
                scope.spawn(|| player.play())
            })
            .collect();
        let mut choices = Choices::of_item(settings.seed, N_CLIENTS);
        for _ in 0..n_kills {
            stage.wait_for_events(choices.below(MAX_EVENTS) as u64);
            stage.kills();
            server.kill();
            server = start_again(&serving, &mut choices);
            stage.serves(Client::of(server.addr()));
        }
        stage.wait_for_events(MAX_EVENTS as u64 / 2);
        stage.end();
        (players.into_iter().map(|player| player.join().unwrap()).collect::<Vec<_>>(), server)
    });

    // Once more, so that what is judged is what the file holds.
    last.kill();
    let (server, client) = serving.start();
    let (findings, n_interrupted) = judge(&stage, players, client);
    server.stop();
    serving.must_be_sound();
    let n_acknowledged = stage.n_acknowledged.into_inner();
    println!(
        "campaign: served_kills target=server clients={N_CLIENTS} kills={n_kills} acked={n_acknowledged} \
         interrupted={n_interrupted} lost={} doubled={} reordered={} seed={}",
        findings.n_lost, findings.n_doubled, findings.n_reordered, settings.seed
    );
    assert_eq!(findings, Findings::default());
    assert!(n_interrupted > 0, "kills must land in turns");
}

/// The next server, which may be killed a few times before it is up.
fn start_again(serving: &Serving, choices: &mut Choices) -> ServerProcess {
    while choices.one_in(4) {
        let server = serving.spawn();
        thread::sleep(Duration::from_millis(choices.below(MAX_START) as u64));
        server.kill();
    }
    serving.spawn()
}

/// Holds all that is there against all that was told; also how many turns were interrupted.
fn judge(stage: &Stage, players: Vec<Player<'_>>, client: Client) -> (Findings, usize) {
    use std::sync::atomic::Ordering::SeqCst;
    let mut findings = Findings::default();
    let mut n_interrupted = 0;
    for mut player in players {
        for book in &mut player.books {
            book.close(client, &mut findings);
            n_interrupted += book.turns.iter().filter(|turn| !turn.is_complete()).count();
        }
        findings.add(player.findings);
    }
    for shared in &stage.shared {
        shared.close(client, &mut findings);
    }
    let (n_made, n_maybe) = (stage.n_made.load(SeqCst) as u64, stage.n_maybe_made.load(SeqCst) as u64);
    let n_found = client.get("/api/chat/sessions?limit=1")["total"].as_u64().unwrap();
    if !(n_made..=n_made + n_maybe).contains(&n_found) {
        findings
            .tell(format!("{n_found} sessions, of {n_made} that were made and {n_maybe} that may have been"));
    }
    (findings, n_interrupted)
}
