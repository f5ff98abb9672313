//! Who is alive: locks of the server, which go with the connection that has them.

use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::{Store, StoreError};
use membrane_testservers::{Database, Postgres};

use crate::keep::{database, impatient, open, options};

fn id(name: &str) -> InstanceId {
    InstanceId::from_stored(name)
}

async fn list_dead(store: &PostgresStore, names: &[&str]) -> Vec<String> {
    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    let dead = store.list_dead_instances(&ids).await.unwrap();
    dead.iter().map(|id| id.as_str().to_owned()).collect()
}

/// Waits until these are dead, which they are as soon as the server has noticed.
async fn die(store: &PostgresStore, names: &[&str]) {
    while list_dead(store, names).await != names {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Cuts the connections off that hold locks of instances.
fn cut_off(database: &Database) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert!(database.execute(sql).unwrap().starts_with('t'));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_see_each_other_and_who_let_go_is_dead_at_once() {
    let database = database();
    let (one, two) = (open(database.url()).await, open(database.url()).await);
    one.hold_instance(&id("a")).await.unwrap();
    two.hold_instance(&id("b")).await.unwrap();
    for store in [&one, &two] {
        assert_eq!(list_dead(store, &["a", "b", "c"]).await, ["c"]);
    }
    one.close().await.unwrap();
    assert_eq!(list_dead(&two, &["a", "b", "c"]).await, ["a", "c"]);
    assert_eq!(database.execute("SELECT id FROM instances").unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_held_by_one_store_at_a_time() {
    let database = database();
    let one = open(database.url()).await;
    one.hold_instance(&id("a")).await.unwrap();
    let two = PostgresStore::open(impatient(database.url())).await.unwrap();
    let refused = two.hold_instance(&id("a")).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable { reason, .. }) if reason.contains("another store")),
        "{refused:?}"
    );
    // The refused one may hold others.
    two.hold_instance(&id("b")).await.unwrap();
    one.close().await.unwrap();
    two.hold_instance(&id("a")).await.unwrap();
    assert_eq!(list_dead(&two, &["a", "b"]).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_without_a_word_is_dead() {
    let database = database();
    let one = open(database.url()).await;
    let two = open(database.url()).await;
    one.hold_instance(&id("a")).await.unwrap();
    drop(one);
    // What is left of it is its row.
    let deleted = database.execute("SELECT count(*) FROM instances").unwrap();
    assert_eq!(deleted, "1");
    die(&two, &["a"]).await;
    assert_eq!(database.execute("SELECT count(*) FROM instances").unwrap(), "0", "it is swept");
    assert_eq!(list_dead(&two, &["a"]).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_off_is_made_again_before_anybody_takes_its_owner_for_dead() {
    let database = database();
    let (one, two) = (open(database.url()).await, open(database.url()).await);
    one.hold_instance(&id("a")).await.unwrap();
    one.hold_instance(&id("b")).await.unwrap();
    for _ in 0..3 {
        cut_off(&database);
        assert_eq!(list_dead(&two, &["a", "b"]).await, Vec::<String>::new());
    }
    drop(one);
    die(&two, &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_of_the_server_proves_nobody_dead() {
    let server = Postgres::start().unwrap();
    let (one, two) = (
        PostgresStore::open(impatient(server.admin_url())).await.unwrap(),
        PostgresStore::open(impatient(server.admin_url())).await.unwrap(),
    );
    one.hold_instance(&id("lives")).await.unwrap();
    let gone = PostgresStore::open(impatient(server.admin_url())).await.unwrap();
    gone.hold_instance(&id("gone")).await.unwrap();
    server.stop().unwrap();
    // It goes while the server is down: nobody can tell it from one that is only slow.
    drop(gone);
    server.restart().unwrap();
    let dead = loop {
        let ids = [id("lives"), id("gone"), id("nobody")];
        match two.list_dead_instances(&ids).await {
            Ok(dead) => break dead,
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(dead, [id("nobody")]);
    // The one that lives takes its lock again by itself, under the new server.
    let held =
        "SELECT count(*) FROM instances WHERE id = 'lives' AND incarnation = pg_postmaster_start_time()";
    while server.databases().execute(held).unwrap() != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(list_dead(&two, &["lives"]).await, Vec::<String>::new());
    drop(one);
    die(&two, &["lives"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_in_one_database_know_nothing_of_each_others_instances() {
    let database = database();
    database.execute("CREATE SCHEMA other").unwrap();
    let one = open(database.url()).await;
    let two = PostgresStore::open(options(format!("{}?options=-c%20search_path%3Dother", database.url())))
        .await
        .unwrap();
    one.hold_instance(&id("a")).await.unwrap();
    assert_eq!(list_dead(&two, &["a"]).await, ["a"]);
    two.hold_instance(&id("a")).await.unwrap();
    let _: PostgresOptions = options(database.url());
}
