//! Histories, marks of turns, and counts of signals within a cut.

use std::ops::Range;

use membrane_core::evidence::LegacySet;
use membrane_core::history::{Cut, History, Slice, Span, TurnMark, TurnRef};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::Totals;
use membrane_store::StoreError;
use rusqlite::{Connection, Row, params};

use crate::error::Doing;
use crate::rows::{self, RowError, signed, unsigned};

/// Finds a history: its slices and its legacy observations.
pub(crate) fn find(conn: &Connection, id: HistoryId) -> Result<Option<History>, StoreError> {
    let doing = "read a history";
    let mut statement = conn
        .prepare_cached(
            "SELECT history_id, start, stop, segment_id, segment_offset, base_succeeded, base_failed, \
             base_tool_calls, base_tokens, base_chars, base_code_blocks FROM slices \
             WHERE history_id = ?1 ORDER BY start",
        )
        .doing(doing)?;
    let mut found = statement.query([id.0]).doing(doing)?;
    let slices = rows::collect(&mut found, |row| rows::read("slices", row, slice))?;
    let mut statement = conn
        .prepare_cached("SELECT history_id, origin_id, alpha, beta FROM legacy_sets WHERE history_id = ?1")
        .doing(doing)?;
    let mut found = statement.query([id.0]).doing(doing)?;
    let mut legacy = rows::collect(&mut found, |row| {
        rows::read("legacy_sets", row, |row| {
            let origin = SessionId::from_stored(rows::text(row, 1)?);
            Ok(LegacySet { origin, alpha: row.get(2)?, beta: row.get(3)? })
        })
    })?;
    legacy.sort_by(|a, b| a.origin.cmp(&b.origin));
    if slices.is_empty() {
        // A merge of two empty sessions has no slices and is a history all the same.
        let is_there: bool = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM histories WHERE id = ?1)")
            .and_then(|mut statement| statement.query_row([id.0], |row| row.get(0)))
            .doing(doing)?;
        return Ok(is_there.then_some(History { slices, legacy }));
    }
    Ok(Some(History { slices, legacy }))
}

fn slice(row: &Row<'_>) -> Result<Slice, RowError> {
    Ok(Slice {
        start: unsigned(row.get(1)?),
        stop: row.get::<_, Option<i64>>(2)?.map(unsigned),
        segment: SegmentId(row.get(3)?),
        offset: row.get(4)?,
        base: rows::totals(row, 5)?,
    })
}

/// The part of a slice that a range of turns needs: where to read, and the number of the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    /// What to read.
    pub(crate) span: Span,
    /// The number of its first turn.
    pub(crate) first: u64,
    /// What the slice adds to the turns' running totals.
    pub(crate) base: Totals,
}

/// The stretches of a history that hold turns `range`, in order. Reading them one by one is one range
/// scan each; a join over all of them would sort every text in it.
pub(crate) fn stretches(
    conn: &Connection,
    history: HistoryId,
    range: &Range<u64>,
) -> Result<Vec<Stretch>, StoreError> {
    let doing = "read a history";
    let mut statement = conn
        .prepare_cached(
            "SELECT history_id, start, stop, segment_id, segment_offset, base_succeeded, base_failed, \
             base_tool_calls, base_tokens, base_chars, base_code_blocks FROM slices \
             WHERE history_id = ?1 AND start < ?3 AND start >= coalesce( \
                 (SELECT max(start) FROM slices WHERE history_id = ?1 AND start <= ?2), 0) \
             ORDER BY start",
        )
        .doing(doing)?;
    let mut found =
        statement.query(params![history.0, signed(range.start), signed(range.end)]).doing(doing)?;
    let slices = rows::collect(&mut found, |row| rows::read("slices", row, slice))?;
    let stretch = |slice: Slice| {
        let span = slice.span_until(range.end)?;
        let skipped = range.start.saturating_sub(slice.start);
        let span = Span { from: span.from + signed(skipped), ..span };
        (!span.is_empty()).then_some(Stretch { span, first: slice.start + skipped, base: slice.base })
    };
    Ok(slices.into_iter().filter_map(stretch).collect())
}

const MARK: &str = "t.number, t.segment_id, t.position, t.order_at, t.sum_succeeded, t.sum_failed, \
     t.sum_tool_calls, t.sum_tokens, t.sum_chars, t.sum_code_blocks, t.observes, t.own_tool_calls, \
     t.own_tokens, t.own_chars, t.own_code_blocks";

fn mark(row: &Row<'_>) -> Result<TurnMark, RowError> {
    let observes: Option<bool> = row.get(10)?;
    Ok(TurnMark {
        at: TurnRef { segment: SegmentId(row.get(1)?), position: row.get(2)? },
        order_at: rows::micros(row, 3)?,
        sums: rows::totals(row, 4)?,
        own: Totals {
            succeeded: i64::from(observes == Some(true)),
            failed: i64::from(observes == Some(false)),
            tool_calls: row.get(11)?,
            tokens: row.get(12)?,
            chars: row.get(13)?,
            code_blocks: row.get(14)?,
        },
    })
}

/// The marks of all turns of a cut, in order.
pub(crate) fn list_marks(conn: &Connection, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
    let doing = "read a history's marks";
    let sql = format!(
        "SELECT {MARK} FROM turns t WHERE t.segment_id = ?1 AND t.position >= ?2 AND t.position < ?3 \
         ORDER BY t.position"
    );
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut marks = Vec::new();
    for stretch in stretches(conn, cut.history, &(0..cut.turn_count))? {
        let span = stretch.span;
        let mut found = statement.query([span.segment.0, span.from, span.to]).doing(doing)?;
        marks.extend(rows::collect(&mut found, |row| rows::read("turns", row, mark))?);
    }
    Ok(marks)
}

/// The marks of single turns; those that are gone are left out.
pub(crate) fn find_marks(conn: &Connection, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
    let doing = "read marks of turns";
    let sql = format!("SELECT {MARK} FROM turns t WHERE t.segment_id = ?1 AND t.position = ?2");
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut marks = Vec::with_capacity(turns.len());
    for at in turns {
        let mut found = statement.query([at.segment.0, at.position]).doing(doing)?;
        if let Some(row) = found.next().doing(doing)? {
            marks.push(rows::read("turns", row, mark)?);
        }
    }
    Ok(marks)
}

/// How many turns of a cut count as failures because of a signal.
pub(crate) fn count_flips(conn: &Connection, cut: Cut) -> Result<i64, StoreError> {
    conn.prepare_cached(
        "SELECT count(*) FROM slices sl JOIN flipped_turns f ON f.segment_id = sl.segment_id \
         AND f.position >= sl.segment_offset \
         AND f.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, ?2), ?2) \
         WHERE sl.history_id = ?1 AND sl.start < ?2",
    )
    .and_then(|mut statement| {
        statement.query_row(params![cut.history.0, signed(cut.turn_count)], |row| row.get(0))
    })
    .doing("count signals")
}
