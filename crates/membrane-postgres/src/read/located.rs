//! Where the turns of a thread are, and what of them may change: in one flight, and as they are at one moment. Nothing of
//! what was said is read.

use std::collections::HashMap;
use std::ops::Range;

use membrane_core::history::{Cut, Span};
use membrane_core::ids::{SegmentId, SessionId, TurnId};
use membrane_store::located::{PAGE_LEN, Stretch, Witness};
use membrane_store::{LocatedThread, LocatedTurns, StoreError};
use tokio_postgres::Row;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::read::range::{flips, flips_before, in_range, of_cut, of_session, signals};
use crate::read::{sessions, turns};
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::{Value, values};

/// The parts of slices in the range, as `p`: $2 the first turn, $3 one past the last.
macro_rules! parts {
    ($of:ident) => {
        concat!(
            "(SELECT sl.segment_id, greatest($2, sl.start) AS first, \
                 sl.segment_offset + greatest($2 - sl.start, 0) AS \"from\", \
                 sl.segment_offset - sl.start + least(coalesce(sl.stop, s.stop), s.stop) AS \"to\", \
                 NOT g.has_gaps AS is_whole, sl.base_succeeded, sl.base_failed, sl.base_tool_calls, sl.base_tokens, \
                 sl.base_chars, sl.base_code_blocks FROM ",
            $of!(),
            " JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.stop \
             AND (sl.stop IS NULL OR sl.stop > $2) JOIN segments g ON g.id = sl.segment_id) AS p"
        )
    };
}

macro_rules! stretches {
    ($of:ident) => {
        concat!("SELECT p.* FROM ", parts!($of), " WHERE p.\"from\" < p.\"to\" ORDER BY p.first")
    };
}

/// Of a whole part, the last turn of each page; of one with gaps, each turn. $4 is how long a page is. The limit makes it one
/// look into the index for each: a join was planned for so many pages that it read all turns of the keep.
macro_rules! witnesses {
    ($of:ident) => {
        concat!(
            "SELECT p.first, at.position, at.id, at.order_at FROM ",
            parts!($of),
            " CROSS JOIN LATERAL (SELECT CASE WHEN p.is_whole THEN $4 ELSE 1 END AS len) AS page \
             CROSS JOIN LATERAL generate_series(p.\"from\" / page.len, (p.\"to\" - 1) / page.len) AS number \
             CROSS JOIN LATERAL (SELECT t.position, t.id, t.order_at FROM turns t WHERE t.segment_id = p.segment_id \
             AND t.position = least((number + 1) * page.len, p.\"to\") - 1 LIMIT 1) AS at"
        )
    };
}

const LOOKING: &str = "look for turns";

/// Finds a session and where a range of its turns is.
pub(crate) async fn locate_thread(
    db: Db<'_>,
    id: &SessionId,
    range: &Range<u64>,
) -> Result<Option<LocatedThread>, StoreError> {
    let values = || -> Vec<Value<'_>> { values![id.as_str(), signed(range.start), signed(range.end)].into() };
    let paged = || -> Vec<Value<'_>> {
        values![id.as_str(), signed(range.start), signed(range.end), PAGE_LEN].into()
    };
    let statement = |sql| Statement { sql, values: values() };
    let [session, stretches, witnesses, signals, flipped, before] = db
        .snapshot([
            Statement { sql: sessions::FIND.as_str(), values: values![id.as_str()].into() },
            statement(stretches!(of_session)),
            Statement { sql: witnesses!(of_session), values: paged() },
            statement(signals!(of_session)),
            statement(flips!(of_session)),
            statement(flips_before!(of_session)),
        ])
        .await
        .doing(LOOKING)?;
    let Some(session) = session.first() else { return Ok(None) };
    let session = rows::read("chat_sessions", session, rows::session)?;
    let turns = located(&stretches, &witnesses, &signals, &flipped, &before)?;
    Ok(Some(LocatedThread { session, turns }))
}

/// Where a range of a cut's turns is; those that are gone have no place.
pub(crate) async fn locate_turns(
    db: Db<'_>,
    cut: Cut,
    range: &Range<u64>,
) -> Result<LocatedTurns, StoreError> {
    let stop = signed(range.end.min(cut.turn_count));
    let statement = |sql| Statement { sql, values: values![cut.history.0, signed(range.start), stop].into() };
    let paged = values![cut.history.0, signed(range.start), stop, PAGE_LEN].into();
    let [stretches, witnesses, signals, flipped, before] = db
        .snapshot([
            statement(stretches!(of_cut)),
            Statement { sql: witnesses!(of_cut), values: paged },
            statement(signals!(of_cut)),
            statement(flips!(of_cut)),
            statement(flips_before!(of_cut)),
        ])
        .await
        .doing(LOOKING)?;
    located(&stretches, &witnesses, &signals, &flipped, &before)
}

fn located(
    stretches: &[Row],
    witnesses: &[Row],
    signals: &[Row],
    flipped: &[Row],
    before: &[Row],
) -> Result<LocatedTurns, StoreError> {
    let mut stretches = rows::collect("slices", stretches, stretch)?;
    // By the number of its stretch's first turn, which no two have in common.
    let places: HashMap<u64, usize> =
        stretches.iter().enumerate().map(|(place, stretch)| (stretch.first, place)).collect();
    for row in witnesses {
        let (first, witness) = rows::read("turns", row, witness)?;
        if let Some(stretch) = places.get(&first).and_then(|place| stretches.get_mut(*place)) {
            stretch.witnesses.push(witness);
        }
    }
    for stretch in &mut stretches {
        stretch.witnesses.sort_unstable_by_key(|witness| witness.position);
    }
    let (flips_before, flipped) = turns::read_flips(before, flipped)?;
    Ok(LocatedTurns { stretches, signals: turns::read_signals(signals)?, flipped, flips_before })
}

fn stretch(row: &Row) -> Result<Stretch, RowError> {
    Ok(Stretch {
        span: Span { segment: SegmentId(get(row, 0)?), from: get(row, 2)?, to: get(row, 3)? },
        first: unsigned(get(row, 1)?),
        base: rows::totals(row, 5)?,
        is_whole: get(row, 4)?,
        witnesses: Vec::new(),
    })
}

fn witness(row: &Row) -> Result<(u64, Witness), RowError> {
    let id = TurnId::from_stored(&rows::text(row, 2)?);
    let witness = Witness { position: get(row, 1)?, id, order_at: rows::micros(row, 3)? };
    Ok((unsigned(get(row, 0)?), witness))
}
