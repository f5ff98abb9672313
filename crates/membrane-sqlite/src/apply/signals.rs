//! Signals on turns, and the evidence of every session that holds the turn.

use membrane_core::evidence::is_flipped;
use membrane_core::history::TurnRef;
use membrane_core::ids::SessionId;
use membrane_core::turn::Signal;
use membrane_store::{StoreError, Subject};
use rusqlite::{OptionalExtension, params};

use crate::apply::record::{Dirty, Tx};
use crate::error::Doing;
use crate::rows;

/// Adds a signal; the newest one counts. Gives the sessions that see the turn.
pub(super) fn add(tx: &mut Tx<'_>, at: TurnRef, signal: &Signal) -> Result<Vec<SessionId>, StoreError> {
    let doing = "add a signal";
    let conn = tx.conn;
    let key = params![at.segment.0, at.position];
    let observes: Option<bool> = conn
        .prepare_cached("SELECT observes FROM turns WHERE segment_id = ?1 AND position = ?2")
        .and_then(|mut statement| statement.query_row(key, |row| row.get(0)).optional())
        .doing(doing)?
        .ok_or_else(|| {
            StoreError::not_found(Subject::Turn, format_args!("{}:{}", at.segment.0, at.position))
        })?;
    conn.prepare_cached(
        "INSERT INTO turn_signals (segment_id, position, kind, comment, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            at.segment.0,
            at.position,
            signal.kind.as_str(),
            signal.comment,
            signal.created_at.as_micros()
        ])
    })
    .doing(doing)?;
    let change = if is_flipped(observes, Some(signal.kind)) {
        conn.prepare_cached(
            "INSERT INTO flipped_turns (segment_id, position) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(key))
        .doing(doing)?
    } else {
        conn.prepare_cached("DELETE FROM flipped_turns WHERE segment_id = ?1 AND position = ?2")
            .and_then(|mut statement| statement.execute(key))
            .doing(doing)?
    };
    tx.flush()?;
    let sessions = holders(tx, at)?;
    if change == 0 {
        return Ok(sessions);
    }
    let step = if is_flipped(observes, Some(signal.kind)) { 1 } else { -1 };
    for session in &sessions {
        let record = tx.record(session)?;
        record.flipped += step;
        record.mark(Dirty::InPlace);
    }
    Ok(sessions)
}

/// The sessions that see the turn.
fn holders(tx: &Tx<'_>, at: TurnRef) -> Result<Vec<SessionId>, StoreError> {
    let doing = "look for a turn's sessions";
    let mut statement = tx
        .conn
        .prepare_cached(
            "SELECT s.id FROM slices sl JOIN chat_sessions s ON s.history_id = sl.history_id \
             WHERE sl.segment_id = ?1 AND sl.segment_offset <= ?2 \
             AND ?2 < sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)",
        )
        .doing(doing)?;
    let mut found = statement.query(params![at.segment.0, at.position]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("chat_sessions", row, |row| Ok(SessionId::from_stored(rows::text(row, 0)?)))
    })
}
