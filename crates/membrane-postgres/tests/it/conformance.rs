//! The suite that every backend passes, each case in a database of its own: straight to the server, and through PgBouncer
//! in transaction mode.
//!
//! The cases themselves are in `membrane-store`.

mod straight {
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
}

/// Every statement goes through the pooler; past it go only the locks that tell who is alive.
mod through_a_pooler {
    use std::sync::Arc;

    use membrane_postgres::{Pooler, PostgresOptions, PostgresStore};
    use membrane_store::Store;
    use membrane_testservers::{Database, PgBouncer, PoolMode, Postgres};

    async fn fresh_store() -> (Arc<dyn Store>, (PgBouncer, Database)) {
        let server = Postgres::shared().unwrap();
        let database = server.create_database().unwrap();
        let pooler = PgBouncer::start(&server.admin_url(), PoolMode::Transaction).unwrap();
        let options = PostgresOptions {
            pooler: Pooler::Transaction,
            direct_url: Some(database.url()),
            ..PostgresOptions::at(pooler.url(database.name()))
        };
        let store = PostgresStore::open(options).await.unwrap();
        // The pooler goes first: its connections would keep the database from being dropped.
        (Arc::new(store), (pooler, database))
    }

    membrane_store::conformance_tests!(fresh_store);
}
