//! The suite that every store passes, with a cache before each kind: in memory alone, and shared.
//!
//! The cases themselves are in `membrane-store`.

use std::sync::Arc;

use membrane_core::time::SystemClock;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::Store;
use membrane_store::memory::MemoryStore;
use membrane_testservers::{Database, Postgres, Redis};
use tempfile::TempDir;

use crate::stage::{cached, eager, only_shared};

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

async fn on_sqlite() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::at(folder.path().join("keep.db"))).await.unwrap();
    (Arc::new(store), folder)
}

async fn on_postgres() -> (Arc<dyn Store>, Database) {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let store = PostgresStore::open(PostgresOptions::at(database.url())).await.unwrap();
    (Arc::new(store), database)
}

mod memory {
    use super::*;

    async fn make() -> (Arc<dyn Store>, ()) {
        (cached(&in_memory(), &eager()).await, ())
    }

    membrane_store::conformance_tests!(make);
}

mod memory_shared {
    use super::*;

    async fn make() -> (Arc<dyn Store>, Redis) {
        let redis = Redis::start().unwrap();
        (cached(&in_memory(), &only_shared(&redis)).await, redis)
    }

    membrane_store::conformance_tests!(make);
}

mod sqlite {
    use super::*;

    async fn make() -> (Arc<dyn Store>, TempDir) {
        let (store, folder) = on_sqlite().await;
        (cached(&store, &eager()).await, folder)
    }

    membrane_store::conformance_tests!(make);
}

mod sqlite_shared {
    use super::*;

    async fn make() -> (Arc<dyn Store>, (TempDir, Redis)) {
        let redis = Redis::start().unwrap();
        let (store, folder) = on_sqlite().await;
        (cached(&store, &only_shared(&redis)).await, (folder, redis))
    }

    membrane_store::conformance_tests!(make);
}

mod postgres {
    use super::*;

    async fn make() -> (Arc<dyn Store>, Database) {
        let (store, database) = on_postgres().await;
        (cached(&store, &eager()).await, database)
    }

    membrane_store::conformance_tests!(make);
}

mod postgres_shared {
    use super::*;

    async fn make() -> (Arc<dyn Store>, (Database, Redis)) {
        let redis = Redis::start().unwrap();
        let (store, database) = on_postgres().await;
        (cached(&store, &only_shared(&redis)).await, (database, redis))
    }

    membrane_store::conformance_tests!(make);
}
