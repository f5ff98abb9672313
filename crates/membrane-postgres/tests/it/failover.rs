//! Several servers in one URL: when the primary one goes, the store goes on with the one that takes its place.

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::SessionId;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::StoreError;
use membrane_store::conformance::fixture::{Fixture, append};
use membrane_testservers::Postgres;

use crate::keep::options;

/// Appends a turn once, however often the database has to be asked; how often it refused.
async fn insist(f: &Fixture, session: &SessionId, text: &str) -> usize {
    let turn = f.turn(text);
    let change = || {
        let key = f.key(Some(session), text, "turn");
        f.change().once(Some(key)).write(append(session, vec![turn.clone()]))
    };
    let mut n_refused = 0;
    loop {
        match f.store.commit(change()).await {
            Ok(_) => return n_refused,
            Err(StoreError::Unavailable { .. }) => n_refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_on_with_the_server_that_was_promoted_and_stays_there() {
    let first = Postgres::start().unwrap();
    let database = first.create_database().unwrap();
    let second = first.start_standby().unwrap();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
    let url = format!("postgresql://postgres@{hosts}/{}", database.name());
    let patience = Duration::from_secs(2);
    let opened = PostgresOptions { timeout: patience, connect_timeout: patience, ..options(url) };
    let f = Fixture::new(Arc::new(PostgresStore::open(opened).await.unwrap()));
    let id = f.session(3).await;
    // It stops only when the standby has got everything.
    first.stop().unwrap();
    let reason = f.store.ready().await.unwrap_err().to_string();
    assert!(
        reason.contains("none of its servers is the primary") || reason.contains("be reached"),
        "{reason}"
    );
    assert!(insist_until_promoted(&f, &id, &second).await > 0, "it was refused before");
    f.store.ready().await.unwrap();
    // The old one comes back, and nobody writes to it though it stands first.
    first.restart_as_standby().unwrap();
    let name = database.name();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    second.databases().execute(&cut).unwrap();
    insist(&f, &id, "after the cut").await;
    assert_eq!(f.said(&id).await[3..], ["after the change", "after the cut"]);
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
    f.store.close().await.unwrap();
}

/// The standby is promoted once the first try was refused.
async fn insist_until_promoted(f: &Fixture, session: &SessionId, standby: &Postgres) -> usize {
    let change = f.change().write(append(session, vec![f.turn("nobody takes it")]));
    let refused = f.store.commit(change).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    assert_eq!(standby.databases().execute("SELECT pg_promote()").unwrap(), "t");
    1 + insist(f, session, "after the change").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_keeps_nobody_from_the_next() {
    let (still, server) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    let database = server.create_database().unwrap();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", still.port(), server.port());
    let url = format!("postgresql://postgres@{hosts}/{}", database.name());
    let patience = Duration::from_secs(2);
    let opened = PostgresOptions { timeout: patience, connect_timeout: patience, ..options(url) };
    // It takes connections, as its system does so for it.
    still.pause().unwrap();
    let f = Fixture::new(Arc::new(PostgresStore::open(opened).await.unwrap()));
    let id = f.session(1).await;
    insist(&f, &id, "meanwhile").await;
    f.store.ready().await.unwrap();
    assert_eq!(f.said(&id).await.last().map(String::as_str), Some("meanwhile"));
    f.store.close().await.unwrap();
    still.resume().unwrap();
}
