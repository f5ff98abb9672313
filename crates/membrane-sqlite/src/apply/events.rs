//! Events: a row for each, in the transaction of the change that made it.

use membrane_core::event::EventSeq;
use membrane_core::time::Timestamp;
use membrane_store::StoreError;
use membrane_store::events::FORGET_AT_ONCE;
use rusqlite::params;

use crate::apply::record::Tx;
use crate::error::Doing;
use crate::rows::{signed, unsigned};

/// Writes the change's events; gives the newest one's number.
pub(super) fn keep(tx: &mut Tx<'_>) -> Result<Option<EventSeq>, StoreError> {
    let doing = "keep an event";
    let events = std::mem::take(&mut tx.events);
    let events = events.finish(|session| tx.record(session).map(|record| record.version))?;
    if events.is_empty() {
        return Ok(None);
    }
    let mut insert = tx
        .conn
        .prepare_cached("INSERT INTO events (kind, session_id, version, at) VALUES (?1, ?2, ?3, ?4)")
        .doing(doing)?;
    let mut newest = 0;
    for event in events {
        let row =
            params![event.kind.as_str(), event.session.as_str(), signed(event.version), tx.now.as_micros()];
        newest = insert.insert(row).doing(doing)?;
    }
    Ok(Some(EventSeq(unsigned(newest))))
}

/// Forgets the oldest events, of which the last one forgotten stays as the mark.
pub(super) fn forget(tx: &Tx<'_>, before: Timestamp, keep: u64) -> Result<(), StoreError> {
    let doing = "forget events";
    let newest: Option<i64> = tx
        .conn
        .prepare_cached("SELECT max(seq) FROM events")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(doing)?;
    let mark = {
        let mut oldest =
            tx.conn.prepare_cached("SELECT seq, at FROM events ORDER BY seq LIMIT ?1").doing(doing)?;
        let mut oldest = oldest.query([FORGET_AT_ONCE + 1]).doing(doing)?;
        let mut mark = None;
        while let Some(row) = oldest.next().doing(doing)? {
            let (seq, at): (i64, i64) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
            let n_after = newest.map_or(0, |newest| unsigned(newest.saturating_sub(seq)));
            // The first row is the mark already.
            if mark.is_some() && at >= before.as_micros() && n_after < keep {
                break;
            }
            mark = Some(seq);
        }
        mark
    };
    if let Some(mark) = mark {
        tx.conn
            .prepare_cached("DELETE FROM events WHERE seq < ?1")
            .and_then(|mut statement| statement.execute([mark]))
            .doing(doing)?;
    }
    Ok(())
}
