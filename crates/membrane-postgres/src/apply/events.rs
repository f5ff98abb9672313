//! Events: a row for those of a change, in its transaction. Readers see them once they have numbers (`read/events.rs`).

use std::borrow::Cow;

use membrane_core::time::Timestamp;
use membrane_store::StoreError;
use membrane_store::events::FORGET_AT_ONCE;

use super::tx::Tx;
use crate::read::events::{LOCK, NUMBER, lock_key};
use crate::rows::signed;
use crate::value::{Value, escape, values};

/// Writes the change's events.
pub(super) fn keep(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let events = std::mem::take(&mut tx.events);
    let events = events.finish(|session| tx.record(session).map(|record| record.version))?;
    if events.is_empty() {
        return Ok(());
    }
    let at = tx.now.as_micros();
    tx.put(
        "keep events",
        "INSERT INTO told_events (kinds, session_ids, versions, at) VALUES ($1, $2, $3, $4)",
        [
            Value::Texts(events.iter().map(|event| Cow::Borrowed(event.kind.as_str())).collect()),
            Value::Texts(
                events.iter().map(|event| Cow::Owned(escape(event.session.as_str()).into_owned())).collect(),
            ),
            Value::Ints(events.iter().map(|event| signed(event.version)).collect()),
            Value::from(at),
        ],
    );
    Ok(())
}

/// Forgets the oldest events, of which the last one forgotten stays as the mark.
pub(super) fn forget(tx: &mut Tx<'_>, before: Timestamp, keep: u64) {
    let doing = "forget events";
    tx.put(doing, LOCK, lock_key());
    tx.put(doing, NUMBER, values![true]);
    tx.put(
        doing,
        "DELETE FROM events WHERE seq < ( \
             SELECT max(seq) FROM ( \
                 SELECT seq, bool_and(place = 1 OR at < $1 OR newest - seq >= $2) OVER (ORDER BY seq) AS goes FROM ( \
                     SELECT seq, at, row_number() OVER (ORDER BY seq) AS place, \
                         (SELECT max(seq) FROM events) AS newest \
                     FROM (SELECT seq, at FROM events ORDER BY seq LIMIT $3) AS oldest \
                 ) AS placed \
             ) AS judged WHERE goes)",
        values![before.as_micros(), signed(keep), i64::from(FORGET_AT_ONCE) + 1],
    );
}
