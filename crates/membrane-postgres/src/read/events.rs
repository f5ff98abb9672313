//! What happened, for readers that follow.
//!
//! A change tells its events in `told_events`. An event gets its number, and its row in `events`, after its commit, from
//! whoever looks next. Numbers are given by one at a time, to the oldest of all that is committed by then: so none comes later
//! before one that was given, however long a transaction stays open.

use membrane_core::event::{Event, EventKind, EventSeq};
use membrane_core::ids::SessionId;
use membrane_store::{EventBounds, EventPage, StoreError};
use tokio_postgres::Row;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::{Value, values};

/// Lets those who give numbers come one after the other.
pub(crate) const LOCK: &str = "SELECT 1 FROM pg_advisory_xact_lock($1)";

/// Gives numbers to the oldest that have none, those of so many statements; $1 is true. What another program has told by
/// halves is nobody's event, and goes.
pub(crate) const NUMBER: &str = "WITH told AS (DELETE FROM told_events WHERE number IN \
         (SELECT number FROM told_events WHERE $1 ORDER BY number LIMIT 200) RETURNING *) \
     INSERT INTO events (seq, kind, session_id, version, at) \
     SELECT (SELECT max(seq) FROM events) + row_number() OVER (ORDER BY number, place), coalesce(kind, kinds[1]), \
         session_id, version, at \
     FROM told, unnest(kinds, session_ids, versions) WITH ORDINALITY AS each (kind, session_id, version, place) \
     WHERE coalesce(kind, kinds[1]) IS NOT NULL AND session_id IS NOT NULL AND version IS NOT NULL";

/// What [`LOCK`] locks: "mbevents" in ASCII.
pub(crate) fn lock_key() -> [Value<'static>; 1] {
    values![i64::from_be_bytes(*b"mbevents")]
}

const BOUNDS: &str = "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events), \
     (SELECT number FROM told_events WHERE $1 ORDER BY number LIMIT 1) IS NOT NULL";

/// The oldest place and the newest, once all that is committed has a number.
pub(crate) async fn bounds(db: Db<'_>) -> Result<EventBounds, StoreError> {
    loop {
        let (found, has_unnumbered) = look(db).await?;
        if !has_unnumbered {
            return Ok(found);
        }
        // What was given numbers stays so: whoever has no time for all goes on from there.
        number(db).await?;
    }
}

async fn look(db: Db<'_>) -> Result<(EventBounds, bool), StoreError> {
    let doing = "look for the newest event";
    let found = db.find(BOUNDS, &values![true]).await.doing(doing)?;
    let row = found.ok_or_else(|| StoreError::inconsistent("events", "-", "it tells nothing"))?;
    rows::read("events", &row, |row| {
        let seq = |column| get::<Option<i64>>(row, column).map(|seq| EventSeq(unsigned(seq.unwrap_or(0))));
        Ok((EventBounds { oldest: seq(0)?, newest: seq(1)? }, get(row, 2)?))
    })
}

async fn number(db: Db<'_>) -> Result<(), StoreError> {
    let statements = [
        Statement::BEGIN,
        Statement { sql: LOCK, values: lock_key().into() },
        Statement { sql: NUMBER, values: values![true].into() },
        Statement { sql: "COMMIT", values: Vec::new() },
    ];
    let doing = "number events";
    // A COMMIT after a failure takes everything back.
    db.flight(&statements).await.doing(doing)?.into_iter().try_for_each(|sent| sent.map(|_| ())).doing(doing)
}

/// Events after a place; and the newest that is known of.
pub(crate) async fn list(
    db: Db<'_>,
    after: EventSeq,
    limit: u32,
) -> Result<(EventPage, EventSeq), StoreError> {
    let doing = "read events";
    let bounds = bounds(db).await?;
    if !bounds.contain(after) {
        return Ok((EventPage::Reset(bounds.newest), bounds.newest));
    }
    // With the oldest place once more: some may have been forgotten meanwhile.
    let sql = "SELECT e.seq, e.kind, e.session_id, e.version, e.at, oldest.seq \
               FROM (SELECT min(seq) AS seq FROM events) AS oldest, \
               LATERAL (SELECT * FROM events WHERE seq > $1 ORDER BY seq LIMIT $2) AS e ORDER BY e.seq";
    let found = db.query(sql, &values![signed(after.0), i64::from(limit)]).await.doing(doing)?;
    if let Some(row) = found.first() {
        let oldest: i64 = rows::read("events", row, |row| get(row, 5))?;
        if signed(after.0) < oldest {
            return Ok((EventPage::Reset(bounds.newest), bounds.newest));
        }
    }
    Ok((EventPage::Events(rows::collect("events", &found, event)?), bounds.newest))
}

fn event(row: &Row) -> Result<Event, RowError> {
    Ok(Event {
        seq: EventSeq(unsigned(get(row, 0)?)),
        kind: EventKind::parse(get(row, 1)?)?,
        session: SessionId::from_stored(&rows::text(row, 2)?),
        version: unsigned(get(row, 3)?),
        at: rows::micros(row, 4)?,
    })
}
