//! What this process keeps: no more than it may, and for threads that are read again.

use std::sync::Arc;

use membrane_cache::{CacheOptions, CachedStore};
use membrane_core::time::SystemClock;
use membrane_store::Store;
use membrane_store::conformance::fixture::{Fixture, append};
use membrane_store::memory::MemoryStore;

use crate::stage::eager;

const MAX_BYTES: u64 = 1 << 20;

async fn stage(options: CacheOptions) -> (Arc<dyn Store>, Arc<CachedStore>, Fixture) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let cached = Arc::new(CachedStore::new(Arc::clone(&store), &options).await.unwrap());
    let f = Fixture::new(Arc::clone(&cached) as Arc<dyn Store>);
    (store, cached, f)
}

#[tokio::test]
async fn memory_holds_no_more_than_it_may_however_much_is_read() {
    let (store, cached, f) = stage(CacheOptions { memory_bytes: MAX_BYTES, ..eager() }).await;
    let text = "x".repeat(4096);
    let mut ids = Vec::new();
    for _ in 0..20 {
        let id = f.create().await;
        f.write(append(&id, (0..64).map(|_| f.turn(&text)).collect())).await;
        ids.push(id);
    }
    for round in 0..3 {
        for id in &ids {
            assert_eq!(
                cached.load_thread(id, 0..99).await.unwrap(),
                store.load_thread(id, 0..99).await.unwrap()
            );
            let bytes = cached.memory_bytes();
            assert!(bytes <= MAX_BYTES, "{bytes} bytes in round {round}");
        }
    }
    assert!(cached.memory_bytes() > 0);
}

#[tokio::test]
async fn what_is_read_once_or_is_short_is_not_kept() {
    let (_, cached, f) = stage(CacheOptions { min_turns: 10, ..CacheOptions::default() }).await;
    let (short, long) = (f.session(9).await, f.session(10).await);
    for _ in 0..3 {
        f.thread(&short).await;
    }
    f.thread(&long).await;
    assert_eq!(cached.memory_bytes(), 0);
    f.thread(&long).await;
    let bytes = cached.memory_bytes();
    assert!(bytes > 0);
    cached.load_thread(&long, 3..9).await.unwrap().unwrap();
    assert_eq!(cached.memory_bytes(), bytes);
}

#[tokio::test]
async fn a_deletion_takes_what_was_kept_out_of_memory() {
    let (_, cached, f) = stage(eager()).await;
    let id = f.session(200).await;
    f.rewind(&id, 150).await;
    f.append(&id, 100).await;
    f.rewind(&id, 10).await;
    f.thread(&id).await;
    for checkpoint in cached.list_checkpoints(&id).await.unwrap() {
        cached.load_turns(checkpoint.cut, 0..u64::MAX).await.unwrap();
    }
    assert!(cached.memory_bytes() > 0);
    f.delete(&id).await;
    assert_eq!(cached.memory_bytes(), 0);
}
