//! What old files knew beyond the rest.

use membrane_core::evidence::LegacyTotals;
use membrane_core::ids::SessionId;
use membrane_store::change::Past;
use membrane_store::{OldRow, StoreError};

use super::record::Dirty;
use super::sessions;
use super::tx::Tx;
use crate::value::values;

/// Writes what an old file knew of a session.
pub(super) fn set<'a>(tx: &mut Tx<'a>, id: &'a SessionId, past: &'a Past) -> Result<(), StoreError> {
    let doing = "write what an old file knew";
    sessions::patch(tx, id, &past.patch)?;
    tx.raise(id)?;
    let record = tx.record(id)?;
    record.last_active = past.last_active.to_string();
    record.legacy = LegacyTotals::of(&past.legacy);
    record.mark(Dirty::All);
    let history = record.cut.history;
    tx.put(doing, "DELETE FROM legacy_sets WHERE history_id = $1", values![history.0]);
    sessions::insert_legacy(tx, history, &past.legacy);
    tx.put(
        doing,
        "UPDATE chat_sessions SET is_merged = $2, merged_into = $3 WHERE id = $1",
        values![id.as_str(), past.is_merged, past.merged_into.as_ref().map(SessionId::as_str)],
    );
    Ok(())
}

/// Keeps something word for word.
pub(super) fn keep<'a>(tx: &mut Tx<'a>, row: &'a OldRow) {
    tx.put(
        "keep something of an old file",
        "INSERT INTO legacy_rows (session_id, source, row_key, value, reason) VALUES ($1, $2, $3, $4, $5)",
        values![row.session.as_deref(), &*row.source, &*row.row, &*row.value, &*row.reason],
    );
}

/// Removes what was kept of a session.
pub(super) fn forget<'a>(tx: &mut Tx<'a>, id: &'a SessionId) {
    tx.put(
        "remove what was kept of an old file",
        "DELETE FROM legacy_rows WHERE session_id = $1",
        values![id.as_str()],
    );
}
