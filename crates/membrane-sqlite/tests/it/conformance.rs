//! The suite that every backend passes, on files.
//!
//! The cases themselves are in `membrane-store`.

use std::sync::Arc;

use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::Store;
use tempfile::TempDir;

async fn fresh_store() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::at(folder.path().join("keep.db"))).await.unwrap();
    (Arc::new(store), folder)
}

membrane_store::conformance_tests!(fresh_store);
