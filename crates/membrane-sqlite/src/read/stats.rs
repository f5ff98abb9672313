//! How much there is, counted and measured. What is known without counting is in `counts.rs`.

use std::path::Path;

use membrane_store::{StoreError, StoreStats};
use rusqlite::Connection;

use crate::connection::{index_path, log_path};
use crate::error::Doing;
use crate::rows::unsigned;

/// Counts rows and bytes.
pub(crate) fn stats(conn: &Connection, path: &Path) -> Result<StoreStats, StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> {
        conn.query_row(sql, [], |row| row.get(0)).map(unsigned).doing("count rows")
    };
    Ok(StoreStats {
        sessions: count("SELECT count(*) FROM chat_sessions")?,
        turns_shown: count("SELECT coalesce(sum(turn_count), 0) FROM chat_sessions")?,
        turns_stored: count("SELECT count(*) FROM turns")?,
        histories: count("SELECT count(*) FROM histories")?,
        slices: count("SELECT count(*) FROM slices")?,
        runs: count("SELECT count(*) FROM runs")?,
        bytes: size(path) + size(&log_path(path)),
    })
}

/// What the file and its companions take on the disk.
pub(crate) fn bytes(path: &Path) -> u64 {
    size(path) + size(&log_path(path)) + size(&index_path(path))
}

/// A file that is not there takes no room.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
