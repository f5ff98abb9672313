//! Pointing a session at another cut: rewind and restore.

use membrane_core::evidence::LegacyTotals;
use membrane_core::history::{Cut, Head, History};
use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::change::Leave;
use membrane_store::{StoreError, Subject};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::checkpoints;
use crate::apply::record::{Dirty, Tx};
use crate::error::Doing;
use crate::read::histories;
use crate::rows::{self, signed};

/// What a thread's rows add up to at a cut.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The totals, signals aside.
    pub(crate) totals: Totals,
    /// The last turn's place in the order of interleaving.
    pub(crate) last_order_at: Option<Timestamp>,
    /// Successes that count as failures because of a signal.
    pub(crate) flipped: i64,
    /// The history's legacy observations.
    pub(crate) legacy: LegacyTotals,
}

/// Moves the session and leaves a checkpoint where it stood.
pub(super) fn move_session(
    tx: &mut Tx<'_>,
    session: &SessionId,
    to: Cut,
    leave: &Leave,
) -> Result<(), StoreError> {
    let conn = tx.conn;
    tx.flush()?;
    checkpoints::leave(tx, session, leave)?;
    let record = tx.record(session)?;
    if let Some(head) = record.head.take() {
        seal(conn, head)?;
    }
    let history = histories::find(conn, to.history)?
        .ok_or_else(|| StoreError::not_found(Subject::History, to.history.0))?;
    let standing = standing(conn, to, &history)?;
    let head = regain_head(conn, &history, to.turn_count, session)?;
    let now = tx.now_text.clone();
    let record = tx.record(session)?;
    record.cut = to;
    record.head = head;
    record.totals = standing.totals;
    record.last_order_at = standing.last_order_at;
    record.flipped = standing.flipped;
    record.legacy = standing.legacy;
    record.touch(&now);
    record.mark(Dirty::Moved);
    tx.raise(session)?;
    tx.flush()?;
    checkpoints::prune_automatic(tx, session)
}

/// What a cut adds up to: one slice, one turn, and the signals in between.
pub(crate) fn standing_at(conn: &Connection, cut: Cut) -> Result<Standing, StoreError> {
    let history = histories::find(conn, cut.history)?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    standing(conn, cut, &history)
}

fn standing(conn: &Connection, cut: Cut, history: &History) -> Result<Standing, StoreError> {
    let legacy = LegacyTotals::of(&history.legacy);
    let Some(last) = cut.turn_count.checked_sub(1) else { return Ok(Standing::before_first(legacy)) };
    let missing =
        || StoreError::not_found(Subject::Turn, format_args!("{last} of history {}", cut.history.0));
    let (at, slice) = history.locate(last).zip(history.slice_of(last)).ok_or_else(missing)?;
    let doing = "read a turn's totals";
    let mut statement = conn
        .prepare_cached(
            "SELECT order_at, sum_succeeded, sum_failed, sum_tool_calls, sum_tokens, sum_chars, \
             sum_code_blocks FROM turns WHERE segment_id = ?1 AND position = ?2",
        )
        .doing(doing)?;
    let mut found = statement.query([at.segment.0, at.position]).doing(doing)?;
    let row = found.next().doing(doing)?.ok_or_else(missing)?;
    let (order_at, sums) =
        rows::read("turns", row, |row| Ok((rows::micros(row, 0)?, rows::totals(row, 1)?)))?;
    Ok(Standing {
        totals: slice.base + sums,
        last_order_at: Some(order_at),
        flipped: histories::count_flips(conn, cut)?,
        legacy,
    })
}

/// Ends a segment that its owner turns away from.
fn seal(conn: &Connection, head: Head) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE segments SET sealed_at = ?2 WHERE id = ?1")
        .and_then(|mut statement| statement.execute([head.segment.0, head.position]))
        .doing("seal a segment")?;
    Ok(())
}

/// Opens the history's last segment again if the session owns it and stands exactly where it ended.
fn regain_head(
    conn: &Connection,
    history: &History,
    turn_count: u64,
    session: &SessionId,
) -> Result<Option<Head>, StoreError> {
    let Some(last) = history.slices.last().filter(|slice| slice.stop.is_none()) else { return Ok(None) };
    let Some(seen) = turn_count.checked_sub(last.start) else { return Ok(None) };
    let position = last.offset + signed(seen);
    let regained = conn
        .prepare_cached(
            "UPDATE segments SET sealed_at = NULL WHERE id = ?1 AND owner_id = ?2 AND sealed_at = ?3 \
             RETURNING id",
        )
        .and_then(|mut statement| {
            statement.query_row(params![last.segment.0, session.as_str(), position], |_| Ok(())).optional()
        })
        .doing("open a segment again")?;
    Ok(regained.map(|()| Head { segment: last.segment, position }))
}
