//! The only file that names concrete backends: a chosen database becomes a store.

use std::sync::Arc;

use membrane::store::memory::MemoryStore;
use membrane::{Store, SystemClock};
use membrane_sqlite::migrations::{self, MigrationStatus};
use membrane_sqlite::{OpenError, SqliteOptions, SqliteStore};

use crate::config::Database;
use crate::failure::{Exit, Failure};

/// Whether a command may make a database that is not there. A mistyped name should not become a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// Opens the database, and brings its schema up to date.
pub(crate) async fn open(database: &Database, missing: Missing) -> Result<Arc<dyn Store>, Failure> {
    match database {
        Database::Memory => Ok(Arc::new(MemoryStore::new(Arc::new(SystemClock)))),
        Database::Sqlite(path) => {
            if missing == Missing::Refuse && !path.exists() {
                return Err(Failure::not_found(format!(
                    "there is no database at {}; make one with \"membrane append --new\", \
                     or name another with --database-url",
                    path.display()
                )));
            }
            let store = SqliteStore::open(SqliteOptions::at(path)).await.map_err(open_failure)?;
            Ok(Arc::new(store))
        }
    }
}

/// Which steps of the schema the database holds. Changes nothing.
pub(crate) fn migration_status(database: &Database) -> Result<Vec<MigrationStatus>, Failure> {
    match database {
        Database::Memory => Err(Failure::usage("memory: has no schema; name a file with --database-url")),
        Database::Sqlite(path) => SqliteStore::migration_status(path).map_err(open_failure),
    }
}

/// The whole schema.
pub(crate) fn schema_sql() -> String {
    migrations::sql()
}

fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::Store(error) => error.into(),
        error => Failure::caused(Exit::Failure, "failed", &error),
    }
}
