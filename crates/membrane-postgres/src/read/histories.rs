//! Histories, marks of turns, and counts of signals within a cut.

use membrane_core::evidence::LegacySet;
use membrane_core::history::{Cut, History, Slice, TurnMark, TurnRef};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::Totals;
use membrane_store::StoreError;
use tokio_postgres::Row;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::{Value, values};

/// A row for the history itself (a merge of two empty sessions has no slices and is a history all the same), one for each
/// slice and one for each legacy observation; in one statement, so that it is one snapshot.
const FIND: &str = "SELECT id AS history_id, 0::BIGINT AS start, NULL::BIGINT AS stop, NULL::BIGINT AS segment_id, \
     NULL::BIGINT AS segment_offset, NULL::BIGINT AS base_succeeded, NULL::BIGINT, NULL::BIGINT, NULL::BIGINT, \
     NULL::BIGINT, NULL::BIGINT, NULL::TEXT AS origin_id, NULL::FLOAT8, NULL::FLOAT8 FROM histories WHERE id = $1 \
     UNION ALL SELECT history_id, start, stop, segment_id, segment_offset, base_succeeded, base_failed, \
     base_tool_calls, base_tokens, base_chars, base_code_blocks, NULL, NULL, NULL FROM slices WHERE history_id = $1 \
     UNION ALL SELECT history_id, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, origin_id, alpha, beta \
     FROM legacy_sets WHERE history_id = $1";

/// Finds a history: its slices and its legacy observations.
pub(crate) async fn find(db: Db<'_>, id: HistoryId) -> Result<Option<History>, StoreError> {
    decode(&db.query(FIND, &values![id.0]).await.doing("read a history")?)
}

/// What [`decode`] reads the answer of.
pub(crate) fn find_statement<'a>(id: HistoryId) -> Statement<'a> {
    Statement { sql: FIND, values: values![id.0].into() }
}

/// Finds several histories at once, in the order asked for.
pub(crate) async fn find_all(
    db: Db<'_>,
    ids: impl Iterator<Item = HistoryId>,
) -> Result<Vec<Option<History>>, StoreError> {
    let doing = "read histories";
    let statements: Vec<_> = ids.map(find_statement).collect();
    let answers = db.flight(&statements).await.doing(doing)?;
    answers.into_iter().map(|rows| decode(&rows.doing(doing)?)).collect()
}

/// The rows of a history.
pub(crate) fn decode(found: &[Row]) -> Result<Option<History>, StoreError> {
    if found.is_empty() {
        return Ok(None);
    }
    let mut history = History::default();
    for row in found {
        rows::read("slices", row, |row| {
            if let Some(origin) = rows::maybe_text(row, 11)? {
                let origin = SessionId::from_stored(&origin);
                history.legacy.push(LegacySet { origin, alpha: get(row, 12)?, beta: get(row, 13)? });
            } else if get::<Option<i64>>(row, 3)?.is_some() {
                history.slices.push(slice(row)?);
            }
            Ok(())
        })?;
    }
    history.slices.sort_by_key(|slice| slice.start);
    history.legacy.sort_by(|a, b| a.origin.cmp(&b.origin));
    Ok(Some(history))
}

fn slice(row: &Row) -> Result<Slice, RowError> {
    Ok(Slice {
        start: unsigned(get(row, 1)?),
        stop: get::<Option<i64>>(row, 2)?.map(unsigned),
        segment: SegmentId(get(row, 3)?),
        offset: get(row, 4)?,
        base: rows::totals(row, 5)?,
    })
}

fn mark(row: &Row) -> Result<TurnMark, RowError> {
    let observes: Option<bool> = get(row, 9)?;
    Ok(TurnMark {
        at: TurnRef { segment: SegmentId(get(row, 0)?), position: get(row, 1)? },
        order_at: rows::micros(row, 2)?,
        sums: rows::totals(row, 3)?,
        own: Totals {
            succeeded: i64::from(observes == Some(true)),
            failed: i64::from(observes == Some(false)),
            tool_calls: get(row, 10)?,
            tokens: get(row, 11)?,
            chars: get(row, 12)?,
            code_blocks: get(row, 13)?,
        },
    })
}

/// The marks of all turns of a cut, in order.
pub(crate) async fn list_marks(db: Db<'_>, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
    let found = db
        .query(
            "SELECT t.segment_id, t.position, t.order_at, t.sum_succeeded, t.sum_failed, t.sum_tool_calls, \
             t.sum_tokens, t.sum_chars, t.sum_code_blocks, t.observes, t.own_tool_calls, t.own_tokens, \
             t.own_chars, t.own_code_blocks FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id \
             AND t.position >= sl.segment_offset \
             AND t.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, $2), $2) \
             WHERE sl.history_id = $1 AND sl.start < $2 ORDER BY sl.start, t.position",
            &values![cut.history.0, signed(cut.turn_count)],
        )
        .await
        .doing("read a history's marks")?;
    rows::collect("turns", &found, mark)
}

/// The marks of single turns; those that are gone are left out.
pub(crate) async fn find_marks(db: Db<'_>, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
    let found = db
        .query(
            "SELECT t.segment_id, t.position, t.order_at, t.sum_succeeded, t.sum_failed, t.sum_tool_calls, \
             t.sum_tokens, t.sum_chars, t.sum_code_blocks, t.observes, t.own_tool_calls, t.own_tokens, \
             t.own_chars, t.own_code_blocks FROM unnest($1, $2) AS at (segment_id, position) \
             JOIN turns t USING (segment_id, position)",
            &[
                Value::Ints(turns.iter().map(|at| at.segment.0).collect()),
                Value::Ints(turns.iter().map(|at| at.position).collect()),
            ],
        )
        .await
        .doing("read marks of turns")?;
    rows::collect("turns", &found, mark)
}

/// How many of the first $2 turns of history $1 count as failures because of a signal.
pub(crate) const COUNT_FLIPS: &str = "SELECT count(*) FROM slices sl JOIN flipped_turns f ON f.segment_id = sl.segment_id \
     AND f.position >= sl.segment_offset \
     AND f.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, $2), $2) \
     WHERE sl.history_id = $1 AND sl.start < $2";
