//! Why a copy cannot be made or brought back. What was there before is then as it was.

use std::io;
use std::path::{Path, PathBuf};

use membrane_store::StoreError;
use rusqlite::ErrorCode;

use crate::error::{OpenError, store_error};

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
    /// A database that holds no sessions of a known make.
    #[error("{} is no keep: {}; name another file", .path.display(), in_words(.tables))]
    NoKeep {
        /// The file.
        path: PathBuf,
        /// The tables that it has.
        tables: Vec<String>,
    },
    /// A backup whose rows contradict each other.
    #[error("{} is not restored: {count} rows or more contradict others, the first: {first}; \
             see all with \"membrane check\" on a copy of it, or restore another backup", .path.display())]
    Contradicts {
        /// The file.
        path: PathBuf,
        /// How many findings there are.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Somebody has the database open.
    #[error("{} is in use by {users}; stop that first, then try again", .path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// Who, as far as is known.
        users: String,
    },
    /// The backup is the database.
    #[error("{} is the database itself; name a backup of it", .path.display())]
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one that this binary opens.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The database failed, or the storage is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Some tables by name.
fn in_words(tables: &[String]) -> String {
    if tables.is_empty() {
        return "it has no tables".to_owned();
    }
    let shown: Vec<_> = tables.iter().take(5).map(|table| format!("{table:?}")).collect();
    let more = if tables.len() > shown.len() { ", …" } else { "" };
    format!("its tables are {}{more}", shown.join(", "))
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => Self::Store(error),
            error => Self::Open(Box::new(error)),
        }
    }
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
