//! Signals on turns, and the evidence of every session that holds the turn.

use std::borrow::Cow;

use membrane_core::evidence::is_flipped;
use membrane_core::history::TurnRef;
use membrane_core::ids::SessionId;
use membrane_core::turn::Signal;
use membrane_store::{StoreError, Subject};

use super::locks::LOCK_LATE;
use super::record::{Dirty, Record};
use super::tx::Tx;
use crate::rows::{self, get};
use crate::value::{Value, escape, values};

/// Adds a signal; the newest one counts. Gives the sessions that see the turn.
///
/// The sessions that hold the turn were locked when the change began, and the segment after them. Who came to hold it in
/// between is locked now, while nobody else can come to hold it; only if somebody has him locked, who may wait for the
/// segment, the change begins again.
pub(super) async fn add<'a>(
    tx: &mut Tx<'a>,
    at: TurnRef,
    signal: &'a Signal,
) -> Result<Vec<SessionId>, StoreError> {
    let doing = "add a signal";
    let found = tx
        .ask(
            doing,
            "SELECT segment_id, observes FROM turns WHERE segment_id = $1 AND position = $2",
            values![at.segment.0, at.position],
        )
        .await?;
    let turn = found.first().ok_or_else(|| {
        StoreError::not_found(Subject::Turn, format_args!("{}:{}", at.segment.0, at.position))
    })?;
    let observes: Option<bool> = rows::read("turns", turn, |row| get(row, 1))?;
    tx.put(
        doing,
        "INSERT INTO turn_signals (segment_id, position, kind, comment, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
        values![
            at.segment.0,
            at.position,
            signal.kind.as_str(),
            &signal.comment,
            signal.created_at.as_micros()
        ],
    );
    let is_against = is_flipped(observes, Some(signal.kind));
    let sql = if is_against {
        "INSERT INTO flipped_turns (segment_id, position) VALUES ($1, $2) ON CONFLICT DO NOTHING \
         RETURNING segment_id"
    } else {
        "DELETE FROM flipped_turns WHERE segment_id = $1 AND position = $2 RETURNING segment_id"
    };
    let is_changed = !tx.ask(doing, sql, values![at.segment.0, at.position]).await?.is_empty();
    tx.flush();
    let sessions = holders(tx, at).await?;
    let late = sessions.iter().filter(|session| tx.record(session).is_err());
    let late: Vec<_> = late.map(|session| Cow::Owned(escape(session.as_str()).into_owned())).collect();
    if !late.is_empty() {
        let n_late = late.len();
        let found = tx.ask("read sessions", LOCK_LATE, [Value::Texts(late)]).await?;
        if found.len() < n_late {
            return Err(tx.contended());
        }
        tx.add_records(rows::collect("chat_sessions", &found, Record::decode)?);
    }
    if !is_changed {
        return Ok(sessions);
    }
    let step = if is_against { 1 } else { -1 };
    for session in &sessions {
        let record = tx.record(session)?;
        record.flipped += step;
        record.mark(Dirty::All);
    }
    Ok(sessions)
}

/// The sessions that see the turn.
async fn holders(tx: &mut Tx<'_>, at: TurnRef) -> Result<Vec<SessionId>, StoreError> {
    let found = tx
        .ask(
            "look for a turn's sessions",
            "SELECT DISTINCT s.id FROM slices sl JOIN chat_sessions s ON s.history_id = sl.history_id \
             WHERE sl.segment_id = $1 AND sl.segment_offset <= $2 \
             AND $2 < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.turn_count), s.turn_count)",
            values![at.segment.0, at.position],
        )
        .await?;
    rows::collect("chat_sessions", &found, |row| Ok(SessionId::from_stored(&rows::text(row, 0)?)))
}
