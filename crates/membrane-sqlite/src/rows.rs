//! Rows as domain values. A row that makes no sense becomes an error naming table, row and problem.

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::crystal::Crystal;
use membrane_core::error::ValueError;
use membrane_core::event::{Event, EventKind, EventSeq};
use membrane_core::evidence::LegacyTotals;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, HistoryId, SessionId};
use membrane_core::json::Json;
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::{StoreError, codec};
use rusqlite::Row;

use crate::error::Doing;

/// The columns of [`session`], in its order.
pub(crate) const SESSION_COLUMNS: &str = "id, family_id, project_id, parent_id, fork_point, branch_name, \
     title, tags_json, pinned, archived, trailing, metadata_json, state, is_merged, merged_into, version, \
     history_id, turn_count, sum_succeeded, sum_failed, sum_tool_calls, context_size, sum_chars, \
     sum_code_blocks, flipped, legacy_alpha, legacy_beta, created_at, last_active";

/// The columns of [`checkpoint`], in its order.
pub(crate) const CHECKPOINT_COLUMNS: &str = "id, session_id, history_id, turn_count, name, kind, created_at";

/// Why a row could not be read: SQLite failed, or a value makes no sense.
#[derive(Debug)]
pub(crate) enum RowError {
    Sqlite(rusqlite::Error),
    Value(ValueError),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ValueError> for RowError {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// Reads a row, naming it by its first column if it makes no sense.
pub(crate) fn read<T>(
    table: &'static str,
    row: &Row<'_>,
    decode: impl FnOnce(&Row<'_>) -> Result<T, RowError>,
) -> Result<T, StoreError> {
    decode(row).map_err(|error| {
        let name = row.get::<_, String>(0).or_else(|_| row.get::<_, i64>(0).map(|number| number.to_string()));
        let name = name.unwrap_or_else(|_| "?".to_owned());
        match error {
            RowError::Value(error) => StoreError::inconsistent(table, name, error),
            RowError::Sqlite(
                error @ (rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)),
            ) => StoreError::inconsistent(table, name, error),
            RowError::Sqlite(error) => StoreError::Backend { doing: "read a row", source: Box::new(error) },
        }
    })
}

/// Reads all rows of a prepared query.
pub(crate) fn collect<T>(
    rows: &mut rusqlite::Rows<'_>,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut values = Vec::new();
    while let Some(row) = rows.next().doing("read rows")? {
        values.push(read(row)?);
    }
    Ok(values)
}

/// A count as SQLite holds it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count that SQLite holds; never negative in a sound row.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A text column, borrowed.
pub(crate) fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, RowError> {
    let value = row.get_ref(column)?;
    value.as_str().map_err(|error| RowError::Sqlite(error.into()))
}

/// A text column that may be NULL, borrowed.
pub(crate) fn maybe_text<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row str>, RowError> {
    let value = row.get_ref(column)?;
    value.as_str_or_null().map_err(|error| RowError::Sqlite(error.into()))
}

/// A time column of Membrane's own tables.
pub(crate) fn micros(row: &Row<'_>, column: usize) -> Result<Timestamp, RowError> {
    Ok(Timestamp::from_micros(row.get(column)?))
}

/// [`SESSION_COLUMNS`] as a session.
pub(crate) fn session(row: &Row<'_>) -> Result<Session, RowError> {
    let session_id = |column| maybe_text(row, column).map(|text| text.map(SessionId::from_stored));
    Ok(Session {
        id: SessionId::from_stored(text(row, 0)?),
        family: SessionId::from_stored(text(row, 1)?),
        project_id: row.get(2)?,
        parent_id: session_id(3)?,
        fork_point: row.get::<_, Option<i64>>(4)?.map(unsigned),
        branch_name: row.get(5)?,
        title: row.get(6)?,
        tags: codec::decode_list("tags", maybe_text(row, 7)?)?,
        pinned: row.get(8)?,
        archived: row.get(9)?,
        trailing: row.get(10)?,
        metadata: Json::parse("metadata", text(row, 11)?)?,
        state: State::parse(text(row, 12)?)?,
        is_merged: row.get(13)?,
        merged_into: session_id(14)?,
        version: unsigned(row.get(15)?),
        cut: Cut { history: HistoryId(row.get(16)?), turn_count: unsigned(row.get(17)?) },
        totals: totals(row, 18)?,
        flipped: row.get(24)?,
        legacy: LegacyTotals { alpha: row.get(25)?, beta: row.get(26)? },
        created_at: Timestamp::parse(text(row, 27)?)?,
        last_active: Timestamp::parse(text(row, 28)?)?,
    })
}

/// Six columns from `first` on as totals: succeeded, failed, tool_calls, tokens, chars, code_blocks.
pub(crate) fn totals(row: &Row<'_>, first: usize) -> Result<Totals, RowError> {
    Ok(Totals {
        succeeded: row.get(first)?,
        failed: row.get(first + 1)?,
        tool_calls: row.get(first + 2)?,
        tokens: row.get(first + 3)?,
        chars: row.get(first + 4)?,
        code_blocks: row.get(first + 5)?,
    })
}

/// [`CHECKPOINT_COLUMNS`] as a checkpoint.
pub(crate) fn checkpoint(row: &Row<'_>) -> Result<Checkpoint, RowError> {
    Ok(Checkpoint {
        id: CheckpointId::from_stored(text(row, 0)?),
        session: SessionId::from_stored(text(row, 1)?),
        cut: Cut { history: HistoryId(row.get(2)?), turn_count: unsigned(row.get(3)?) },
        name: row.get(4)?,
        kind: CheckpointKind::parse(text(row, 5)?)?,
        created_at: Timestamp::parse(text(row, 6)?)?,
    })
}

/// `session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json,
/// final_turn_count, created_at` as a crystal.
pub(crate) fn crystal(row: &Row<'_>) -> Result<Crystal, RowError> {
    Ok(Crystal {
        session: SessionId::from_stored(text(row, 0)?),
        title: row.get(1)?,
        summary: row.get(2)?,
        key_decisions: codec::decode_list("key decisions", maybe_text(row, 3)?)?,
        artifacts: codec::decode_list("artifacts", maybe_text(row, 4)?)?,
        final_evidence: Json::parse("final evidence", maybe_text(row, 5)?.unwrap_or("{}"))?,
        final_turn_count: unsigned(row.get(6)?),
        created_at: Timestamp::parse(text(row, 7)?)?,
    })
}

/// `seq, kind, session_id, version, at` as an event.
pub(crate) fn event(row: &Row<'_>) -> Result<Event, RowError> {
    Ok(Event {
        seq: EventSeq(unsigned(row.get(0)?)),
        kind: EventKind::parse(text(row, 1)?)?,
        session: SessionId::from_stored(text(row, 2)?),
        version: unsigned(row.get(3)?),
        at: Timestamp::from_micros(row.get(4)?),
    })
}
