//! PostgreSQL's failures as the contract's.

use std::time::Duration;

use membrane_store::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// When a caller that was refused may try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a keep could not be opened. Names the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL, a certificate or another setting makes no sense.
    #[error("the PostgreSQL settings cannot be used: {problem}")]
    Settings {
        /// What is wrong with which value.
        problem: String,
    },
    /// Nobody answers.
    #[error("no PostgreSQL server can be reached at {server}; start it, or name another with --database-url")]
    Unreachable {
        /// Host, port and database.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refuses the user.
    #[error(
        "{server} refuses user {user:?}: {problem}; check the user and the password of the database's URL"
    )]
    Refused {
        /// Host, port and database.
        server: String,
        /// Who asked.
        user: String,
        /// What the server says.
        problem: String,
    },
    /// The server has no such database.
    #[error("{server} has no such database; make it with: createdb {database}")]
    NoDatabase {
        /// Host, port and database.
        server: String,
        /// Its name.
        database: String,
    },
    /// The server is older than what Membrane needs.
    #[error("{server} is PostgreSQL {found}; Membrane needs {needed} or newer")]
    TooOld {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: String,
        /// The oldest version that will do.
        needed: u32,
    },
    /// The server takes no writes.
    #[error("{server} is read-only ({problem}); name the primary server with --database-url")]
    ReadOnly {
        /// Host, port and database.
        server: String,
        /// A standby, or a setting.
        problem: String,
    },
    /// The user may not do what is needed.
    #[error("user {user:?} may not {doing} in {server}: {problem}")]
    NotAllowed {
        /// Host, port and database.
        server: String,
        /// Who asked.
        user: String,
        /// What was tried.
        doing: &'static str,
        /// What the server says.
        problem: String,
    },
    /// A table of another make has a name that the keep needs.
    #[error("{server} has a table {table} that is not Membrane's; name another database or schema")]
    ForeignTables {
        /// Host, port and database.
        server: String,
        /// The table.
        table: String,
    },
    /// A database that a newer Membrane wrote.
    #[error("{server} has schema version {found}, this binary knows up to {known}; use a newer membrane")]
    TooNew {
        /// Host, port and database.
        server: String,
        /// Its newest migration.
        found: i64,
        /// This binary's newest migration.
        known: i64,
    },
    /// A migration that was applied is not the one that this binary knows.
    #[error(
        "{server}: migration {version} was applied with checksum {found}, this binary has {known}; \
         it was written by a build that was never released"
    )]
    ChecksumMismatch {
        /// Host, port and database.
        server: String,
        /// The migration.
        version: i64,
        /// What the database says.
        found: String,
        /// What this binary says.
        known: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a failure of PostgreSQL's means to a caller of the store.
pub(crate) fn store_error(doing: &'static str, error: Error) -> StoreError {
    if error.is_closed() {
        return unavailable("the connection to the database was lost");
    }
    let Some(state) = error.code() else {
        // No answer of the server's: its socket failed, or what came was no answer.
        let is_io = std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>());
        if is_io {
            return unavailable("the connection to the database was lost");
        }
        return StoreError::Backend { doing, source: Box::new(error) };
    };
    match *state {
        SqlState::DISK_FULL => StoreError::StorageFull,
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
            unavailable("the database is stopping or starting")
        }
        SqlState::TOO_MANY_CONNECTIONS => unavailable("the database has no connection left"),
        SqlState::READ_ONLY_SQL_TRANSACTION => unavailable("the database takes no writes"),
        SqlState::QUERY_CANCELED => slow(),
        SqlState::LOCK_NOT_AVAILABLE
        | SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED => unavailable("too many changes meet in one place"),
        SqlState::OUT_OF_MEMORY
        | SqlState::INSUFFICIENT_RESOURCES
        | SqlState::CONFIGURATION_LIMIT_EXCEEDED => unavailable("the database is out of resources"),
        _ if state.code().starts_with("08") => unavailable("the connection to the database was lost"),
        _ => StoreError::Backend { doing, source: Box::new(error) },
    }
}

/// The database did not answer in time.
pub(crate) fn slow() -> StoreError {
    unavailable("the database does not answer in time")
}

/// Something stands in the way that may be gone soon.
pub(crate) fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable { reason, retry_after: RETRY_AFTER }
}

/// Whether a transaction that failed so was in the way of another and may just be done again.
pub(crate) fn is_contention(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::T_R_SERIALIZATION_FAILURE
                | &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::LOCK_NOT_AVAILABLE
        )
    )
}

/// Says what was tried when PostgreSQL fails.
pub(crate) trait Doing<T> {
    /// Turns PostgreSQL's error into the contract's.
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| store_error(what, error))
    }
}
