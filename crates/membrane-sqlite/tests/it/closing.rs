//! Closing, dropping, and calls that are given up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use membrane_core::ids::SessionId;
use membrane_store::StoreError;
use membrane_store::conformance::fixture::append;

use crate::keep::{Keep, value};

#[tokio::test(flavor = "multi_thread")]
async fn closing_answers_what_was_asked_before_and_refuses_what_comes_after() {
    let keep = Keep::new();
    let f = Arc::new(keep.open().await);
    let id = f.create().await;
    let under_way: Vec<_> = (0..100)
        .map(|number| {
            let (f, id) = (Arc::clone(&f), id.clone());
            tokio::spawn(async move {
                let change = f.change().write(append(&id, vec![f.turn(&number.to_string())]));
                f.store.commit(change).await
            })
        })
        .collect();
    f.store.close().await.unwrap();
    let mut acknowledged = 0;
    for task in under_way {
        match task.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(StoreError::Closed) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(matches!(f.store.find_session(&id).await, Err(StoreError::Closed)));
    assert!(matches!(f.store.commit(f.change()).await, Err(StoreError::Closed)));
    assert!(matches!(f.store.close().await, Err(StoreError::Closed)));
    assert_eq!(keep.files().len(), 1, "a closed keep is one file");
    let kept: i64 = value(&keep.plain(), "SELECT turn_count FROM chat_sessions", []);
    assert_eq!(kept, acknowledged, "what was refused is not there, what was answered is");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_store_does_what_is_queued() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    // Another program holds the file, so that everything stays in the queue.
    let plain = keep.plain();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..50 {
        let change = f.change().write(append(&id, vec![f.turn(&number.to_string())]));
        let mut commit = pin!(f.store.commit(change));
        // Once polled it is in the queue; then it is given up.
        assert!(matches!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    drop(f);
    plain.execute_batch("COMMIT").unwrap();
    let f = keep.open().await;
    let id = SessionId::from_stored(id.as_str());
    f.until("the queue is done", || async { f.get(&id).await.turn_count() == 50 }).await;
    let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(f.said(&id).await, expected, "in the order of asking");
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}
