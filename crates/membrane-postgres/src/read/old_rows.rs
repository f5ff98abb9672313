//! What old files held beyond the rest.

use membrane_core::ids::SessionId;
use membrane_store::{OldRow, StoreError};

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{self, signed};
use crate::value::values;

/// Of a session: $3 its id, $1 how many, $2 after how many.
const OF_SESSION: &str = "SELECT session_id, source, row_key, value, reason FROM legacy_rows \
     WHERE session_id = $3 ORDER BY number LIMIT $1 OFFSET $2";

/// Of none that is there.
const OF_NONE: &str = "SELECT session_id, source, row_key, value, reason FROM legacy_rows \
     WHERE session_id IS NULL OR NOT EXISTS (SELECT 1 FROM chat_sessions s WHERE s.id = legacy_rows.session_id) \
     ORDER BY number LIMIT $1 OFFSET $2";

/// What was kept of a session, or of none that is there.
pub(crate) async fn list(
    db: Db<'_>,
    session: Option<&SessionId>,
    offset: u64,
    limit: u32,
) -> Result<Vec<OldRow>, StoreError> {
    let (limit, offset) = (i64::from(limit), signed(offset));
    let found = match session {
        Some(session) => db.query(OF_SESSION, &values![limit, offset, session.as_str()]).await,
        None => db.query(OF_NONE, &values![limit, offset]).await,
    };
    let found = found.doing("read what old files held")?;
    rows::collect("legacy_rows", &found, |row| {
        Ok(OldRow {
            session: rows::maybe_text(row, 0)?,
            source: rows::text(row, 1)?,
            row: rows::text(row, 2)?,
            value: rows::text(row, 3)?,
            reason: rows::text(row, 4)?,
        })
    })
}
