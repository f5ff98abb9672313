//! What tells one keep's data from another's.

use membrane_store::StoreError;
use rusqlite::{Connection, params};

use crate::error::Doing;
use crate::migrations;

/// When the keep was made, and how often it was repaired: a repair counts in the file's `user_version`.
pub(crate) fn find(conn: &Connection) -> Result<String, StoreError> {
    let doing = "read the keep's name";
    let made: String = conn
        .query_row(
            "SELECT coalesce(applied_at, '') FROM schema_version WHERE version = ?1",
            params![migrations::FIRST],
            |row| row.get(0),
        )
        .doing(doing)?;
    let repaired: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).doing(doing)?;
    Ok(format!("sqlite-{made}-{repaired}"))
}
