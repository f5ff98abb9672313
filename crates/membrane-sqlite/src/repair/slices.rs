//! What slices add to their segments' running totals.

use membrane_core::history::{Slice, TurnMark};
use membrane_core::ids::HistoryId;
use membrane_core::turn::Totals;
use membrane_store::StoreError;
use rusqlite::{Connection, params};

use super::run::Log;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::signed;

/// Fits every slice to the one before it. Where a turn at the seam is gone, the slice stays as it is.
pub(super) fn repair(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair slices";
    let ids: Vec<i64> = {
        let mut statement = conn.prepare("SELECT DISTINCT history_id FROM slices ORDER BY 1").doing(doing)?;
        let rows = statement.query_map([], |row| row.get(0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)?
    };
    let mut changed = 0;
    for id in ids.into_iter().map(HistoryId) {
        let Some(history) = histories::find(conn, id)? else { continue };
        let mut before = Some(Totals::ZERO);
        for slice in &history.slices {
            let base = fitting(conn, slice, before)?;
            if base != slice.base {
                write(conn, id, slice.start, base)?;
                changed += 1;
            }
            let last = slice.stop.map(|stop| signed(stop.saturating_sub(slice.start)) - 1);
            before = match last {
                Some(last) => mark(conn, slice, last)?.map(|mark| base + mark.sums),
                None => None,
            };
        }
    }
    log.done(changed, "slice", "slices", "what it adds to its turns' totals was worked out again");
    Ok(())
}

fn fitting(conn: &Connection, slice: &Slice, before: Option<Totals>) -> Result<Totals, StoreError> {
    if slice.stop.is_none() {
        // Appends go on from the session's totals: an open slice adds nothing.
        return Ok(Totals::ZERO);
    }
    let first = mark(conn, slice, 0)?;
    Ok(match (before, first) {
        (Some(before), Some(first)) => before - (first.sums - first.own),
        _ => slice.base,
    })
}

/// The mark of a slice's turn, counted from its first.
fn mark(conn: &Connection, slice: &Slice, index: i64) -> Result<Option<TurnMark>, StoreError> {
    let at = membrane_core::history::TurnRef {
        segment: slice.segment,
        position: slice.offset.saturating_add(index),
    };
    Ok(histories::find_marks(conn, &[at])?.pop())
}

fn write(conn: &Connection, history: HistoryId, start: u64, base: Totals) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE slices SET base_succeeded = ?3, base_failed = ?4, base_tool_calls = ?5, base_tokens = ?6, \
         base_chars = ?7, base_code_blocks = ?8 WHERE history_id = ?1 AND start = ?2",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            history.0,
            signed(start),
            base.succeeded,
            base.failed,
            base.tool_calls,
            base.tokens,
            base.chars,
            base.code_blocks,
        ])
    })
    .map(|_| ())
    .doing("write a slice")
}
