//! Turns of a thread, with their signals and the totals after each.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use membrane_core::error::ValueError;
use membrane_core::history::{Cut, Span, TurnRef};
use membrane_core::ids::{SegmentId, SessionId, TurnId};
use membrane_core::session::Session;
use membrane_core::turn::{KeptTurn, Message, Signal, SignalKind, Totals, Turn};
use membrane_store::{StoreError, StoredTurn, Thread, codec};
use rusqlite::{Connection, Row, params};

use crate::error::Doing;
use crate::facts::Facts;
use crate::read::histories::{self, Stretch};
use crate::read::sessions;
use crate::rows::{self, RowError, signed};

/// How many turns a list makes room for before it has seen them.
const MAX_RESERVED: usize = 100_000;

/// What may be loaded on a caller's thread: about a millisecond's work.
pub(crate) const MAX_SHORT_TURNS: u64 = 1000;
const MAX_SHORT_CHARS: i64 = 2 << 20;

/// What came of loading on condition that it is short.
pub(crate) enum Loading {
    /// What there is.
    Done(Box<Option<Thread>>),
    /// Nothing was loaded: the session may be long.
    Long,
}

/// Finds a session and loads a range of its turns.
pub(crate) fn load_thread(
    conn: &Connection,
    id: &SessionId,
    range: &Range<u64>,
) -> Result<Option<Thread>, StoreError> {
    match sessions::find(conn, id)? {
        Some(session) => load_turns_of(conn, session, range).map(Some),
        None => Ok(None),
    }
}

/// The same, but not if there is much to load.
pub(crate) fn load_short_thread(
    conn: &Connection,
    id: &SessionId,
    range: &Range<u64>,
) -> Result<Loading, StoreError> {
    let Some(session) = sessions::find(conn, id)? else { return Ok(Loading::Done(Box::new(None))) };
    let n_turns = range.end.min(session.turn_count()).saturating_sub(range.start);
    if n_turns > MAX_SHORT_TURNS || session.totals.chars > MAX_SHORT_CHARS {
        return Ok(Loading::Long);
    }
    load_turns_of(conn, session, range).map(|thread| Loading::Done(Box::new(Some(thread))))
}

fn load_turns_of(conn: &Connection, session: Session, range: &Range<u64>) -> Result<Thread, StoreError> {
    let mut turns = load_plain(conn, session.cut, range)?;
    add_signals(conn, session.cut, range, &mut turns)?;
    if session.flipped > 0 {
        count_flips(conn, session.cut, range, &mut turns)?;
    }
    Ok(Thread { session, turns })
}

/// Loads a range of a cut's turns; those that are gone are left out.
pub(crate) fn load(conn: &Connection, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
    let mut turns = load_plain(conn, cut, &range)?;
    add_signals(conn, cut, &range, &mut turns)?;
    count_flips(conn, cut, &range, &mut turns)?;
    Ok(turns)
}

const LOAD: &str = "SELECT number, position, id, facts, user_message, assistant_response, tools_json, \
     extra_json FROM turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3 ORDER BY position";

fn load_plain(conn: &Connection, cut: Cut, range: &Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
    let doing = "load turns";
    let range = range.start..range.end.min(cut.turn_count);
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(LOAD).doing(doing)?;
    let expected = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut turns = Vec::with_capacity(expected.min(MAX_RESERVED));
    for stretch in histories::stretches(conn, cut.history, &range)? {
        let span = stretch.span;
        let mut found = statement.query([span.segment.0, span.from, span.to]).doing(doing)?;
        while let Some(row) = found.next().doing(doing)? {
            rows::read("turns", row, |row| push_turn(&mut turns, row, &stretch))?;
        }
    }
    Ok(turns)
}

/// Adds a row's turn to the list: built where it stays, because moving it costs as much as reading it.
fn push_turn(turns: &mut Vec<KeptTurn>, row: &Row<'_>, stretch: &Stretch) -> Result<(), RowError> {
    let position: i64 = row.get(1)?;
    let facts = rows::text(row, 3)?;
    let facts = Facts::decode(facts).ok_or_else(|| ValueError::Unknown {
        what: "text of facts",
        value: facts.to_owned(),
        allowed: "what Membrane writes",
    })?;
    let message = |column, linearity| -> Result<Message, RowError> {
        Ok(Message { content: rows::text(row, column)?.to_owned(), mentions: None, linearity })
    };
    turns.push(KeptTurn {
        at: TurnRef { segment: stretch.span.segment, position },
        number: stretch.first + position.abs_diff(stretch.span.from),
        order_at: facts.order_at,
        turn: Turn {
            id: TurnId::from_stored(rows::text(row, 2)?),
            status: facts.status,
            user: message(4, facts.user_linearity)?,
            assistant: message(5, facts.assistant_linearity)?,
            items: Vec::new(),
            model: None,
            usage: None,
            finish_reason: None,
            error: None,
            portal_emissions: None,
            is_legacy: facts.is_legacy,
            started_at: facts.started_at,
            completed_at: facts.completed_at,
        },
        totals: stretch.base + facts.sums,
        flipped: 0,
        signals: Vec::new(),
    });
    if let (Some(kept), true) = (turns.last_mut(), facts.has_rare) {
        codec::decode_turn(&mut kept.turn, rows::maybe_text(row, 6)?, rows::maybe_text(row, 7)?)?;
    }
    Ok(())
}

