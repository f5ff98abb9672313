//! Turns of a thread, with their signals and the totals after each: in one flight, and as they are at one moment.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::{SegmentId, SessionId, TurnId};
use membrane_core::turn::{KeptTurn, Linearity, Message, Signal, SignalKind, Turn, TurnStatus};
use membrane_store::{StoreError, Thread, codec};
use tokio_postgres::Row;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::read::sessions;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::{Value, values};

/// The session whose thread is read, as `s`: $1 its id, $2 the first turn, $3 one past the last.
macro_rules! of_session {
    () => {
        "(SELECT history_id, least(turn_count, $3) AS stop, flipped FROM chat_sessions WHERE id = $1) s"
    };
}

/// A cut, in the same shape: $1 its history, $3 at most its end.
macro_rules! of_cut {
    () => {
        "(SELECT $1::BIGINT AS history_id, $3::BIGINT AS stop, 1 AS flipped) s"
    };
}

/// What hangs on positions of segments in the range, as `at`.
macro_rules! in_range {
    ($table:literal) => {
        concat!(
            " JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.stop \
             AND (sl.stop IS NULL OR sl.stop > $2) JOIN ",
            $table,
            " at ON at.segment_id = sl.segment_id AND at.position >= sl.segment_offset + greatest($2 - sl.start, 0) \
             AND at.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.stop), s.stop)"
        )
    };
}

/// Not put in order: an index is read in order anyway, and sorting would move all the text.
macro_rules! turns {
    ($of:ident) => {
        concat!(
            "SELECT at.segment_id, at.position, sl.start + at.position - sl.segment_offset, at.order_at, at.started_at, \
             at.completed_at, at.observes IS NULL, sl.base_succeeded + at.sum_succeeded, \
             sl.base_failed + at.sum_failed, sl.base_tool_calls + at.sum_tool_calls, \
             sl.base_tokens + at.sum_tokens, sl.base_chars + at.sum_chars, \
             sl.base_code_blocks + at.sum_code_blocks, at.id, at.status, at.user_linearity, at.assistant_linearity, \
             at.user_message, at.assistant_response, at.tools_json, at.extra_json FROM ",
            $of!(),
            in_range!("turns")
        )
    };
}

macro_rules! signals {
    ($of:ident) => {
        concat!(
            "SELECT at.number, at.segment_id, at.position, at.kind, at.comment, at.created_at FROM ",
            $of!(),
            in_range!("turn_signals"),
            " ORDER BY at.number"
        )
    };
}

/// The turns in the range that signals turned.
macro_rules! flips {
    ($of:ident) => {
        concat!(
            "SELECT at.segment_id, at.position FROM ",
            $of!(),
            in_range!("flipped_turns"),
            " WHERE s.flipped > 0"
        )
    };
}

/// How many turns before the range signals turned.
macro_rules! flips_before {
    ($of:ident) => {
        concat!(
            "SELECT count(*) FROM ",
            $of!(),
            " JOIN slices sl ON sl.history_id = s.history_id AND sl.start < least($2, s.stop) \
             JOIN flipped_turns f ON f.segment_id = sl.segment_id AND f.position >= sl.segment_offset \
             AND f.position < sl.segment_offset - sl.start + least(coalesce(sl.stop, s.stop), s.stop, $2) \
             WHERE s.flipped > 0"
        )
    };
}

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
    let mut flips = 0;
    if let Some(row) = before.first() {
        flips = rows::read("flipped_turns", row, |row| get(row, 0))?;
    }
    let flipped: HashSet<TurnRef> =
        rows::collect("flipped_turns", flipped, |row| at(row, 0))?.into_iter().collect();
    if flips > 0 || !flipped.is_empty() {
        for turn in &mut turns {
            flips += i64::from(flipped.contains(&turn.at));
            turn.flipped = flips;
        }
    }
    Ok(turns)
}

fn at(row: &Row, first: usize) -> Result<TurnRef, RowError> {
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
    let found = rows::collect("turn_signals", found, |row| {
        let signal = Signal {
            kind: SignalKind::parse(get(row, 3)?)?,
            comment: rows::maybe_text(row, 4)?,
            created_at: rows::micros(row, 5)?,
        };
        Ok((at(row, 1)?, signal))
    })?;
    let mut signals: HashMap<TurnRef, Vec<Signal>> = HashMap::new();
    for (at, signal) in found {
        signals.entry(at).or_default().push(signal);
    }
    if !signals.is_empty() {
        for turn in turns {
            turn.signals = signals.remove(&turn.at).unwrap_or_default();
        }
    }
    Ok(())
}
