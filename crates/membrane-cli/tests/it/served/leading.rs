//! Several servers on one PostgreSQL database: one of them does what is done once for all.
//!
//! Not here: what the work is, and who may lead by the store's rules.

use std::path::Path;

use membrane_testservers::{Database, Postgres};

use super::http::Client;
use super::server::{PATIENCE, ServerProcess, Serving, until};

const LEADER: &str = "membrane_leader{role=\"sweeper\"}";

fn start(database: &Database, lease_ms: u64) -> (Serving, Vec<(ServerProcess, Client)>) {
    let serving = Serving::on(Path::new(&database.url()))
        .with("chat.runs.lease_ms", lease_ms)
        .with("chat.runs.renew_ms", 100);
    let servers = (0..3).map(|_| serving.start()).collect();
    (serving, servers)
}

/// Waits until one leads; its place among the servers.
#[track_caller]
fn leader(servers: &[(ServerProcess, Client)]) -> usize {
    let leads = |(_, client): &(ServerProcess, Client)| client.metric(LEADER) == "1";
    let mut found = None;
    assert!(until(PATIENCE, || {
        found = servers.iter().position(leads);
        found.is_some()
    }));
    found.unwrap()
}

/// Looks for a while: what a second leader would need to show itself.
#[track_caller]
fn only_one_leads(servers: &[(ServerProcess, Client)]) {
    let place = leader(servers);
    for _ in 0..30 {
        for (number, (_, client)) in servers.iter().enumerate() {
            assert_eq!(client.metric(LEADER) == "1", number == place, "server {number}, {place} leads");
        }
    }
}

#[test]
fn one_of_three_servers_leads_and_another_does_when_it_is_killed_or_stopped() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    // Longer than a test may take: whoever leads next does not do so because a lease has expired.
    let (serving, mut servers) = start(&database, 3_600_000);
    only_one_leads(&servers);
    let (killed, _) = servers.remove(leader(&servers));
    killed.kill();
    only_one_leads(&servers);
    let (stopped, _) = servers.remove(leader(&servers));
    stopped.stop();
    only_one_leads(&servers);
    let (last, _) = servers.remove(0);
    last.stop();
    assert_eq!(database.execute("SELECT count(*) FROM leaders").unwrap(), "0", "it is given up");
    serving.must_be_sound();
}

#[test]
fn a_server_that_stands_still_loses_the_lead_when_its_lease_expires() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let (_serving, mut servers) = start(&database, 1_000);
    let (frozen, client) = servers.remove(leader(&servers));
    frozen.signal("STOP");
    only_one_leads(&servers);
    frozen.signal("CONT");
    // It was another's by the time it could look again.
    assert!(until(PATIENCE, || client.metric(LEADER) == "0"));
    servers.push((frozen, client));
    only_one_leads(&servers);
    for (server, _) in servers {
        server.stop();
    }
}