/// What hangs on turns in a range: ?1 history, ?2 first turn, ?3 one past the last.
const IN_RANGE: &str = "WHERE sl.history_id = ?1 AND sl.start < ?3 AND (sl.stop IS NULL OR sl.stop > ?2) \
     AND at.position >= sl.segment_offset + max(?2 - sl.start, 0) \
     AND at.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, ?3), ?3)";

fn add_signals(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
    turns: &mut [KeptTurn],
) -> Result<(), StoreError> {
    let mut signals: HashMap<TurnRef, Vec<Signal>> = HashMap::new();
    for (at, signal) in signals_in(conn, cut, range)? {
        signals.entry(at).or_default().push(signal);
    }
    if !signals.is_empty() {
        for turn in turns {
            turn.signals = signals.remove(&turn.at).unwrap_or_default();
        }
    }
    Ok(())
}

/// What was said of turns in a range, in the order in which it was.
pub(super) fn signals_in(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
) -> Result<Vec<(TurnRef, Signal)>, StoreError> {
    let doing = "load signals";
    let sql = format!(
        "SELECT at.number, at.segment_id, at.position, at.kind, at.comment, at.created_at \
         FROM slices sl CROSS JOIN turn_signals at ON at.segment_id = sl.segment_id {IN_RANGE} \
         ORDER BY at.number"
    );
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let stop = range.end.min(cut.turn_count);
    let mut found =
        statement.query(params![cut.history.0, signed(range.start), signed(stop)]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("turn_signals", row, |row| {
            let at = TurnRef { segment: SegmentId(row.get(1)?), position: row.get(2)? };
            let kind = SignalKind::parse(rows::text(row, 3)?)?;
            Ok((at, Signal { kind, comment: row.get(4)?, created_at: rows::micros(row, 5)? }))
        })
    })
}

/// Counts, for each turn, the successes up to it that signals turned.
fn count_flips(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
    turns: &mut [KeptTurn],
) -> Result<(), StoreError> {
    let (mut flips, flipped) = flips_in(conn, cut, range)?;
    let flipped: HashSet<TurnRef> = flipped.into_iter().collect();
    for turn in turns {
        flips += i64::from(flipped.contains(&turn.at));
        turn.flipped = flips;
    }
    Ok(())
}

/// How many successes before a range signals turned, and which in it.
pub(super) fn flips_in(
    conn: &Connection,
    cut: Cut,
    range: &Range<u64>,
) -> Result<(i64, Vec<TurnRef>), StoreError> {
    let doing = "load signals";
    let before = Cut { turn_count: range.start.min(cut.turn_count), ..cut };
    let flips = histories::count_flips(conn, before)?;
    let sql = format!(
        "SELECT at.segment_id, at.position FROM slices sl \
         CROSS JOIN flipped_turns at ON at.segment_id = sl.segment_id {IN_RANGE}"
    );
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let stop = range.end.min(cut.turn_count);
    let mut found =
        statement.query(params![cut.history.0, signed(range.start), signed(stop)]).doing(doing)?;
    let flipped = rows::collect(&mut found, |row| {
        rows::read("flipped_turns", row, |row| {
            Ok(TurnRef { segment: SegmentId(row.get(0)?), position: row.get(1)? })
        })
    })?;
    Ok((flips, flipped))
}

/// Turns as their segments hold them; those that are gone are left out.
pub(crate) fn load_spans(conn: &Connection, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
    let doing = "load turns";
    let mut statement = conn.prepare_cached(LOAD).doing(doing)?;
    let mut turns = Vec::new();
    for span in spans {
        let stretch = Stretch { span: *span, first: 0, base: Totals::ZERO };
        let mut found = statement.query([span.segment.0, span.from, span.to]).doing(doing)?;
        while let Some(row) = found.next().doing(doing)? {
            rows::read("turns", row, |row| push_turn(&mut turns, row, &stretch))?;
        }
    }
    let stored =
        |KeptTurn { at, order_at, turn, totals, .. }| StoredTurn { at, order_at, sums: totals, turn };
    Ok(turns.into_iter().map(stored).collect())
}
