//! Why a copy cannot be made or brought back. What was there before is then as it was.

use std::io;
use std::path::{Path, PathBuf};

use membrane_store::StoreError;
use rusqlite::ErrorCode;

use crate::error::store_error;

/// Why a backup, or the way back from one, failed. Files that were there before are as they were, and nothing
/// of the new one is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The copy's name is taken.
    #[error("{} is already there and is not overwritten; name another file", .path.display())]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// A log of some other database has the name that the copy's would have, and would be taken for it.
    #[error("{} is there without its database, whose name the copy would get; move it away or name another file", .path.display())]
    StrayLog {
        /// The log.
        path: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {doing} {}; check that the folder exists and may be written to", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A database whose pages or rows cannot be read, or contradict each other.
    #[error("{} is damaged: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first things that were found.
        problem: String,
    },
    /// The copy is not what was copied.
    #[error("the copy of {} is not the same: {difference}; check the disk, then try again", .path.display())]
    Differs {
        /// The database that was copied.
        path: PathBuf,
        /// Where, and how.
        difference: String,
    },
    /// The database failed, or the storage is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// SQLite failed at a file: what speaks of the file's content names it.
    pub(super) fn sqlite(path: &Path, doing: &str, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // No code: a value that is not of its kind. Unknown: a schema that SQLite cannot make sense of.
            None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Damaged { path: path.to_owned(), problem: format!("{error} (while trying to {doing})") }
            }
            _ => store_error("copy the database", error).into(),
        }
    }

    /// The file system failed.
    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::StorageFull.into(),
            _ => Self::Io { doing, path: path.to_owned(), source },
        }
    }
}
