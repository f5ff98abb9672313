//! A server that goes, stands still and comes back under an open store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use membrane_core::ids::SessionId;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::{Store, StoreError};
use membrane_testservers::Postgres;

use crate::keep::{impatient, open, options};

fn nobody() -> SessionId {
    SessionId::from_stored("nobody")
}

fn is_unavailable<T: std::fmt::Debug>(found: Result<T, StoreError>) {
    match found {
        Err(StoreError::Unavailable { retry_after, .. }) => assert!(retry_after > Duration::ZERO),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_after_the_server_was_started_again() {
    let server = Postgres::start().unwrap();
    let store = Arc::new(PostgresStore::open(impatient(server.admin_url())).await.unwrap());
    for _ in 0..2 {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut outcomes = (0, 0);
                    // Until it has failed, and then gone well again.
                    while outcomes.1 == 0 || outcomes.0 == 0 {
                        let begun = Instant::now();
                        match store.find_session(&nobody()).await {
                            Ok(found) => {
                                assert!(found.is_none());
                                outcomes.1 += i32::from(outcomes.0 > 0);
                            }
                            Err(StoreError::Unavailable { .. }) => outcomes.0 += 1,
                            Err(error) => panic!("{error:?}"),
                        }
                        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        server.stop().unwrap();
        is_unavailable(store.find_session(&nobody()).await);
        is_unavailable(store.list_sessions(&SessionFilter::default(), &PageRequest::first(10)).await);
        assert!(store.gauges().await.unwrap().bytes > 0 || store.gauges().await.unwrap().sessions == 0);
        server.restart().unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    }
    server.kill_9().unwrap();
    is_unavailable(store.find_session(&nobody()).await);
    server.restart().unwrap();
    while store.find_session(&nobody()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_costs_a_call_its_time_and_no_more() {
    let server = Postgres::start().unwrap();
    let store = Arc::new(PostgresStore::open(impatient(server.admin_url())).await.unwrap());
    server.pause().unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let begun = Instant::now();
                is_unavailable(store.find_session(&nobody()).await);
                begun.elapsed()
            })
        })
        .collect();
    for call in calls {
        let took = call.await.unwrap();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    server.resume().unwrap();
    while store.find_session(&nobody()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_cancelled_at_the_server() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    let store = PostgresStore::open(impatient(database.url())).await.unwrap();
    // A lock of another's, which a reader has to wait for.
    let url = database.url();
    let (tell, locked) = tokio::sync::oneshot::channel();
    let blocker = tokio::task::spawn_blocking(move || {
        let _ = tell.send(());
        database.execute("BEGIN; LOCK TABLE chat_sessions; SELECT pg_sleep(3); COMMIT").map(|_| database)
    });
    locked.await.unwrap();
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'membrane' AND state = 'active'";
    let databases = server.databases();
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IS NOT NULL";
    while databases.execute(held).unwrap() == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_unavailable(store.find_session(&nobody()).await);
    while databases.execute(waits).unwrap() != "0" {
        assert_ne!(databases.execute(held).unwrap(), "0", "it went on for as long as the lock was held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _database = blocker.await.unwrap().unwrap();
    assert!(store.find_session(&nobody()).await.unwrap().is_none(), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_answers_nothing_and_finishes_what_was_asked_before() {
    let database = crate::keep::database();
    let store = Arc::new(open(database.url()).await);
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.check().await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    for call in asked {
        match call.await.unwrap() {
            Ok(lines) => assert_eq!(lines, Vec::<String>::new()),
            Err(error) => assert!(matches!(error, StoreError::Closed), "{error:?}"),
        }
    }
    assert!(matches!(store.find_session(&nobody()).await, Err(StoreError::Closed)));
    assert!(matches!(store.close().await, Err(StoreError::Closed)));
    let n = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'membrane'";
    while database.execute(n).unwrap() != "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn connections_are_told_of_and_are_no_more_than_allowed() {
    let database = crate::keep::database();
    let store =
        PostgresStore::open(PostgresOptions { pool_size: 2, ..options(database.url()) }).await.unwrap();
    let found = store.gauges().await.unwrap().connections.unwrap();
    assert_eq!((found.limit, found.open, found.in_use, found.waiting), (2, 1, 0, 0));
}
