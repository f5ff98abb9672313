//! Stores with a cache before them, made so that every read goes through it.

use std::sync::Arc;
use std::time::Duration;

use membrane_cache::{CacheOptions, CachedStore, SharedOptions};
use membrane_core::ids::SessionId;
use membrane_store::conformance::fixture::{Fixture, append};
use membrane_store::{Store, Thread};
use membrane_testservers::Redis;

/// Every read is kept, however short.
pub(crate) fn eager() -> CacheOptions {
    CacheOptions { min_turns: 0, keeps_first_read: true, ..CacheOptions::default() }
}

/// With a server that instances share. Long enough a wait for a machine that is busy.
pub(crate) fn shared(redis: &Redis) -> CacheOptions {
    let shared = SharedOptions { timeout: Duration::from_secs(10), ..SharedOptions::at(redis.url()) };
    CacheOptions { shared: Some(shared), ..eager() }
}

/// With nothing but that.
pub(crate) fn only_shared(redis: &Redis) -> CacheOptions {
    CacheOptions { memory_bytes: 0, ..shared(redis) }
}

pub(crate) async fn cached(store: &Arc<dyn Store>, options: &CacheOptions) -> Arc<dyn Store> {
    Arc::new(CachedStore::new(Arc::clone(store), options).await.unwrap())
}

pub(crate) async fn thread(store: &Arc<dyn Store>, id: &SessionId) -> Option<Thread> {
    store.load_thread(id, 0..u64::MAX).await.unwrap()
}

/// How many values the server holds.
pub(crate) fn n_values(redis: &Redis) -> u64 {
    redis.command(&["DBSIZE"]).unwrap().parse().unwrap()
}

/// Waits until the server holds so many: they are put in the background.
pub(crate) async fn until_values(f: &Fixture, redis: &Redis, n: u64) {
    f.until("the pages are shared", || async { n_values(redis) == n }).await;
}

/// A session of `count` turns with tools and text of all kinds.
pub(crate) async fn rich_session(f: &Fixture, count: u64) -> SessionId {
    let id = f.create().await;
    let turn = |number: u64| match number % 3 {
        0 => f.tool_turn(&format!("tool {number}"), number.is_multiple_of(2)),
        1 => f.turn(&"\u{0}ü".repeat(usize::try_from(number).unwrap())),
        _ => f.turn(&format!("plain {number}")),
    };
    let turns = (0..count).map(turn).collect();
    f.write(append(&id, turns)).await;
    id
}
