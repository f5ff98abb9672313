//! Where the turns of a thread are, and what of them may change; nothing of what was said is read.

use std::ops::Range;

use membrane_core::history::Cut;
use membrane_core::ids::{SessionId, TurnId};
use membrane_store::located::{Stretch, Witness};
use membrane_store::{LocatedThread, LocatedTurns, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Doing;
use crate::read::histories;
use crate::read::sessions;
use crate::read::turns;
use crate::rows::{self, RowError};

/// Finds a session and where a range of its turns is.
pub(crate) fn locate_thread(
    conn: &Connection,
    id: &SessionId,
    range: &Range<u64>,
) -> Result<Option<LocatedThread>, StoreError> {
    let Some(session) = sessions::find(conn, id)? else { return Ok(None) };
    let turns = locate(conn, session.cut, range, session.flipped > 0)?;
    Ok(Some(LocatedThread { session, turns }))
}

/// Where a range of a cut's turns is; those that are gone have no place.
pub(crate) fn locate_turns(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
) -> Result<LocatedTurns, StoreError> {
    locate(conn, cut, range, true)
}

fn locate(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
    may_have_flips: bool,
) -> Result<LocatedTurns, StoreError> {
    let doing = "look for turns";
    let bounds = range.start..range.end.min(cut.turn_count);
    if bounds.is_empty() {
        return Ok(LocatedTurns::default());
    }
    let mut has_gaps = conn.prepare_cached("SELECT has_gaps FROM segments WHERE id = ?1").doing(doing)?;
    let mut stretches = Vec::new();
    for histories::Stretch { span, first, base } in histories::stretches(conn, cut.history, &bounds)? {
        let gaps: Option<bool> =
            has_gaps.query_row([span.segment.0], |row| row.get(0)).optional().doing(doing)?;
        let is_whole = gaps == Some(false);
        let mut stretch = Stretch { span, first, base, is_whole, witnesses: Vec::new() };
        if is_whole {
            add_last_of_pages(conn, &mut stretch)?;
        } else {
            add_all(conn, &mut stretch)?;
        }
        stretches.push(stretch);
    }
    let signals = turns::signals_in(conn, cut, range)?;
    let (flips_before, flipped) =
        if may_have_flips { turns::flips_in(conn, cut, range)? } else { (0, Vec::new()) };
    Ok(LocatedTurns { stretches, signals, flipped, flips_before })
}

const WITNESS: &str = "SELECT number, position, id, order_at FROM turns WHERE segment_id = ?1 AND position >= ?2 \
     AND position < ?3 ORDER BY position";

fn add_all(conn: &Connection, stretch: &mut Stretch) -> Result<(), StoreError> {
    let doing = "look for turns";
    let span = stretch.span;
    let mut statement = conn.prepare_cached(WITNESS).doing(doing)?;
    let mut found = statement.query([span.segment.0, span.from, span.to]).doing(doing)?;
    stretch.witnesses = rows::collect(&mut found, |row| rows::read("turns", row, witness))?;
    Ok(())
}

fn add_last_of_pages(conn: &Connection, stretch: &mut Stretch) -> Result<(), StoreError> {
    let doing = "look for turns";
    let segment = stretch.span.segment.0;
    let mut statement = conn.prepare_cached(WITNESS).doing(doing)?;
    for position in Stretch::whole_witnesses(stretch.span) {
        let mut found = statement.query(params![segment, position, position + 1]).doing(doing)?;
        if let Some(row) = found.next().doing(doing)? {
            stretch.witnesses.push(rows::read("turns", row, witness)?);
        }
    }
    Ok(())
}

fn witness(row: &Row<'_>) -> Result<Witness, RowError> {
    Ok(Witness {
        position: row.get(1)?,
        id: TurnId::from_stored(rows::text(row, 2)?),
        order_at: rows::micros(row, 3)?,
    })
}
