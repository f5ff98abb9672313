//! Gauges: numbers that are kept instead of counted, held against those that are counted.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::ids::SessionId;
use membrane_core::run::RunShape;

use super::fixture::{Fixture, LONG_LEASE, append, create_root};
use crate::{Requirement, Store, Write};

/// Asserts that what is kept is what there is, and gives sessions and turns.
async fn agree(f: &Fixture) -> (u64, u64) {
    let (stats, gauges) = (f.stats().await, f.store.gauges().await.unwrap());
    assert_eq!((gauges.sessions, gauges.turns), (stats.sessions, stats.turns_stored));
    (gauges.sessions, gauges.turns)
}

pub async fn gauges_agree_with_stats_after_every_kind_of_change(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    assert_eq!(agree(&f).await, (0, 0));
    let root = f.session(5).await;
    assert_eq!(agree(&f).await, (1, 5));
    let fork = f.fork(&root, 3).await;
    assert_eq!(agree(&f).await, (2, 5), "a fork copies no turn");
    f.append(&fork, 2).await;
    assert_eq!(agree(&f).await, (2, 7));
    let merge = f.merge(&root, &fork).await;
    f.append(&merge, 1).await;
    assert_eq!(agree(&f).await, (3, 8));
    let left = f.rewind(&root, 1).await;
    f.append(&root, 3).await;
    f.restore(&root, &left).await;
    assert_eq!(agree(&f).await, (3, 11));
    for number in 0..25 {
        // Checkpoints beyond those that are kept go, and what nothing else reaches with them.
        f.rewind(&root, 1 + number % 3).await;
        f.append(&root, 1).await;
        agree(&f).await;
    }
    let named = f.name_place(&fork, "here").await;
    f.delete(&fork).await;
    agree(&f).await;
    f.refused_write(Write::DeleteCheckpoint { session: fork, id: named }).await;
    agree(&f).await;
    let run = f.begin(&merge, LONG_LEASE).await;
    agree(&f).await;
    let turn = Box::new(f.turn("answer"));
    f.write(Write::FinishRun { run: run.id, turn, shape: RunShape::default() }).await;
    agree(&f).await;
    let named = f.name_place(&merge, "there").await;
    f.rewind(&merge, 0).await;
    f.write(Write::DeleteCheckpoint { session: merge.clone(), id: named }).await;
    agree(&f).await;
    f.delete(&root).await;
    assert_eq!(agree(&f).await.0, 1);
    f.delete(&merge).await;
    assert_eq!(agree(&f).await, (0, 0));
}

pub async fn a_refused_change_moves_no_gauge(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, gone) = (f.session(2).await, f.session(3).await);
    let before = agree(&f).await;
    let (fresh, turns) = (f.session_id(), f.turns(4));
    let change = f
        .change()
        .write(append(&id, turns))
        .write(create_root(&fresh))
        .write(Write::DeleteSession { session: gone })
        .write(create_root(&id));
    f.refused(change).await;
    assert_eq!(agree(&f).await, before);
    let stale = f.change().require(Requirement::Version { session: id.clone(), version: 99 });
    f.refused(stale.write(create_root(&fresh))).await;
    assert_eq!(agree(&f).await, before);
    let key = f.key(Some(&id), "k", "r");
    for _ in 0..3 {
        let turn = f.turn("once");
        f.commit(f.change().once(Some(key.clone())).write(append(&id, vec![turn]))).await;
        assert_eq!(agree(&f).await, (before.0, before.1 + 1), "a replay adds nothing");
    }
}

pub async fn gauges_are_exact_after_many_changes_at_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let shared = f.session(1).await;
    let tasks: Vec<_> = (0..96)
        .map(|number| {
            let (f, shared) = (f.clone(), shared.clone());
            tokio::spawn(async move {
                let (own, turns) = (SessionId::from_stored(&format!("own-{number}")), f.turns(2));
                let change = f.change().write(append(&shared, turns)).write(create_root(&own));
                match number % 4 {
                    0 => f.refused(change.write(create_root(&shared))).await.to_string(),
                    1 => {
                        f.commit(change).await;
                        f.delete(&own).await.result
                    }
                    _ => f.commit(change).await.result,
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(agree(&f).await, (1 + 48, 1 + 72 * 2));
}

pub async fn a_store_at_rest_has_an_empty_queue(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    f.session(3).await;
    f.until("the queue is empty", || async { f.store.gauges().await.unwrap().queued == 0 }).await;
    let (gauges, stats) = (f.store.gauges().await.unwrap(), f.store.stats().await.unwrap());
    assert!(gauges.queued <= gauges.queue_capacity);
    assert!(gauges.bytes >= stats.bytes, "{gauges:?} against {stats:?}");
}
