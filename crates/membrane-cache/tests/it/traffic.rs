//! Traffic over two instances while the shared cache is emptied, stands still, goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use membrane_cache::{CacheOptions, SharedOptions};
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::Store;
use membrane_store::conformance::fixture::Fixture;
use membrane_testservers::{Database, Postgres, Redis};

use crate::stage::{cached, eager, n_values, thread};

const N_WRITERS: usize = 4;

/// What happens to the cache in turn, each until so many more reads were right.
const READS_EACH: usize = 40;

async fn instance(database: &Database) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(PostgresOptions::at(database.url())).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_to_the_shared_cache_every_read_is_the_stores() {
    let redis = Redis::start().unwrap();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let bare = instance(&database).await;
    // Of A, only the shared level; of B, both.
    let shared = SharedOptions {
        timeout: Duration::from_millis(50),
        pause: Duration::from_millis(20),
        ..SharedOptions::at(redis.url())
    };
    let options = CacheOptions { shared: Some(shared), ..eager() };
    let a = cached(&instance(&database).await, &CacheOptions { memory_bytes: 0, ..options.clone() }).await;
    let b = cached(&instance(&database).await, &options).await;
    let (is_over, n_read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let f = Fixture::new(Arc::clone(&b));
    let writers: Vec<_> = (0..N_WRITERS)
        .map(|_| {
            let (f, a, b, bare) = (f.clone(), Arc::clone(&a), Arc::clone(&b), Arc::clone(&bare));
            let (is_over, n_read) = (Arc::clone(&is_over), Arc::clone(&n_read));
            tokio::spawn(async move {
                let mut id = f.session(100).await;
                let mut round = 0;
                while !is_over.load(Ordering::Acquire) {
                    round += 1;
                    match round % 8 {
                        3 => {
                            let fork = f.fork(&id, 70).await;
                            f.delete(&id).await;
                            assert_eq!(thread(&a, &id).await, None, "what B deleted is gone through A");
                            id = fork;
                            f.append(&id, 20).await;
                        }
                        6 => drop(f.rewind(&id, 70).await),
                        _ => drop(f.append(&id, 1).await),
                    }
                    let truth = thread(&bare, &id).await;
                    assert!(truth.is_some());
                    assert_eq!(thread(&a, &id).await, truth);
                    assert_eq!(thread(&b, &id).await, truth);
                    n_read.fetch_add(2, Ordering::AcqRel);
                }
            })
        })
        .collect();
    let more_reads = || async {
        let until = n_read.load(Ordering::Acquire) + READS_EACH;
        f.until("reads go on", || async {
            n_read.load(Ordering::Acquire) >= until
                || writers.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    };
    more_reads().await;
    for _ in 0..3 {
        redis.flush_all().unwrap();
        more_reads().await;
    }
    redis.pause().unwrap();
    more_reads().await;
    redis.resume().unwrap();
    more_reads().await;
    redis.stop().unwrap();
    more_reads().await;
    redis.restart().unwrap();
    more_reads().await;
    f.until("it is used again", || async { n_values(&redis) > 0 }).await;
    is_over.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
}
