//! What a repair did, and why there was none.

use std::path::PathBuf;

use membrane_core::time::Timestamp;
use membrane_store::StoreError;

use crate::check::{CheckError, CheckReport};

/// How to repair.
#[derive(Debug, Clone, Copy)]
pub struct RepairOptions {
    /// Whether what nothing reaches is removed.
    pub prune: bool,
    /// The time: part of the name of the copy that is made.
    pub now: Timestamp,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What the first check found.
    pub before: CheckReport,
    /// What is found now.
    pub after: CheckReport,
    /// The copy that was made first; none if nothing was to be done.
    pub copy: Option<PathBuf>,
    /// What was put right, line by line; empty if nothing was.
    pub done: Vec<String>,
    /// What is lost and cannot be put right, line by line.
    pub lost: Vec<String>,
    /// What was left as it is on purpose, line by line.
    pub left: Vec<String>,
}

/// Why nothing was repaired. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The file cannot be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Another process has the database open.
    #[error("{} is in use by another process; stop it, then try again", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file may not be written to.
    #[error("{} may not be written to; change its permissions, or repair a copy of it", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// There is no copy to go back to.
    #[error("no copy could be made at {}, and without one nothing is repaired: {problem}", .path.display())]
    Copy {
        /// Where it should have been.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// The second check was worse than the first: everything was taken back.
    #[error(
        "the repair was taken back, because afterwards there was something new: {news}; \
         restore a backup with \"membrane restore FILE\""
    )]
    Worse {
        /// The first of what was new.
        news: String,
    },
    /// The database failed; everything was taken back.
    #[error(transparent)]
    Store(#[from] StoreError),
}
