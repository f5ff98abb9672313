//! PostgreSQL's failures as the contract's.

use std::borrow::Cow;
use std::time::Duration;

use membrane_store::StoreError;
use membrane_store::kgents::LoadError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// What a caller is told whose connection broke.
pub(crate) const LOST: &str = "the connection to the database was lost";

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
    #[error("no PostgreSQL server can be reached at {server}; start it, or name another with {setting}")]
    Unreachable {
        /// Host, port and database.
        server: String,
        /// What named it: `--database-url` or `chat.postgres.direct_url`.
        setting: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A host's name that nobody knows.
    #[error(
        "the host {host:?} of {server} cannot be found ({problem}); correct the host in the database's URL, or the \
         machine's name service"
    )]
    UnknownHost {
        /// Hosts, ports and database.
        server: String,
        /// The name.
        host: String,
        /// What the system says.
        problem: String,
    },
    /// The connection cannot be encrypted as is wanted.
    #[error("{server}: {problem}; {remedy}")]
    Tls {
        /// Host, port and database.
        server: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server has no connection left.
    #[error(
        "{server} takes no more connections ({problem}); raise its max_connections, or let fewer stay: \
         each membrane holds up to its pool_size"
    )]
    TooManyConnections {
        /// Host, port and database.
        server: String,
        /// What the server says.
        problem: String,
    },
    /// The server is not ready, or failed otherwise.
    #[error("{server} does not take the connection: {problem}; {remedy}")]
    NotReady {
        /// Host, port and database.
        server: String,
        /// What the server says.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A database that cannot hold every text.
    #[error(
        "{server} holds text as {encoding}; make a database with: \
         createdb --encoding=UTF8 --template=template0 NAME"
    )]
    Encoding {
        /// Host, port and database.
        server: String,
        /// Its encoding.
        encoding: String,
    },
    /// No schema that is searched is there.
    #[error(
        "{server} has none of the schemas that are searched ({search_path}); make one with CREATE SCHEMA, or set \
         search_path, or let the user use one with GRANT USAGE ON SCHEMA"
    )]
    NoSchema {
        /// Host, port and database.
        server: String,
        /// What is searched.
        search_path: String,
    },
    /// The server refuses the user.
    #[error("{server} refuses user {user:?}: {problem}; {remedy}")]
    Refused {
        /// Host, port and database.
        server: String,
        /// Who asked.
        user: String,
        /// What the server says.
        problem: String,
        /// What to do.
        remedy: &'static str,
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
    #[error("user {user:?} may not {doing} in {server}: {problem}; let the owner run: {remedy}")]
    NotAllowed {
        /// Host, port and database.
        server: String,
        /// Who asked.
        user: String,
        /// What was tried.
        doing: &'static str,
        /// What the server says.
        problem: String,
        /// Statements that give the right.
        remedy: String,
    },
    /// A table of another make has a name that the keep needs.
    #[error("{server} has a table {table} that is not Membrane's; name another database or schema")]
    ForeignTables {
        /// Host, port and database.
        server: String,
        /// The table.
        table: String,
    },
    /// kgents' tables of old, where a keep is not made of them.
    #[error("{server} holds kgents' old table {table}; name another database or schema")]
    OldTables {
        /// Host, port and database.
        server: String,
        /// The table.
        table: String,
    },
    /// Something that is called like a table of kgents', and is none.
    #[error("{server} has a {name:?} that is not kgents': {problem}; name another database or schema")]
    NotV1 {
        /// Host, port and database.
        server: String,
        /// What is called so.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// kgents' tables with something on them that would stop working.
    #[error(
        "{server} holds kgents' V1 tables, which cannot be upgraded: {reason}; remove it, or run \"membrane migrate \
         --force\"; the database is unchanged"
    )]
    UpgradeBlocked {
        /// Host, port and database.
        server: String,
        /// What, and why.
        reason: String,
    },
    /// Somebody is at kgents' tables.
    #[error(
        "{server} holds kgents' V1 tables, and another program is at work on them; stop it, and try again; the database \
         is unchanged"
    )]
    OldTablesInUse {
        /// Host, port and database.
        server: String,
    },
    /// kgents' tables that could not be taken in.
    #[error("{server} holds kgents' V1 tables, which were not upgraded; the database is unchanged")]
    Upgrade {
        /// Host, port and database.
        server: String,
        /// Why not.
        #[source]
        source: LoadError,
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
    /// A copy that was interrupted: not all of a keep.
    #[error(
        "{server} holds an unfinished copy of {source_name}, and can be used when that is finished: run \
         \"membrane copy\" again with the same --from and --to"
    )]
    UnfinishedCopy {
        /// Host, port and database.
        server: String,
        /// What was being copied into it.
        source_name: String,
    },
    /// A keep that an older Membrane made, or none; where it may not be brought up to date.
    #[error("{server} holds no keep of this version; bring it up to date first with \"membrane migrate\"")]
    OldSchema {
        /// Host, port and database.
        server: String,
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

/// An error with all its causes, in one line.
pub(crate) fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !parts.contains(&part) {
            parts.push(part);
        }
        cause = error.source();
    }
    parts.join(": ")
}

/// What the server says, without what surrounds it.
pub(crate) fn message(error: &Error) -> String {
    error.as_db_error().map_or_else(|| whole(error), |error| error.message().to_owned())
}

/// What a failure of PostgreSQL's means to a caller of the store.
pub(crate) fn store_error(doing: &'static str, error: Error) -> StoreError {
    if error.is_closed() {
        return unavailable(LOST);
    }
    let Some(state) = error.code() else {
        // No answer of the server's: its socket failed, or what came was no answer.
        let is_io =
            std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
        if is_io {
            return unavailable(LOST);
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
        _ if state.code().starts_with("08") => unavailable(LOST),
        SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_OBJECT
        | SqlState::UNDEFINED_FUNCTION => StoreError::Backend { doing, source: Box::new(Altered(error)) },
        _ => StoreError::Backend { doing, source: Box::new(error) },
    }
}

/// Something of the schema is gone.
#[derive(Debug, thiserror::Error)]
#[error("the schema is not as it was made; look with \"membrane doctor\", and bring back a dump")]
struct Altered(#[source] Error);

/// The database did not answer in time.
pub(crate) fn slow() -> StoreError {
    unavailable("the database does not answer in time")
}

/// Something stands in the way that may be gone soon.
pub(crate) fn unavailable(reason: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::Unavailable { reason: reason.into(), retry_after: RETRY_AFTER }
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
