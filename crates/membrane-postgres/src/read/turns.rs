//! Turns of a thread, with their signals and the totals after each: in one flight, and as they are at one moment.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use membrane_core::history::{Cut, Span, TurnRef};
use membrane_core::ids::{SegmentId, SessionId, TurnId};
use membrane_core::turn::{KeptTurn, Linearity, Message, Signal, SignalKind, Turn, TurnStatus};
use membrane_store::{StoreError, StoredTurn, Thread, codec};
use tokio_postgres::Row;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::read::range::{content, flips, flips_before, in_range, of_cut, of_session, signals, turns};
use crate::read::sessions;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::{Value, values};

/// Turns as their segments hold them, in the columns of `turns!`.
const OF_SPANS: &str = concat!(
    "SELECT at.segment_id, at.position, 0::BIGINT, at.order_at, at.started_at, at.completed_at, at.observes IS NULL, \
     at.sum_succeeded, at.sum_failed, at.sum_tool_calls, at.sum_tokens, at.sum_chars, at.sum_code_blocks, ",
    content!(),
    " FROM unnest($1, $2, $3) AS span (segment_id, first, stop) JOIN turns at \
     ON at.segment_id = span.segment_id AND at.position >= span.first AND at.position < span.stop"
);

const LOADING: &str = "load turns";

/// Finds a session and loads a range of its turns.
pub(crate) async fn load_thread(
    db: Db<'_>,
    id: &SessionId,
    range: &Range<u64>,
) -> Result<Option<Thread>, StoreError> {
    let statement =
        |sql| Statement { sql, values: values![id.as_str(), signed(range.start), signed(range.end)].into() };
    let session = Statement { sql: sessions::FIND.as_str(), values: values![id.as_str()].into() };
    let [session, turns, signals, flipped, before] = db
        .snapshot([
            session,
            statement(turns!(of_session)),
            statement(signals!(of_session)),
            statement(flips!(of_session)),
            statement(flips_before!(of_session)),
        ])
        .await
        .doing(LOADING)?;
    let Some(session) = session.first() else { return Ok(None) };
    let session = rows::read("chat_sessions", session, rows::session)?;
    let turns = assemble(turns, &signals, &flipped, &before)?;
    Ok(Some(Thread { session, turns }))
}

/// Loads a range of a cut's turns; those that are gone are left out.
pub(crate) async fn load(db: Db<'_>, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
    let stop = range.end.min(cut.turn_count);
    let values =
        || -> Vec<Value<'static>> { values![cut.history.0, signed(range.start), signed(stop)].into() };
    let statement = |sql| Statement { sql, values: values() };
    let [turns, signals, flipped, before] = db
        .snapshot([
            statement(turns!(of_cut)),
            statement(signals!(of_cut)),
            statement(flips!(of_cut)),
            statement(flips_before!(of_cut)),
        ])
        .await
        .doing(LOADING)?;
    assemble(turns, &signals, &flipped, &before)
}

/// The same in the caller's transaction.
pub(crate) async fn load_within(
    db: Db<'_>,
    cut: Cut,
    range: Range<u64>,
) -> Result<Vec<KeptTurn>, StoreError> {
    let stop = range.end.min(cut.turn_count);
    let values = values![cut.history.0, signed(range.start), signed(stop)];
    let read = async |sql| db.query(sql, &values).await.doing(LOADING);
    let (turns, signals) = (read(turns!(of_cut)).await?, read(signals!(of_cut)).await?);
    let (flipped, before) = (read(flips!(of_cut)).await?, read(flips_before!(of_cut)).await?);
    assemble(turns, &signals, &flipped, &before)
}

/// Turns as their segments hold them; those that are gone are left out.
pub(crate) async fn load_spans(db: Db<'_>, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
    let ints = |of: fn(&Span) -> i64| Value::Ints(spans.iter().map(of).collect());
    let values = [ints(|span| span.segment.0), ints(|span| span.from), ints(|span| span.to)];
    let found = db.query(OF_SPANS, &values).await.doing(LOADING)?;
    let mut turns = Vec::with_capacity(found.len());
    for row in found {
        rows::read("turns", &row, |row| push_turn(&mut turns, row))?;
    }
    let stored =
        |KeptTurn { at, order_at, turn, totals, .. }| StoredTurn { at, order_at, sums: totals, turn };
    Ok(turns.into_iter().map(stored).collect())
}

