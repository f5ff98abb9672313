//! What a shared cache may hold that is not so: random bytes, values of other keys, and the truth of another time.

use std::fs;
use std::sync::Arc;

use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::Store;
use membrane_store::conformance::fixture::Fixture;
use membrane_testservers::Redis;

use crate::stage::{cached, n_values, only_shared, rich_session, shared, thread, until_values};

/// Each of these does something to every value and gives their number.
const POISONS: [&str; 5] = [
    // Random bytes.
    "for _, key in ipairs(redis.call('KEYS', '*')) do local bytes = {}; for i = 1, math.random(0, 999) do \
     bytes[i] = string.char(math.random(0, 255)) end; redis.call('SET', key, table.concat(bytes)) end; return 1",
    // The values of other keys.
    "local keys = redis.call('KEYS', '*'); local first = redis.call('GET', keys[1]); for i = 1, #keys - 1 do \
     redis.call('SET', keys[i], redis.call('GET', keys[i + 1])) end; redis.call('SET', keys[#keys], first); return 1",
    // Cut off.
    "for _, key in ipairs(redis.call('KEYS', '*')) do local value = redis.call('GET', key); \
     redis.call('SET', key, string.sub(value, 1, math.floor(#value / 2))) end; return 1",
    // One bit.
    "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('SETBIT', key, 5000, \
     1 - redis.call('GETBIT', key, 5000)) end; return 1",
    // Another kind of value.
    "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', key); redis.call('RPUSH', key, 'a') end; return 1",
];

async fn on_file(folder: &std::path::Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(SqliteOptions::at(folder.join("keep.db"))).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_cache_changes_nothing_that_is_read() {
    let redis = Redis::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = on_file(folder.path()).await;
    let f = Fixture::new(cached(&store, &only_shared(&redis)).await);
    let ids = [rich_session(&f, 150).await, rich_session(&f, 150).await];
    for poison in POISONS {
        for id in &ids {
            f.thread(id).await;
        }
        f.until("all pages are shared", || async { n_values(&redis) >= 6 }).await;
        assert_eq!(redis.command(&["EVAL", poison, "0"]).unwrap(), "1");
        for id in &ids {
            assert_eq!(Some(f.thread(id).await), thread(&store, id).await, "{poison}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cached_before_an_older_state_came_back_is_not_taken_for_what_came_after() {
    let redis = Redis::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, aside) = (folder.path().join("keep.db"), folder.path().join("aside.db"));
    let store = on_file(folder.path()).await;
    let f = Fixture::new(Arc::clone(&store));
    let id = f.session(70).await;
    store.close().await.unwrap();
    fs::copy(&file, &aside).unwrap();

    // What is said now is lost, but not for the cache.
    let store = on_file(folder.path()).await;
    let first = f.on(cached(&store, &shared(&redis)).await);
    first.append(&id, 50).await;
    let lost = first.thread(&id).await;
    until_values(&f, &redis, 2).await;
    let name = store.keep_name().await.unwrap();
    store.close().await.unwrap();
    fs::copy(&aside, &file).unwrap();

    // The same places get other turns: fewer, as many, and more.
    let store = on_file(folder.path()).await;
    assert_eq!(store.keep_name().await.unwrap(), name, "it goes by its name");
    let second = f.on(cached(&store, &shared(&redis)).await);
    assert_eq!(Some(second.thread(&id).await), thread(&store, &id).await);
    for count in [10, 40, 20] {
        second.append(&id, count).await;
        let fresh = f.on(cached(&store, &only_shared(&redis)).await);
        let truth = thread(&store, &id).await.unwrap();
        assert_eq!(second.thread(&id).await, truth, "after {count} more");
        assert_eq!(fresh.thread(&id).await, truth, "after {count} more");
        assert_ne!(truth.turns.get(70), lost.turns.get(70));
    }
}
