//! The suite that every backend passes, each case in a database of its own.
//!
//! The cases themselves are in `membrane-store`.

use std::sync::Arc;

use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::Store;
use membrane_testservers::{Database, Postgres};

async fn fresh_store() -> (Arc<dyn Store>, Database) {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let store = PostgresStore::open(PostgresOptions::at(database.url())).await.unwrap();
    (Arc::new(store), database)
}

membrane_store::conformance_tests!(fresh_store);
