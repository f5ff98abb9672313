//! Waiting: for another program that holds the file, and for a place in the queue.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use membrane_core::ids::SessionId;
use membrane_sqlite::SqliteOptions;
use membrane_store::StoreError;
use membrane_store::conformance::fixture::{Fixture, append};

use crate::keep::Keep;

/// Commits `count` turns at once and gives the reasons of those that were told to come again.
async fn crowd(f: &Arc<Fixture>, id: &SessionId, count: usize) -> Vec<Cow<'static, str>> {
    let under_way: Vec<_> = (0..count)
        .map(|number| {
            let (f, id) = (Arc::clone(f), id.clone());
            tokio::spawn(async move {
                let change = f.change().write(append(&id, vec![f.turn(&number.to_string())]));
                f.store.commit(change).await
            })
        })
        .collect();
    let mut reasons = Vec::new();
    for task in under_way {
        match task.await.unwrap() {
            Ok(_) => {}
            Err(StoreError::Unavailable { reason, retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                reasons.push(reason);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_another_program_is_told_so_however_many_wait() {
    let keep = Keep::new();
    let options = SqliteOptions { busy_timeout: Duration::from_millis(200), ..keep.options() };
    let f = Arc::new(keep.open_with(options).await);
    let id = f.create().await;
    let plain = keep.plain();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let reasons = crowd(&f, &id, 200).await;
    let waited = begun.elapsed();
    assert_eq!(reasons, ["another process holds the database"; 200]);
    assert!(waited >= Duration::from_millis(200), "{waited:?} is no waiting");
    assert!(waited < Duration::from_secs(10), "{waited:?}: they waited one after the other");
    assert_eq!(f.get(&id).await.turn_count(), 0, "readers go on");
    plain.execute_batch("COMMIT").unwrap();
    assert_eq!(crowd(&f, &id, 20).await, [""; 0]);
    assert_eq!(f.get(&id).await.turn_count(), 20, "what was refused did not come later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_unavailable_and_nothing_of_it_comes_later() {
    let keep = Keep::new();
    let options = SqliteOptions {
        busy_timeout: Duration::from_millis(300),
        queue_len: 3,
        max_batch: 1,
        ..keep.options()
    };
    let f = Arc::new(keep.open_with(options).await);
    let id = f.create().await;
    let plain = keep.plain();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    let reasons = crowd(&f, &id, 50).await;
    assert_eq!(reasons.len(), 50);
    let crowded = reasons.iter().filter(|reason| **reason == "too many calls are waiting").count();
    assert!((1..50).contains(&crowded), "{crowded} of 50 found no place, the others waited for the file");
    plain.execute_batch("COMMIT").unwrap();
    f.say(&id, "now").await;
    assert_eq!(f.said(&id).await, ["now"]);
}
