//! Gauges on a file: after opening it again, and when somebody else writes to it.
//!
//! That they agree with what is counted is in the suite.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use membrane_store::StoreGauges;
use membrane_store::conformance::fixture::Fixture;

use crate::keep::Keep;

async fn gauges(f: &Fixture) -> StoreGauges {
    f.store.gauges().await.unwrap()
}

async fn kept(f: &Fixture) -> (u64, u64) {
    let gauges = gauges(f).await;
    (gauges.sessions, gauges.turns)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_that_is_opened_again_knows_how_much_it_holds() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(7).await;
    f.fork(&f.session(5).await, 2).await;
    let before = kept(&f).await;
    assert_eq!(before, (3, 12));
    f.store.close().await.unwrap();
    assert_eq!(kept(&keep.open().await).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_those_of_the_file_and_of_what_lies_beside_it() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(20).await;
    let on_disk: u64 = keep.files().values().map(|content| u64::try_from(content.len()).unwrap()).sum();
    assert_eq!(keep.files().len(), 3, "the file, its log and the log's index");
    assert_eq!(gauges(&f).await.bytes, on_disk);
    assert_eq!(gauges(&f).await.queue_capacity, 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_store_writes_shows_within_some_changes_and_a_second() {
    let keep = Keep::new();
    let (f, mut other) = (keep.open().await, keep.open().await);
    other.ids = Arc::clone(&f.ids);
    let (theirs, id) = (other.session(4).await, f.create().await);
    let mut expected = (2, 4);
    for round in 0..2 {
        let begun = Instant::now();
        while kept(&f).await != expected {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?} is not {expected:?}", kept(&f).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
            f.say(&id, "on").await;
            expected.1 += 1;
        }
        if round == 0 {
            other.delete(&theirs).await;
            other.session(9).await;
            expected.1 += 5;
        }
    }
    let stats = f.stats().await;
    assert_eq!((stats.sessions, stats.turns_stored), kept(&f).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_wait_are_in_the_gauge() {
    let keep = Keep::new();
    let f = Arc::new(keep.open().await);
    let id = f.create().await;
    let plain = keep.plain();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = || {
        let (f, id) = (Arc::clone(&f), id.clone());
        async move { f.append(&id, 1).await }
    };
    let mut first = Box::pin(append());
    // Once polled it is in the queue; the writer takes it and waits for the file.
    assert!(matches!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    f.until("the writer has taken it", || async { gauges(&f).await.queued == 0 }).await;
    let mut waiting = vec![tokio::spawn(first)];
    waiting.extend((0..19).map(|_| tokio::spawn(append())));
    f.until("the others wait", || async { gauges(&f).await.queued == 19 }).await;
    assert_eq!(gauges(&f).await.turns, 0);
    plain.execute_batch("COMMIT").unwrap();
    for task in waiting {
        task.await.unwrap();
    }
    f.until("nothing waits", || async { gauges(&f).await.queued == 0 }).await;
    assert_eq!(gauges(&f).await.turns, 20);
}
