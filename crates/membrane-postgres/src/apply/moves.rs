//! Pointing a session at another cut: rewind and restore.

use membrane_core::evidence::LegacyTotals;
use membrane_core::history::{Cut, Head, History};
use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::change::Leave;
use membrane_store::{StoreError, Subject};

use super::checkpoints;
use super::record::Dirty;
use super::tx::Tx;
use crate::db::Db;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::{self, signed};
use crate::value::values;

/// What a thread's rows add up to at a cut.
#[derive(Debug)]
pub(super) struct Standing {
    /// The totals, signals aside.
    pub(crate) totals: Totals,
    /// The last turn's place in the order of interleaving.
    pub(crate) last_order_at: Option<Timestamp>,
    /// Successes that count as failures because of a signal.
    pub(crate) flipped: i64,
    /// The history's legacy observations.
    pub(crate) legacy: LegacyTotals,
}

impl Standing {
    /// Nothing yet, but for what old files knew.
    pub(super) fn before_first(legacy: LegacyTotals) -> Self {
        Self { totals: Totals::ZERO, last_order_at: None, flipped: 0, legacy }
    }
}

/// Moves the session and leaves a checkpoint where it stood.
pub(super) async fn move_session<'a>(
    tx: &mut Tx<'a>,
    session: &'a SessionId,
    to: Cut,
    leave: &'a Leave,
) -> Result<(), StoreError> {
    tx.flush();
    checkpoints::leave(tx, session, leave)?;
    if let Some(head) = tx.record(session)?.head.take() {
        // It ends here, as its owner turns away from it.
        tx.put(
            "seal a segment",
            "UPDATE segments SET sealed_at = $2 WHERE id = $1",
            values![head.segment.0, head.position],
        );
    }
    let db = tx.db().await?;
    let history = histories::find(db, to.history)
        .await?
        .ok_or_else(|| StoreError::not_found(Subject::History, to.history.0))?;
    let standing = standing(db, to, &history).await?;
    let head = regain_head(tx, &history, to.turn_count, session).await?;
    let now = tx.now_text.clone();
    let record = tx.record(session)?;
    record.cut = to;
    record.head = head;
    record.totals = standing.totals;
    record.last_order_at = standing.last_order_at;
    record.flipped = standing.flipped;
    record.legacy = standing.legacy;
    record.touch(&now);
    record.mark(Dirty::All);
    tx.raise(session)?;
    tx.flush();
    checkpoints::prune_automatic(tx, session).await
}

/// What a cut adds up to: one slice, one turn, and the signals in between.
pub(super) async fn standing_at(db: Db<'_>, cut: Cut) -> Result<Standing, StoreError> {
    let history = histories::find(db, cut.history)
        .await?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    standing(db, cut, &history).await
}

async fn standing(db: Db<'_>, cut: Cut, history: &History) -> Result<Standing, StoreError> {
    let legacy = LegacyTotals::of(&history.legacy);
    let Some(last) = cut.turn_count.checked_sub(1) else { return Ok(Standing::before_first(legacy)) };
    let missing =
        || StoreError::not_found(Subject::Turn, format_args!("{last} of history {}", cut.history.0));
    let (at, slice) = history.locate(last).zip(history.slice_of(last)).ok_or_else(missing)?;
    let turn = db
        .find(
            "SELECT segment_id, order_at, sum_succeeded, sum_failed, sum_tool_calls, sum_tokens, sum_chars, \
             sum_code_blocks FROM turns WHERE segment_id = $1 AND position = $2",
            &values![at.segment.0, at.position],
        )
        .await
        .doing("read a turn's totals")?
        .ok_or_else(missing)?;
    let (order_at, sums) =
        rows::read("turns", &turn, |row| Ok((rows::micros(row, 1)?, rows::totals(row, 2)?)))?;
    Ok(Standing {
        totals: slice.base + sums,
        last_order_at: Some(order_at),
        flipped: histories::count_flips(db, cut).await?,
        legacy,
    })
}

/// Opens the history's last segment again if the session owns it and stands exactly where it ended.
async fn regain_head<'a>(
    tx: &mut Tx<'a>,
    history: &History,
    turn_count: u64,
    session: &'a SessionId,
) -> Result<Option<Head>, StoreError> {
    let Some(last) = history.slices.last().filter(|slice| slice.stop.is_none()) else { return Ok(None) };
    let Some(seen) = turn_count.checked_sub(last.start) else { return Ok(None) };
    let position = last.offset + signed(seen);
    let regained = tx
        .ask(
            "open a segment again",
            "UPDATE segments SET sealed_at = NULL WHERE id = $1 AND owner_id = $2 AND sealed_at = $3 \
             RETURNING id",
            values![last.segment.0, session.as_str(), position],
        )
        .await?;
    Ok((!regained.is_empty()).then_some(Head { segment: last.segment, position }))
}
