//! The only file that names concrete backends: a chosen database becomes a store, a chosen model a
//! responder.

use std::path::Path;
use std::sync::Arc;

use membrane::responder::{Echo, EchoOptions};
use membrane::store::memory::MemoryStore;
use membrane::{Responder, Store, SystemClock};
use membrane_sqlite::migrations::{self, MigrationStatus};
use membrane_sqlite::{OpenError, SqliteOptions, SqliteStore, Synchronous};

use crate::config::{Database, Provider, Settings, SqliteSettings};
use crate::failure::{Exit, Failure};

/// Whether a command may make a database that is not there. A mistyped name should not become a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// Opens the database, and brings its schema up to date.
pub(crate) async fn open(settings: &Settings, missing: Missing) -> Result<Arc<dyn Store>, Failure> {
    match &settings.database {
        Database::Memory => Ok(Arc::new(MemoryStore::new(Arc::new(SystemClock)))),
        Database::Sqlite(path) => {
            if missing == Missing::Refuse && !path.exists() {
                return Err(Failure::not_found(format!(
                    "there is no database at {}; make one with \"membrane serve\" or \"membrane append --new\", \
                     or name another with --database-url",
                    settings.database.shown()
                )));
            }
            let store =
                SqliteStore::open(sqlite_options(path, &settings.sqlite)).await.map_err(open_failure)?;
            Ok(Arc::new(store))
        }
    }
}

/// Opens a database that is removed afterwards.
pub(crate) async fn open_throwaway(path: &Path) -> Result<Arc<dyn Store>, Failure> {
    let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::at(path) };
    Ok(Arc::new(SqliteStore::open(options).await.map_err(open_failure)?))
}

/// Who answers messages.
pub(crate) fn responder(settings: &Settings) -> Arc<dyn Responder> {
    match settings.model.provider {
        Provider::Echo => Arc::new(Echo::new(EchoOptions {
            delay: settings.echo.delay,
            piece_chars: settings.echo.piece_chars,
        })),
    }
}

/// Says what the backends measure.
pub(crate) fn describe_metrics() {
    membrane_sqlite::telemetry::describe();
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

fn sqlite_options(path: &Path, settings: &SqliteSettings) -> SqliteOptions {
    SqliteOptions {
        busy_timeout: settings.busy_timeout,
        queue_len: settings.queue_len,
        max_batch: settings.max_batch,
        readers: settings.readers,
        cache_kib: settings.cache_kib,
        checkpoint_pages: settings.checkpoint_pages,
        // How a commit is synced is the promise itself, and not to be set.
        ..SqliteOptions::at(path)
    }
}

fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::Store(error) => error.into(),
        error => Failure::caused(Exit::Failure, "failed", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_settings;

    #[test]
    fn what_is_not_set_is_as_the_store_has_it() {
        let ours = sqlite_options(Path::new("a.db"), &default_settings().sqlite);
        assert_eq!(format!("{ours:?}"), format!("{:?}", SqliteOptions::at("a.db")));
    }
}
