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
use crate::read::histories;
use crate::rows::{self, get, signed};
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
    let (history, standing) = standing_at(tx, to).await?;
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

/// What a cut adds up to: one slice, one turn, and the signals in between. All of it is asked at once.
pub(super) async fn standing_at(tx: &mut Tx<'_>, cut: Cut) -> Result<(History, Standing), StoreError> {
    let find = histories::find_statement(cut.history);
    tx.put("read a history", find.sql, find.values);
    let values = || values![cut.history.0, signed(cut.turn_count)];
    tx.put("read a turn's totals", LAST_TURN, values());
    let flips = tx.ask_all("count signals", histories::COUNT_FLIPS, values()).await?;
    let [.., history, turn, flipped] = flips.as_slice() else {
        return Err(StoreError::inconsistent("histories", cut.history.0, "no answer"));
    };
    let history =
        histories::decode(history)?.ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    let legacy = LegacyTotals::of(&history.legacy);
    let Some(last) = cut.turn_count.checked_sub(1) else {
        return Ok((history, Standing::before_first(legacy)));
    };
    let (Some(turn), Some(flipped)) = (turn.first(), flipped.first()) else {
        let turn = format_args!("{last} of history {}", cut.history.0);
        return Err(StoreError::not_found(Subject::Turn, turn));
    };
    let (order_at, totals) = rows::read("turns", turn, |row| {
        Ok((rows::micros(row, 1)?, rows::totals(row, 2)? + rows::totals(row, 8)?))
    })?;
    let flipped = rows::read("flipped_turns", flipped, |row| get(row, 0))?;
    Ok((history, Standing { totals, last_order_at: Some(order_at), flipped, legacy }))
}

const LAST_TURN: &str = "SELECT t.segment_id, t.order_at, t.sum_succeeded, t.sum_failed, t.sum_tool_calls, t.sum_tokens, \
     t.sum_chars, t.sum_code_blocks, sl.base_succeeded, sl.base_failed, sl.base_tool_calls, sl.base_tokens, \
     sl.base_chars, sl.base_code_blocks FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id \
     AND t.position = sl.segment_offset + $2 - 1 - sl.start \
     WHERE sl.history_id = $1 AND sl.start < $2 AND coalesce(sl.stop, $2) >= $2";

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