fn assemble(
    found: Vec<Row>,
    signals: &[Row],
    flipped: &[Row],
    before: &[Row],
) -> Result<Vec<KeptTurn>, StoreError> {
    let mut turns = Vec::with_capacity(found.len());
    // Row by row, so that a long thread is not in memory twice.
    for row in found {
        rows::read("turns", &row, |row| push_turn(&mut turns, row))?;
    }
    if !turns.is_sorted_by_key(|turn| turn.number) {
        turns.sort_by_key(|turn| turn.number);
    }
    add_signals(signals, &mut turns)?;
    let (mut flips, flipped) = read_flips(before, flipped)?;
    let flipped: HashSet<TurnRef> = flipped.into_iter().collect();
    if flips > 0 || !flipped.is_empty() {
        for turn in &mut turns {
            flips += i64::from(flipped.contains(&turn.at));
            turn.flipped = flips;
        }
    }
    Ok(turns)
}

pub(super) fn at(row: &Row, first: usize) -> Result<TurnRef, RowError> {
    Ok(TurnRef { segment: SegmentId(get(row, first)?), position: get(row, first + 1)? })
}

/// Adds a row's turn to the list: built where it stays, because moving it costs as much as reading it.
fn push_turn(turns: &mut Vec<KeptTurn>, row: &Row) -> Result<(), RowError> {
    let message = |column, linearity| -> Result<Message, RowError> {
        let linearity = Linearity::parse(get(row, linearity)?)?;
        Ok(Message { content: rows::text(row, column)?, mentions: None, linearity })
    };
    let status = TurnStatus::parse(get(row, 14)?)?;
    turns.push(KeptTurn {
        at: at(row, 0)?,
        number: unsigned(get(row, 2)?),
        order_at: rows::micros(row, 3)?,
        turn: Turn {
            id: TurnId::from_stored(&rows::text(row, 13)?),
            status,
            user: message(17, 15)?,
            assistant: message(18, 16)?,
            items: Vec::new(),
            model: None,
            usage: None,
            finish_reason: None,
            error: None,
            portal_emissions: None,
            is_legacy: status == TurnStatus::Complete && get(row, 6)?,
            started_at: rows::micros(row, 4)?,
            completed_at: rows::micros(row, 5)?,
        },
        totals: rows::totals(row, 7)?,
        flipped: 0,
        signals: Vec::new(),
    });
    let (tools, extra) = (rows::maybe_text(row, 19)?, rows::maybe_text(row, 20)?);
    if let (Some(kept), true) = (turns.last_mut(), tools.is_some() || extra.is_some()) {
        codec::decode_turn(&mut kept.turn, tools.as_deref(), extra.as_deref())?;
    }
    Ok(())
}

fn add_signals(found: &[Row], turns: &mut [KeptTurn]) -> Result<(), StoreError> {
    let mut signals: HashMap<TurnRef, Vec<Signal>> = HashMap::new();
    for (at, signal) in read_signals(found)? {
        signals.entry(at).or_default().push(signal);
    }
    if !signals.is_empty() {
        for turn in turns {
            turn.signals = signals.remove(&turn.at).unwrap_or_default();
        }
    }
    Ok(())
}

/// What was said of turns, in the order of the rows.
pub(super) fn read_signals(found: &[Row]) -> Result<Vec<(TurnRef, Signal)>, StoreError> {
    rows::collect("turn_signals", found, |row| {
        let signal = Signal {
            kind: SignalKind::parse(get(row, 3)?)?,
            comment: rows::maybe_text(row, 4)?,
            created_at: rows::micros(row, 5)?,
        };
        Ok((at(row, 1)?, signal))
    })
}

/// How many turns before the range signals turned, and which in it.
pub(super) fn read_flips(before: &[Row], flipped: &[Row]) -> Result<(i64, Vec<TurnRef>), StoreError> {
    let before = match before.first() {
        Some(row) => rows::read("flipped_turns", row, |row| get(row, 0))?,
        None => 0,
    };
    Ok((before, rows::collect("flipped_turns", flipped, |row| at(row, 0))?))
}
