//! Where sessions may append, and which segments are sealed.
//!
//! A session that may not append in place opens a segment of its own with its next turn: that is always right. So
//! where it is in doubt, a segment is sealed, and beyond any position that was ever used.

use membrane_core::history::{Head, History};
use membrane_core::ids::SegmentId;
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension};

use super::run::Log;
use super::sessions::Record;
use crate::error::Doing;
use crate::rows::{signed, unsigned};

/// What becomes of a segment's seal.
pub(super) enum Seal {
    /// Nothing.
    Stays,
    /// It is opened.
    Open(SegmentId),
}

/// The position after the last turn that is there.
pub(super) fn next_position(conn: &Connection, segment: SegmentId) -> Result<i64, StoreError> {
    conn.prepare_cached("SELECT coalesce(max(position), -1) + 1 FROM turns WHERE segment_id = ?1")
        .and_then(|mut statement| statement.query_row([segment.0], |row| row.get(0)))
        .doing("look for a segment's end")
}

/// The number of turns that a session's head tells, if it can be its head.
pub(super) fn told(record: &Record, history: &History) -> Option<u64> {
    let head = record.head?;
    let last = history.slices.last().filter(|last| last.stop.is_none() && last.segment == head.segment)?;
    Some(last.start.saturating_add(unsigned(head.position.checked_sub(last.offset)?)))
}

/// Gives segments back to the sessions that stand at their ends, where the owner was lost.
pub(super) fn adopt(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let adopted = conn
        .execute(
            "UPDATE segments SET owner_id = (SELECT id FROM chat_sessions WHERE head_segment_id = segments.id) \
             WHERE (owner_id IS NULL OR owner_id NOT IN (SELECT id FROM chat_sessions)) AND sealed_at IS NULL \
             AND (SELECT count(*) FROM chat_sessions WHERE head_segment_id = segments.id) = 1 \
             AND EXISTS (SELECT 1 FROM chat_sessions s JOIN slices sl ON sl.history_id = s.history_id \
                 WHERE s.head_segment_id = segments.id AND sl.segment_id = segments.id AND sl.stop IS NULL \
                 AND s.head_position = (SELECT coalesce(max(position), -1) + 1 FROM turns \
                     WHERE segment_id = segments.id))",
            [],
        )
        .doing("repair segments")?;
    log.done(adopted, "segment", "segments", "its owner was set again");
    Ok(())
}

/// Where a session with this number of turns may append.
pub(super) fn of(
    conn: &Connection,
    record: &Record,
    history: &History,
    turn_count: u64,
    end: u64,
) -> Result<(Option<Head>, Seal), StoreError> {
    let Some(last) = history.slices.last().filter(|last| last.stop.is_none()) else {
        return Ok((None, Seal::Stays));
    };
    let row: Option<(Option<String>, Option<i64>, bool)> = conn
        .prepare_cached("SELECT owner_id, sealed_at, has_gaps FROM segments WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([last.segment.0], |row| {
                    Ok((row.get(0)?, row.get(1).ok(), row.get(2).unwrap_or(true)))
                })
                .optional()
        })
        .doing("read a segment")?;
    let Some((owner, sealed_at, has_gaps)) = row else { return Ok((None, Seal::Stays)) };
    if owner.as_deref() != Some(record.id.as_str()) || turn_count < end {
        return Ok((None, Seal::Stays));
    }
    let position = last.offset.saturating_add(signed(turn_count.saturating_sub(last.start)));
    let head = Head { segment: last.segment, position };
    let is_known = record.head == Some(head);
    Ok(match sealed_at {
        None if is_known || (turn_count == end && !has_gaps) => (Some(head), Seal::Stays),
        Some(sealed_at) if is_known && sealed_at <= position => (Some(head), Seal::Open(last.segment)),
        _ => (None, Seal::Stays),
    })
}

/// Seals what nobody stands at the end of.
pub(super) fn settle(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair segments";
    let ownerless = conn
        .execute(
            "UPDATE segments SET owner_id = NULL WHERE owner_id NOT IN (SELECT id FROM chat_sessions)",
            [],
        )
        .doing(doing)?;
    log.done(ownerless, "segment", "segments", "its owner is gone, and is no longer named");
    let sealed = conn
        .execute(
            "UPDATE segments SET sealed_at = has_gaps + \
             (SELECT coalesce(max(position), -1) + 1 FROM turns WHERE segment_id = segments.id) \
             WHERE sealed_at <= (SELECT max(position) FROM turns WHERE segment_id = segments.id) \
             OR sealed_at IS NULL AND EXISTS (SELECT 1 FROM chat_sessions s \
                 WHERE s.id = segments.owner_id AND s.head_segment_id IS NOT segments.id)",
            [],
        )
        .doing(doing)?;
    log.done(sealed, "segment", "segments", "sealed after its last turn");
    Ok(())
}
