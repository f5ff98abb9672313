//! Whether a store is ready: what stands in its way is named, with what to do, in time; and it is ready again without having
//! been opened anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use membrane_core::ids::SessionId;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::{Store, StoreError};
use membrane_testservers::{Database, Postgres, PostgresOptions as ServerOptions};

use crate::keep::{database, impatient, open, options};
use crate::opening::says;

/// Why it is not ready.
async fn trouble(store: &PostgresStore) -> String {
    match store.ready().await {
        Err(StoreError::Unavailable { reason, retry_after }) => {
            assert!(retry_after > Duration::ZERO);
            // It goes to whoever can reach the port.
            for secret in ["127.0.0.1", "postgres@", "hush", "membrane_test"] {
                assert!(!reason.contains(secret), "{secret} in {reason}");
            }
            reason.into_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// Waits until it is not ready for a reason with these words.
async fn becomes_unready(store: &PostgresStore, words: &[&str]) {
    loop {
        match store.ready().await {
            Err(StoreError::Unavailable { reason, .. }) if words.iter().all(|word| reason.contains(word)) => {
                return;
            }
            Ok(()) | Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn becomes_ready(store: &PostgresStore) {
    while store.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn cut_off(server: &Postgres, database: &str) {
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    server.databases().execute(&sql).unwrap();
}

/// A transaction of somebody else's that holds a table for itself.
async fn hold_table(database: &Database) -> (tokio_postgres::Client, tokio::task::JoinHandle<()>) {
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    client.batch_execute("BEGIN; LOCK TABLE chat_sessions").await.unwrap();
    (client, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_free_connection_is_told_with_its_numbers_and_probes_take_none() {
    let database = database();
    let opened = PostgresOptions { timeout: Duration::from_secs(6), pool_size: 3, ..options(database.url()) };
    let store = Arc::new(PostgresStore::open(opened).await.unwrap());
    store.ready().await.unwrap();
    let (blocker, _task) = hold_table(&database).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.find_session(&SessionId::from_stored("nobody")).await })
        })
        .collect();
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while database.execute(at_work).unwrap() != "3" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let probes: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { trouble(&store).await })
        })
        .collect();
    for probe in probes {
        let reason = probe.await.unwrap();
        says(
            &reason,
            &["all 3 connections", "more calls wait", "none was free for ", "membrane doctor", "pool_size"],
        );
    }
    // One after the other it would be minutes.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}: they stood in line", begun.elapsed());
    blocker.batch_execute("ROLLBACK").await.unwrap();
    for call in calls {
        // Some had their time; none was lost.
        match call.await.unwrap() {
            Ok(found) => assert!(found.is_none()),
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}"),
        }
    }
    store.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_or_is_away_is_told_in_time() {
    let server = Postgres::start().unwrap();
    let store = PostgresStore::open(impatient(server.admin_url())).await.unwrap();
    store.ready().await.unwrap();
    server.pause().unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        says(&trouble(&store).await, &["in time"]);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    server.resume().unwrap();
    becomes_ready(&store).await;
    server.stop().unwrap();
    becomes_unready(&store, &["cannot be reached", "start it"]).await;
    server.restart().unwrap();
    becomes_ready(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_under_way_is_told_once_connections_are_made_anew() {
    let server = Postgres::start_with(&ServerOptions::default().password("hush")).unwrap();
    let database = server.create_database().unwrap();
    database
        .execute("CREATE ROLE keeper LOGIN PASSWORD 'hush'; GRANT CREATE ON SCHEMA public TO keeper")
        .unwrap();
    let store = open(database.url().replace("//postgres:", "//keeper:")).await;
    server.databases().execute("ALTER ROLE keeper PASSWORD 'other'").unwrap();
    store.ready().await.unwrap();
    cut_off(&server, database.name());
    becomes_unready(&store, &["refuses user and password", "set the password back"]).await;
    server.databases().execute("ALTER ROLE keeper PASSWORD 'hush'").unwrap();
    becomes_ready(&store).await;
    server.databases().execute("ALTER ROLE keeper NOLOGIN").unwrap();
    cut_off(&server, database.name());
    becomes_unready(&store, &["may not log in", "ALTER ROLE"]).await;
    server.databases().execute("ALTER ROLE keeper LOGIN CONNECTION LIMIT 0").unwrap();
    becomes_unready(&store, &["no connection left", "max_connections"]).await;
    server.databases().execute("ALTER ROLE keeper CONNECTION LIMIT -1").unwrap();
    becomes_ready(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_dropped_emptied_and_brought_back() {
    let server = Postgres::start().unwrap();
    server.databases().execute("CREATE DATABASE keep").unwrap();
    let store = open(server.url("keep")).await;
    store.ready().await.unwrap();
    server.databases().execute("DROP DATABASE keep WITH (FORCE)").unwrap();
    becomes_unready(&store, &["database is gone", "pg_restore"]).await;
    server.databases().execute("CREATE DATABASE keep").unwrap();
    becomes_unready(&store, &["holds no keep", "membrane migrate"]).await;
    open(server.url("keep")).await.close().await.unwrap();
    becomes_ready(&store).await;
    server.databases().execute("ALTER DATABASE keep ALLOW_CONNECTIONS false").unwrap();
    cut_off(&server, "keep");
    becomes_unready(&store, &["closed to connections", "ALLOW_CONNECTIONS true"]).await;
    server.databases().execute("ALTER DATABASE keep ALLOW_CONNECTIONS true").unwrap();
    becomes_ready(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_for_a_while() {
    let server = Postgres::start().unwrap();
    let store = PostgresStore::open(impatient(server.admin_url())).await.unwrap();
    server.databases().execute("ALTER SYSTEM SET default_transaction_read_only = on").unwrap();
    server.databases().execute("SELECT pg_reload_conf()").unwrap();
    becomes_unready(&store, &["takes no writes", "default_transaction_read_only"]).await;
    server.databases().execute("ALTER SYSTEM RESET default_transaction_read_only").unwrap();
    server.databases().execute("SELECT pg_reload_conf()").unwrap();
    becomes_ready(&store).await;
    server.restart_as_standby().unwrap();
    becomes_unready(&store, &["takes no writes", "standby", "primary"]).await;
    server.restart().unwrap();
    becomes_ready(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_loses_a_right_under_way() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE ROLE keeper LOGIN").unwrap();
    open(database.url()).await.close().await.unwrap();
    let all = "ALL ON ALL TABLES IN SCHEMA public";
    let sequences = "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO keeper";
    database.execute(&format!("GRANT {all} TO keeper; {sequences}")).unwrap();
    let store = open(database.url().replace("postgres@", "keeper@")).await;
    store.ready().await.unwrap();
    for right in ["INSERT", "SELECT"] {
        database.execute(&format!("REVOKE {right} ON ALL TABLES IN SCHEMA public FROM keeper")).unwrap();
        says(&trouble(&store).await, &["may not use its tables", "grant SELECT"]);
    }
    database.execute(&format!("GRANT {all} TO keeper")).unwrap();
    store.ready().await.unwrap();
}
