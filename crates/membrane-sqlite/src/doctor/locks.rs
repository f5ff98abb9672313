//! The files of a database, and what locks on parts of them mean to SQLite.

use std::path::{Path, PathBuf};

use crate::connection::{index_path, journal_path, log_path, real_path};

/// A file of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// The database itself.
    Database,
    /// The write-ahead log.
    Log,
    /// The log's index, on which most locks are.
    Index,
    /// The rollback journal.
    Journal,
}

/// The files that belong to a database, whether they are there or not.
pub fn companions(path: &Path) -> [(Companion, PathBuf); 4] {
    [
        (Companion::Database, real_path(path)),
        (Companion::Log, log_path(path)),
        (Companion::Index, index_path(path)),
        (Companion::Journal, journal_path(path)),
    ]
}

/// Bytes of the database file that locks are taken on.
const PENDING: u64 = 0x4000_0000;
const RESERVED: u64 = PENDING + 1;
const SHARED: u64 = PENDING + 2;

/// Bytes of the index that locks are taken on.
const WRITE: u64 = 120;
const CHECKPOINT: u64 = 121;
const RECOVER: u64 = 122;
const FIRST_READ: u64 = 123;
const LAST_READ: u64 = 127;
const OPEN: u64 = 128;

/// What a lock on bytes `start` to `end` of a file means.
pub fn lock_meaning(which: Companion, start: u64, end: u64, is_write: bool) -> &'static str {
    let covers = |byte| (start..=end).contains(&byte);
    match which {
        Companion::Database if is_write && covers(SHARED) => "has it for itself alone",
        Companion::Database if is_write && (covers(RESERVED) || covers(PENDING)) => "is writing",
        Companion::Database if covers(SHARED) || start > SHARED => "has it open",
        Companion::Index if is_write && covers(WRITE) => "is writing",
        Companion::Index if is_write && covers(RECOVER) => "is reading the log after a crash",
        Companion::Index if is_write && covers(CHECKPOINT) => "is moving the log into the file",
        Companion::Index if start <= LAST_READ && end >= FIRST_READ => "is reading",
        Companion::Index if covers(OPEN) => "has it open",
        _ => "has a lock on it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_mean_what_sqlite_means_by_them() {
        for (which, start, end, is_write, meaning) in [
            (Companion::Database, SHARED, SHARED + 509, false, "has it open"),
            (Companion::Database, PENDING, SHARED + 509, true, "has it for itself alone"),
            (Companion::Database, RESERVED, RESERVED, true, "is writing"),
            (Companion::Index, 120, 120, true, "is writing"),
            (Companion::Index, 124, 124, false, "is reading"),
            (Companion::Index, 128, 128, false, "has it open"),
            (Companion::Log, 0, 1, true, "has a lock on it"),
        ] {
            assert_eq!(lock_meaning(which, start, end, is_write), meaning, "{which:?} {start}..{end}");
        }
    }
}
