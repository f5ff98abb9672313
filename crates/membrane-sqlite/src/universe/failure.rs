//! What can go wrong with a file that is only read.

use membrane_store::kgents::{Place, SourceError};
use rusqlite::ErrorCode;

use crate::error::store_error;

/// The temporary tables found no room.
#[derive(Debug, thiserror::Error)]
#[error("the folder for temporary files is full; name another one in SQLITE_TMPDIR")]
struct NoRoom(#[source] rusqlite::Error);

/// What to do with a file that SQLite cannot read on.
const REMEDY: &str = "recover what can be read with \"sqlite3 FILE .recover | sqlite3 RECOVERED\" and import RECOVERED; \
                      nothing was changed in the file";

/// A failure that belongs to no row.
pub(super) fn failed(error: rusqlite::Error) -> SourceError {
    failed_at("all rows", error)
}

/// A failure at a row of `data`.
pub(super) fn failed_at(row: &str, error: rusqlite::Error) -> SourceError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => SourceError::Read(Box::new(NoRoom(error))),
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory,
        ) => SourceError::Read(Box::new(store_error("read the old file", error))),
        // Rows that are not where the file says, tables that are not what they were: all kinds of damage.
        _ => SourceError::Damaged {
            place: Place { table: "data", row: row.to_owned() },
            problem: error.to_string(),
            remedy: REMEDY.to_owned(),
        },
    }
}
