//! What old files held beyond the rest.

use membrane_core::ids::SessionId;
use membrane_store::{OldRow, StoreError};
use rusqlite::{Connection, params};

use crate::error::Doing;
use crate::rows::{self, signed};

/// Of a session: ?1 its id, ?2 how many, ?3 after how many.
const OF_SESSION: &str = "SELECT session_id, source, row_key, value, reason FROM legacy_rows \
     WHERE session_id = ?1 ORDER BY number LIMIT ?2 OFFSET ?3";

/// Of none that is there; ?1 is NULL.
const OF_NONE: &str = "SELECT session_id, source, row_key, value, reason FROM legacy_rows \
     WHERE ?1 IS NULL AND (session_id IS NULL \
     OR NOT EXISTS (SELECT 1 FROM chat_sessions s WHERE s.id = legacy_rows.session_id)) \
     ORDER BY number LIMIT ?2 OFFSET ?3";

/// What was kept of a session, or of none that is there.
pub(crate) fn list(
    conn: &Connection,
    session: Option<&SessionId>,
    offset: u64,
    limit: u32,
) -> Result<Vec<OldRow>, StoreError> {
    let doing = "read what old files held";
    let sql = if session.is_some() { OF_SESSION } else { OF_NONE };
    let mut statement = conn.prepare_cached(sql).doing(doing)?;
    let id = session.map(SessionId::as_str);
    let mut found = statement.query(params![id, limit, signed(offset)]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("legacy_rows", row, |row| {
            Ok(OldRow {
                session: row.get(0)?,
                source: row.get(1)?,
                row: row.get(2)?,
                value: row.get(3)?,
                reason: row.get(4)?,
            })
        })
    })
}
