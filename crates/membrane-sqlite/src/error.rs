//! SQLite's failures as the contract's errors, in one place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use membrane_store::StoreError;
use membrane_store::kgents::LoadError;
use rusqlite::ErrorCode;

use crate::backup::BackupError;

/// When trying again after a full queue or a held database makes sense.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why a file cannot be opened as a keep. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or the file cannot be reached.
    #[error("{} cannot be opened; check that the folder exists and may be written to", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Some other file.
    #[error("{} is not an SQLite database; name another file", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database with chat tables of another make.
    #[error("{} holds a table {table:?} that is not Membrane's; name another file, this one is unchanged", .path.display())]
    ForeignTables {
        /// The file.
        path: PathBuf,
        /// The table in the way.
        table: String,
    },
    /// Tables that are called like those of a kgents V1 file, and are none.
    #[error("{} has a {name:?} that is not kgents': {problem}; name another file, this one is unchanged", .path.display())]
    NotV1 {
        /// The file.
        path: PathBuf,
        /// What is called like one of its tables.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A V1 file with something in it that would stop working.
    #[error("{} is a kgents V1 file and cannot be upgraded: {reason}; remove it, or run \"membrane migrate --force\"; \
             the file is unchanged", .path.display())]
    UpgradeBlocked {
        /// The file.
        path: PathBuf,
        /// What, and why.
        reason: String,
    },
    /// The copy that is made of a V1 file before it is upgraded.
    #[error("{} is a kgents V1 file and was not upgraded, because no backup of it could be made; it is unchanged", .path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BackupError,
    },
    /// A V1 file that could not be taken in.
    #[error("{} is a kgents V1 file and was not upgraded; it is unchanged", .path.display())]
    Upgrade {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LoadError,
    },
    /// A file that SQLite finds malformed.
    #[error("{} is damaged: {problem}; put a backup in its place with \"membrane restore BACKUP\", or recover what can be \
             read with \"sqlite3 FILE .recover | sqlite3 RECOVERED\"; the file is unchanged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        problem: String,
    },
    /// A database that a newer Membrane wrote.
    #[error("{} has schema version {found}, this binary knows up to {known}; use a newer membrane", .path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its newest migration.
        found: i64,
        /// This binary's newest migration.
        known: i64,
    },
    /// A copy that was interrupted: not all of a keep.
    #[error("{} holds an unfinished copy of {source_name}, and can be used when that is finished: run \"membrane copy\" \
             again with the same --from and --to", .path.display())]
    UnfinishedCopy {
        /// The file.
        path: PathBuf,
        /// What was being copied into it.
        source_name: String,
    },
    /// A keep that an older Membrane made, or a file of kgents; where it may not be brought up to date.
    #[error("{} is no keep of this version; bring it up to date first with \"membrane migrate --database-url {}\"",
            .path.display(), .path.display())]
    OldSchema {
        /// The file.
        path: PathBuf,
    },
    /// A migration that was applied is not the one that this binary knows.
    #[error("{}: migration {version} was applied with checksum {found}, this binary has {known}; \
             it was written by a build that was never released", .path.display())]
    ChecksumMismatch {
        /// The file.
        path: PathBuf,
        /// The migration.
        version: i64,
        /// What the file says.
        found: String,
        /// What this binary says.
        known: String,
    },
    /// A thread could not be started.
    #[error("a thread for the database cannot be started")]
    Thread(#[source] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Names the file where the failure does not.
    #[must_use]
    pub(crate) fn of(self, path: &Path) -> Self {
        match self {
            Self::Store(StoreError::Inconsistent { table, problem, .. }) if table == FILE => {
                Self::Damaged { path: path.to_owned(), problem }
            }
            other => other,
        }
    }
}

/// How [`StoreError::Inconsistent`] names the file as a whole.
pub(crate) const FILE: &str = "(file)";

/// A failure of SQLite while a file was being opened.
pub(crate) fn open_error(path: &Path, doing: &'static str, error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path: path.to_owned() },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            OpenError::Io { path: path.to_owned(), source: std::io::Error::other(error) }
        }
        // The statements of ours are sound: the file's schema or its format is not.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            OpenError::Damaged { path: path.to_owned(), problem: error.to_string() }
        }
        // It ends before a page that its header, or the log beside it, says is there.
        _ if is(&error, rusqlite::ffi::SQLITE_IOERR_SHORT_READ) => {
            OpenError::Damaged { path: path.to_owned(), problem: error.to_string() }
        }
        _ => store_error(doing, error).into(),
    }
}

/// A failure of SQLite while it tried to do something.
pub(crate) fn store_error(doing: &'static str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => held(),
        Some(ErrorCode::DiskFull) => StoreError::StorageFull,
        // No room for the index of the write-ahead log, which SQLite reports in this way.
        _ if is(&error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => StoreError::StorageFull,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::inconsistent(FILE, "-", error)
        }
        _ => StoreError::Backend { doing, source: Box::new(error) },
    }
}

fn is(error: &rusqlite::Error, extended_code: std::ffi::c_int) -> bool {
    error.sqlite_error().is_some_and(|failure| failure.extended_code == extended_code)
}

/// Another process holds the database for longer than the configured time.
pub(crate) fn held() -> StoreError {
    StoreError::Unavailable { reason: "another process holds the database".into(), retry_after: RETRY_AFTER }
}

/// The queue is full for longer than the configured time.
pub(crate) fn crowded() -> StoreError {
    StoreError::Unavailable { reason: "too many calls are waiting".into(), retry_after: RETRY_AFTER }
}

/// Whether a failure leaves the whole transaction in doubt, so that its other changes must be done again.
pub(crate) fn ends_transaction(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::StorageFull
            | StoreError::Backend { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Inconsistent { table: FILE, .. }
    )
}

/// A file beside the database that failed.
#[derive(Debug, thiserror::Error)]
#[error("{} failed", .path.display())]
struct FileError {
    path: PathBuf,
    source: std::io::Error,
}

/// Says what was tried, and with which file, when the file system fails.
pub(crate) trait FileDoing<T> {
    /// Turns the system's error into the contract's.
    fn doing(self, what: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> FileDoing<T> for std::io::Result<T> {
    fn doing(self, what: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::StorageFull,
            _ => {
                let source = Box::new(FileError { path: path.to_owned(), source });
                StoreError::Backend { doing: what, source }
            }
        })
    }
}

/// Says what was tried when SQLite fails.
pub(crate) trait Doing<T> {
    /// Turns SQLite's error into the contract's.
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| store_error(what, error))
    }
}
