//! The memory backend passes the suite, through the trait object that everybody uses; and what only a
//! store whose clock can be moved shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use membrane_core::time::{Clock, ManualClock, SystemClock, Timestamp};
use membrane_store::conformance::fixture::Fixture;
use membrane_store::memory::MemoryStore;
use membrane_store::{Requirement, Store, StoreError, Write};

#[expect(clippy::unused_async, reason = "the suite awaits it, as opening a database needs")]
async fn make_store() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(Arc::new(SystemClock))), ())
}

membrane_store::conformance_tests!(make_store);

#[tokio::test]
async fn a_lease_expires_by_the_stores_clock_to_the_microsecond() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let f = Fixture::new(store);
    let run = f.begin(&f.create().await, Duration::from_secs(10)).await;
    clock.advance(Duration::from_micros(9_999_999));
    let abandoned = Requirement::Abandoned { run: run.id.clone(), dead_owner: None };
    assert!(matches!(f.check(abandoned.clone()).await, Err(StoreError::LeaseHeld { .. })));
    assert_eq!(f.store.list_stale_runs(&[], 9).await.unwrap(), []);
    clock.advance(Duration::from_micros(1));
    assert!(f.check(abandoned.clone()).await.is_ok());
    assert_eq!(f.store.list_stale_runs(&[], 9).await.unwrap().len(), 1);
    f.write(Write::RenewLease { run: run.id, lease_for: Duration::from_micros(1) }).await;
    assert!(matches!(f.check(abandoned).await, Err(StoreError::LeaseHeld { .. })));
}

/// A clock that panics once it is told to, in the middle of a commit.
#[derive(Debug, Default)]
struct BrokenClock(AtomicBool);

impl Clock for BrokenClock {
    fn now(&self) -> Timestamp {
        assert!(!self.0.swap(false, Ordering::Relaxed), "the clock is broken");
        Timestamp::from_micros(0)
    }
}

#[tokio::test]
async fn a_panic_in_one_commit_does_not_end_the_others() {
    let clock = Arc::new(BrokenClock::default());
    let f = Fixture::new(Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>)));
    let id = f.session(2).await;
    let before = f.snapshot().await;
    clock.0.store(true, Ordering::Relaxed);
    let doomed = tokio::spawn({
        let (f, id) = (f.clone(), id.clone());
        async move { f.delete(&id).await }
    });
    assert!(doomed.await.is_err(), "the commit panicked");
    assert_eq!(f.snapshot().await, before);
    f.delete(&id).await;
    assert_eq!(f.stats().await.sessions, 0);
}
