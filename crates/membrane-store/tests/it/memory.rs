//! The memory backend passes the suite, through the trait object that everybody uses.

use std::sync::Arc;

use membrane_core::time::SystemClock;
use membrane_store::Store;
use membrane_store::memory::MemoryStore;

#[expect(clippy::unused_async, reason = "the suite awaits it, as opening a database needs")]
async fn make_store() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(Arc::new(SystemClock))), ())
}

membrane_store::conformance_tests!(make_store);
