//! What old files knew beyond the rest.

use membrane_core::evidence::LegacyTotals;
use membrane_core::ids::SessionId;
use membrane_store::change::Past;
use membrane_store::{OldRow, StoreError};
use rusqlite::{Connection, params};

use crate::apply::record::{Dirty, Tx};
use crate::apply::sessions;
use crate::error::Doing;

/// Writes what an old file knew of a session.
pub(super) fn set(tx: &mut Tx<'_>, id: &SessionId, past: &Past) -> Result<(), StoreError> {
    let doing = "write what an old file knew";
    let conn = tx.conn;
    sessions::patch(tx, id, &past.patch)?;
    tx.raise(id)?;
    let record = tx.record(id)?;
    record.last_active = past.last_active.to_string();
    record.legacy = LegacyTotals::of(&past.legacy);
    record.mark(Dirty::InPlace);
    let (number, history) = (record.number, record.cut.history);
    conn.prepare_cached("DELETE FROM legacy_sets WHERE history_id = ?1")
        .and_then(|mut statement| statement.execute([history.0]))
        .doing(doing)?;
    sessions::insert_legacy(conn, history, &past.legacy)?;
    conn.prepare_cached("UPDATE chat_sessions SET is_merged = ?2, merged_into = ?3 WHERE number = ?1")
        .and_then(|mut statement| {
            let into = past.merged_into.as_ref().map(SessionId::as_str);
            statement.execute(params![number, past.is_merged, into])
        })
        .doing(doing)?;
    Ok(())
}

/// Keeps something word for word.
pub(super) fn keep(tx: &Tx<'_>, row: &OldRow) -> Result<(), StoreError> {
    tx.conn
        .prepare_cached(
            "INSERT INTO legacy_rows (session_id, source, row_key, value, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![row.session, row.source, row.row, row.value, row.reason])
        })
        .doing("keep something of an old file")?;
    Ok(())
}

/// Removes what was kept of a session.
pub(super) fn forget(conn: &Connection, id: &SessionId) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM legacy_rows WHERE session_id = ?1")
        .and_then(|mut statement| statement.execute([id.as_str()]))
        .doing("remove what was kept of an old file")?;
    Ok(())
}
