//! What happened, for readers that follow.

use membrane_core::event::EventSeq;
use membrane_store::{EventBounds, EventPage, StoreError};
use rusqlite::{Connection, params};

use crate::error::Doing;
use crate::rows::{self, signed, unsigned};

/// The oldest row, which is a mark, and the newest.
pub(crate) fn bounds(conn: &Connection) -> Result<EventBounds, StoreError> {
    conn.prepare_cached("SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)")
        .and_then(|mut statement| {
            statement.query_row([], |row| {
                let seq = |number: Option<i64>| EventSeq(unsigned(number.unwrap_or(0)));
                Ok(EventBounds { oldest: seq(row.get(0)?), newest: seq(row.get(1)?) })
            })
        })
        .doing("look for the newest event")
}

/// Events after a place; and the newest that is known of.
pub(crate) fn list(
    conn: &Connection,
    after: EventSeq,
    limit: u32,
) -> Result<(EventPage, EventSeq), StoreError> {
    let doing = "read events";
    let bounds = bounds(conn)?;
    if !bounds.contain(after) {
        return Ok((EventPage::Reset(bounds.newest), bounds.newest));
    }
    let mut statement = conn
        .prepare_cached(
            "SELECT seq, kind, session_id, version, at FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .doing(doing)?;
    let mut found = statement.query(params![signed(after.0), limit]).doing(doing)?;
    let events = rows::collect(&mut found, |row| rows::read("events", row, rows::event))?;
    Ok((EventPage::Events(events), bounds.newest))
}
