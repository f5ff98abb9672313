//! Rows as domain values. A row that makes no sense becomes an error naming table, row and problem.

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::crystal::Crystal;
use membrane_core::error::ValueError;
use membrane_core::evidence::LegacyTotals;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, HistoryId, SessionId};
use membrane_core::json::Json;
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::{StoreError, codec};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::value::unescape;

/// The columns of [`session`], in its order.
pub(crate) const SESSION_COLUMNS: &str = "id, family_id, project_id, parent_id, fork_point, branch_name, \
     title, tags_json, pinned, archived, \"trailing\", metadata_json, state, is_merged, merged_into, version, \
     history_id, turn_count, sum_succeeded, sum_failed, sum_tool_calls, context_size, sum_chars, \
     sum_code_blocks, flipped, legacy_alpha, legacy_beta, created_at, last_active";

/// The columns of [`checkpoint`], in its order.
pub(crate) const CHECKPOINT_COLUMNS: &str = "id, session_id, history_id, turn_count, name, kind, created_at";

/// Why a row could not be read: a column has another type, or a value makes no sense.
#[derive(Debug)]
pub(crate) enum RowError {
    Column(tokio_postgres::Error),
    Value(ValueError),
}

impl From<tokio_postgres::Error> for RowError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Column(error)
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
    row: &Row,
    decode: impl FnOnce(&Row) -> Result<T, RowError>,
) -> Result<T, StoreError> {
    decode(row).map_err(|error| {
        let name = row.try_get::<_, String>(0).or_else(|_| row.try_get::<_, i64>(0).map(|id| id.to_string()));
        let name = name.unwrap_or_else(|_| "?".to_owned());
        match error {
            RowError::Value(error) => StoreError::inconsistent(table, name, error),
            RowError::Column(error) => StoreError::inconsistent(table, name, error),
        }
    })
}

/// Reads all rows of a result.
pub(crate) fn collect<T>(
    table: &'static str,
    rows: &[Row],
    decode: impl Fn(&Row) -> Result<T, RowError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| read(table, row, &decode)).collect()
}

/// A count as PostgreSQL holds it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count that PostgreSQL holds; never negative in a sound row.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A column of a type that needs no care.
pub(crate) fn get<'row, T: FromSql<'row>>(row: &'row Row, column: usize) -> Result<T, RowError> {
    Ok(row.try_get(column)?)
}

/// A text column, as it was said.
pub(crate) fn text(row: &Row, column: usize) -> Result<String, RowError> {
    Ok(unescape(row.try_get(column)?).into_owned())
}

/// A text column that may be NULL, as it was said.
pub(crate) fn maybe_text(row: &Row, column: usize) -> Result<Option<String>, RowError> {
    Ok(row.try_get::<_, Option<&str>>(column)?.map(|text| unescape(text).into_owned()))
}

/// A time column of Membrane's own tables.
pub(crate) fn micros(row: &Row, column: usize) -> Result<Timestamp, RowError> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

/// [`SESSION_COLUMNS`] as a session.
pub(crate) fn session(row: &Row) -> Result<Session, RowError> {
    let session_id = |column| maybe_text(row, column).map(|text| text.map(|id| SessionId::from_stored(&id)));
    Ok(Session {
        id: SessionId::from_stored(&text(row, 0)?),
        family: SessionId::from_stored(&text(row, 1)?),
        project_id: maybe_text(row, 2)?,
        parent_id: session_id(3)?,
        fork_point: get::<Option<i64>>(row, 4)?.map(unsigned),
        branch_name: text(row, 5)?,
        title: maybe_text(row, 6)?,
        tags: codec::decode_list("tags", maybe_text(row, 7)?.as_deref())?,
        pinned: get(row, 8)?,
        archived: get(row, 9)?,
        trailing: get(row, 10)?,
        metadata: Json::parse("metadata", &text(row, 11)?)?,
        state: State::parse(&text(row, 12)?)?,
        is_merged: get(row, 13)?,
        merged_into: session_id(14)?,
        version: unsigned(get(row, 15)?),
        cut: Cut { history: HistoryId(get(row, 16)?), turn_count: unsigned(get(row, 17)?) },
        totals: totals(row, 18)?,
        flipped: get(row, 24)?,
        legacy: LegacyTotals { alpha: get(row, 25)?, beta: get(row, 26)? },
        created_at: Timestamp::parse(&text(row, 27)?)?,
        last_active: Timestamp::parse(&text(row, 28)?)?,
    })
}

/// Six columns from `first` on as totals: succeeded, failed, tool_calls, tokens, chars, code_blocks.
pub(crate) fn totals(row: &Row, first: usize) -> Result<Totals, RowError> {
    Ok(Totals {
        succeeded: get(row, first)?,
        failed: get(row, first + 1)?,
        tool_calls: get(row, first + 2)?,
        tokens: get(row, first + 3)?,
        chars: get(row, first + 4)?,
        code_blocks: get(row, first + 5)?,
    })
}

/// [`CHECKPOINT_COLUMNS`] as a checkpoint.
pub(crate) fn checkpoint(row: &Row) -> Result<Checkpoint, RowError> {
    Ok(Checkpoint {
        id: CheckpointId::from_stored(&text(row, 0)?),
        session: SessionId::from_stored(&text(row, 1)?),
        cut: Cut { history: HistoryId(get(row, 2)?), turn_count: unsigned(get(row, 3)?) },
        name: maybe_text(row, 4)?,
        kind: CheckpointKind::parse(&text(row, 5)?)?,
        created_at: Timestamp::parse(&text(row, 6)?)?,
    })
}

/// `session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json,
/// final_turn_count, created_at` as a crystal.
pub(crate) fn crystal(row: &Row) -> Result<Crystal, RowError> {
    Ok(Crystal {
        session: SessionId::from_stored(&text(row, 0)?),
        title: text(row, 1)?,
        summary: text(row, 2)?,
        key_decisions: codec::decode_list("key decisions", maybe_text(row, 3)?.as_deref())?,
        artifacts: codec::decode_list("artifacts", maybe_text(row, 4)?.as_deref())?,
        final_evidence: Json::parse("final evidence", maybe_text(row, 5)?.as_deref().unwrap_or("{}"))?,
        final_turn_count: unsigned(get(row, 6)?),
        created_at: Timestamp::parse(&text(row, 7)?)?,
    })
}
