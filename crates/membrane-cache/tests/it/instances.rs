//! Two instances on one PostgreSQL and one Redis: what one writes and deletes shows through the other at once.

use std::sync::Arc;

use membrane_cache::CachedStore;
use membrane_core::event::EventSeq;
use membrane_core::turn::SignalKind;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::conformance::fixture::Fixture;
use membrane_store::{Store, Write};
use membrane_testservers::{Database, Postgres, Redis};

use crate::stage::{cached, n_values, only_shared, rich_session, shared, thread, until_values};

async fn instance(database: &Database) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(PostgresOptions::at(database.url())).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_writes_and_deletes_shows_through_the_other_at_once() {
    let redis = Redis::start().unwrap();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let bare = instance(&database).await;
    let a = Arc::new(CachedStore::new(instance(&database).await, &shared(&redis)).await.unwrap());
    let b = cached(&instance(&database).await, &shared(&redis)).await;
    let (f, a) = (Fixture::new(Arc::clone(&b)), (Arc::clone(&a) as Arc<dyn Store>, a));
    let id = rich_session(&f, 150).await;
    let fork = f.fork(&id, 100).await;
    for round in 0..20 {
        for id in [&id, &fork] {
            let whole = thread(&bare, id).await;
            assert_eq!(thread(&a.0, id).await, whole, "round {round}");
            assert_eq!(thread(&b, id).await, whole, "round {round}");
        }
        match round % 4 {
            0 => drop(f.append(&id, 7).await),
            1 => drop(f.append(&fork, 1).await),
            2 => drop(f.signal(&fork, round, SignalKind::Negative).await),
            _ => drop(f.rewind(&id, 120).await),
        }
    }
    f.until("pages are shared", || async { n_values(&redis) > 0 }).await;
    f.delete(&id).await;
    assert_eq!(thread(&a.0, &id).await, None);
    assert_eq!(thread(&a.0, &fork).await, thread(&bare, &fork).await);
    f.delete(&fork).await;
    assert_eq!(thread(&a.0, &fork).await, None);
    assert_eq!(a.1.memory_bytes(), 0, "what is known to be gone is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_reads_what_another_shared_and_a_deletion_takes_it_away() {
    let redis = Redis::start().unwrap();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let store = instance(&database).await;
    let f = Fixture::new(cached(&store, &shared(&redis)).await);
    let id = rich_session(&f, 130).await;
    f.thread(&id).await;
    until_values(&f, &redis, 3).await;
    let other = cached(&instance(&database).await, &only_shared(&redis)).await;
    let hits = || info(&redis, "keyspace_hits");
    let before = hits();
    assert_eq!(thread(&other, &id).await, thread(&store, &id).await);
    assert_eq!(hits() - before, 3, "each page is found");
    assert!(redis.command(&["EVAL", SHORTEST_LIFE, "0"]).unwrap().parse::<u64>().unwrap() > 0);
    f.delete(&id).await;
    assert_eq!(n_values(&redis), 0);
    assert_eq!(thread(&other, &id).await, None);
}

/// The milliseconds that the value which goes first has left; none has for ever.
const SHORTEST_LIFE: &str = "local least = 600001; for _, key in ipairs(redis.call('KEYS', '*')) do \
     least = math.min(least, redis.call('PTTL', key)) end; return least";

fn info(redis: &Redis, name: &str) -> u64 {
    let all = redis.command(&["INFO", "stats"]).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_events_lets_go_of_what_another_deleted() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let a = Arc::new(CachedStore::new(instance(&database).await, &crate::stage::eager()).await.unwrap());
    let f = Fixture::new(instance(&database).await);
    let id = f.session(100).await;
    a.load_thread(&id, 0..100).await.unwrap().unwrap();
    assert!(a.memory_bytes() > 0);
    let place = a.event_bounds().await.unwrap().newest;
    assert!(place > EventSeq::default());
    f.write(Write::DeleteSession { session: id }).await;
    a.list_events(place, 100).await.unwrap();
    assert_eq!(a.memory_bytes(), 0);
}
