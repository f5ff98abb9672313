//! The pool of readers, when it is small.

use std::sync::Arc;

use membrane_sqlite::SqliteOptions;

use crate::keep::Keep;

#[tokio::test(flavor = "multi_thread")]
async fn one_reader_serves_everybody_while_others_write() {
    for readers in [0, 1] {
        let keep = Keep::new();
        let f = Arc::new(keep.open_with(SqliteOptions { readers, queue_len: 2, ..keep.options() }).await);
        let id = f.session(1).await;
        let reading: Vec<_> = (0..100)
            .map(|_| {
                let (f, id) = (Arc::clone(&f), id.clone());
                tokio::spawn(async move { f.thread(&id).await })
            })
            .collect();
        // Some give up while they wait; the others must not notice.
        for task in reading.iter().step_by(3) {
            task.abort();
        }
        for number in 0..20 {
            f.say(&id, &number.to_string()).await;
        }
        let mut served = 0;
        for task in reading {
            match task.await {
                Ok(thread) => {
                    served += 1;
                    assert_eq!(thread.turns.len() as u64, thread.session.turn_count(), "one snapshot");
                }
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
        assert!(served >= 66, "{served} of at least 66 were served");
        assert_eq!(f.thread(&id).await.turns.len(), 21);
        f.store.close().await.unwrap();
    }
}
