//! What a session's row repeats of its history: the number of turns, totals, evidence, and where it may append.
//!
//! The number of turns is told by several columns. Where they contradict each other, the number that most of them
//! tell is taken; values that tell nothing (zero, NULL) have no say, so that a row that lost everything does not hide
//! its turns. Turns that are gone are not counted away: such a session keeps its number.

use membrane_core::evidence::{Evidence, LegacyTotals};
use membrane_core::history::{Cut, Head, History};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::{StoreError, codec};
use rusqlite::{Connection, Row, params};
use serde_json::Value as Json;

use super::heads::{self, Seal};
use super::run::Log;
use crate::apply::{Standing, standing_at};
use crate::check::says;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::{signed, unsigned};

/// What of a row is derived, and what it is derived with.
pub(super) struct Record {
    number: i64,
    pub(super) id: SessionId,
    history: HistoryId,
    turn_count: Option<i64>,
    pub(super) head: Option<Head>,
    last_order_at: Option<i64>,
    totals: Option<Totals>,
    flipped: Option<i64>,
    legacy: Option<LegacyTotals>,
    evidence_json: String,
    created_at: String,
    last_active: String,
}

const COLUMNS: &str = "number, id, history_id, turn_count, head_segment_id, head_position, last_order_at, \
     sum_succeeded, sum_failed, sum_tool_calls, context_size, sum_chars, sum_code_blocks, flipped, \
     legacy_alpha, legacy_beta, evidence_json, created_at, last_active";

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let number = |column| row.get::<_, i64>(column).ok();
    let text = |column| row.get::<_, String>(column).unwrap_or_default();
    let totals = (|| {
        Some(Totals {
            succeeded: number(7)?,
            failed: number(8)?,
            tool_calls: number(9)?,
            tokens: number(10)?,
            chars: number(11)?,
            code_blocks: number(12)?,
        })
    })();
    let legacy = (|| Some(LegacyTotals { alpha: row.get(14).ok()?, beta: row.get(15).ok()? }))();
    Ok(Record {
        number: row.get(0)?,
        id: SessionId::from_stored(&row.get::<_, String>(1)?),
        history: HistoryId(row.get(2)?),
        turn_count: number(3),
        head: number(4)
            .zip(number(5))
            .map(|(segment, position)| Head { segment: SegmentId(segment), position }),
        last_order_at: number(6),
        totals,
        flipped: number(13),
        legacy,
        evidence_json: text(16),
        created_at: text(17),
        last_active: text(18),
    })
}

/// Repairs all sessions' rows.
pub(super) fn repair(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair sessions";
    let numbers: Vec<i64> = {
        let mut statement = conn.prepare("SELECT number FROM chat_sessions ORDER BY number").doing(doing)?;
        let rows = statement.query_map([], |row| row.get(0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)?
    };
    let sql = format!("SELECT {COLUMNS} FROM chat_sessions WHERE number = ?1");
    for number in numbers {
        let found = conn.prepare_cached(&sql).and_then(|mut statement| statement.query_row([number], record));
        match found {
            Ok(record) => repair_one(conn, &record, log)?,
            // A row whose id or history is no such thing is named as lost.
            Err(rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)) => {}
            Err(error) => return Err(error).doing(doing),
        }
    }
    Ok(())
}

fn repair_one(conn: &Connection, record: &Record, log: &mut Log) -> Result<(), StoreError> {
    let Some(history) = histories::find(conn, record.history)? else { return Ok(()) };
    let end = end(conn, &history)?;
    let turn_count = match choose(conn, record, &history, end)? {
        Some(turn_count) => turn_count,
        // Turns are gone: the number stays, and is told.
        None => unsigned(record.turn_count.unwrap_or(0)),
    };
    let cut = Cut { history: record.history, turn_count };
    let standing = match standing_at(conn, cut) {
        Ok(standing) => standing,
        Err(StoreError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (head, seal) = heads::of(conn, record, &history, turn_count, end)?;
    seal_as(conn, &seal)?;
    let what = differences(record, turn_count, &standing, head);
    if what.is_empty() {
        return Ok(());
    }
    write(conn, record, turn_count, &standing, head)?;
    log.done.push(format!("session {}: {}", record.id, what.join(", ")));
    Ok(())
}

/// How many turns a history has up to the last one that is there.
fn end(conn: &Connection, history: &History) -> Result<u64, StoreError> {
    let Some(last) = history.slices.last() else { return Ok(0) };
    if let Some(stop) = last.stop {
        return Ok(stop);
    }
    let next = heads::next_position(conn, last.segment)?;
    Ok(last.start.saturating_add(unsigned(next.saturating_sub(last.offset))))
}

/// The number of turns that most columns tell; `None` if turns of it are gone.
fn choose(
    conn: &Connection,
    record: &Record,
    history: &History,
    end: u64,
) -> Result<Option<u64>, StoreError> {
    let told = record.turn_count.and_then(|count| u64::try_from(count).ok());
    if let Some(told) = told.filter(|told| *told <= end)
        && is_told_by_all(conn, record, history, told)?
    {
        return Ok(Some(told));
    }
    let by_head = heads::told(record, history);
    let marks = histories::list_marks(conn, Cut { history: record.history, turn_count: end })?;
    let reach = told.map_or(end, |told| told.min(end));
    if count_turns(conn, history, reach)? != reach {
        return Ok(None);
    }
    if told > Some(end) && by_head == told {
        // Two columns know of turns that are not there.
        return Ok(None);
    }
    let said: Option<Json> = serde_json::from_str(&record.evidence_json).ok();
    let said = |key: &str| said.as_ref()?.get(key)?.as_i64();
    let said = said("tools_succeeded").zip(said("tools_failed"));
    let mut best: Option<(u32, u64)> = None;
    let mut totals = Totals::ZERO;
    let whole = u64::try_from(marks.len()) == Ok(end);
    for number in 0..=end {
        let mark = match number.checked_sub(1) {
            None => None,
            Some(index) if whole => usize::try_from(index).ok().and_then(|index| marks.get(index)),
            Some(_) => break,
        };
        if let Some(mark) = mark {
            totals = totals + mark.own;
        }
        let counts = said == Some((totals.succeeded, totals.failed));
        let mut votes = 2 * u32::from(told == Some(number)) + 2 * u32::from(by_head == Some(number));
        votes += if let Some(mark) = mark {
            2 * u32::from(record.totals == Some(totals))
                + 2 * u32::from(record.last_order_at == Some(mark.order_at.as_micros()))
                + u32::from(counts)
        } else {
            let is_empty = record.totals == Some(Totals::ZERO) && record.last_order_at.is_none();
            3 * u32::from(is_empty && counts)
        };
        let is_better = best.is_none_or(|(most, _)| votes > most || votes == most && told == Some(number));
        if is_better {
            best = Some((votes, number));
        }
    }
    // One that was told alone and is beyond the end stays, and with it that turns are missing.
    let least = if told > Some(end) { 2 } else { 1 };
    Ok(best
        .filter(|(votes, _)| *votes >= least)
        .map(|(_, number)| number)
        .or(told.filter(|told| *told <= end)))
}

/// Whether the turns are there, and the row's other columns agree with the number: the usual case, in which the
/// history need not be read.
fn is_told_by_all(
    conn: &Connection,
    record: &Record,
    history: &History,
    told: u64,
) -> Result<bool, StoreError> {
    if count_turns(conn, history, told)? != told {
        return Ok(false);
    }
    let standing = standing_at(conn, Cut { history: record.history, turn_count: told })?;
    Ok(record.totals == Some(standing.totals)
        && record.last_order_at == standing.last_order_at.map(Timestamp::as_micros))
}

/// How many of the first turns of a history are there.
fn count_turns(conn: &Connection, history: &History, turn_count: u64) -> Result<u64, StoreError> {
    let doing = "count turns";
    let mut statement = conn
        .prepare_cached(
            "SELECT count(*) FROM turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3",
        )
        .doing(doing)?;
    let mut count = 0;
    for span in history.spans(turn_count) {
        let found: i64 =
            statement.query_row([span.segment.0, span.from, span.to], |row| row.get(0)).doing(doing)?;
        count += unsigned(found);
    }
    Ok(count)
}

/// The columns that are not as they should be, in words.
fn differences(
    record: &Record,
    turn_count: u64,
    standing: &Standing,
    head: Option<Head>,
) -> Vec<&'static str> {
    let evidence = evidence(standing);
    let is_close = |left: f64, right: f64| (left - right).abs() <= 1e-9;
    let legacy_agrees = record.legacy.is_some_and(|legacy| {
        is_close(legacy.alpha, standing.legacy.alpha) && is_close(legacy.beta, standing.legacy.beta)
    });
    [
        (record.turn_count == Some(signed(turn_count)), "number of turns"),
        (record.totals == Some(standing.totals), "totals"),
        (record.last_order_at == standing.last_order_at.map(Timestamp::as_micros), "place in time"),
        (record.flipped == Some(standing.flipped), "turns that signals turned"),
        (legacy_agrees, "old observations"),
        (says(&record.evidence_json, &evidence, turn_count), "evidence"),
        (record.head == head, "where it may append"),
    ]
    .into_iter()
    .filter(|(agrees, _)| !agrees)
    .map(|(_, what)| what)
    .collect()
}

fn evidence(standing: &Standing) -> Evidence {
    Evidence::derive(standing.totals, standing.flipped, standing.legacy)
}

fn write(
    conn: &Connection,
    record: &Record,
    turn_count: u64,
    standing: &Standing,
    head: Option<Head>,
) -> Result<(), StoreError> {
    let said: Option<Json> = serde_json::from_str(&record.evidence_json).ok();
    let updated_at = said
        .as_ref()
        .and_then(|said| said.get("updated_at")?.as_str())
        .and_then(|text| Timestamp::parse(text).ok())
        .or_else(|| Timestamp::parse(&record.last_active).ok())
        .unwrap_or(Timestamp::from_micros(0));
    let evidence = evidence(standing);
    let evidence_json = if says(&record.evidence_json, &evidence, turn_count) {
        record.evidence_json.clone()
    } else {
        codec::evidence_json(&record.id, &record.created_at, updated_at, &evidence, turn_count)
    };
    let Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks } = standing.totals;
    conn.prepare_cached(
        "UPDATE chat_sessions SET turn_count = ?2, head_segment_id = ?3, head_position = ?4, last_order_at = ?5, \
         sum_succeeded = ?6, sum_failed = ?7, sum_tool_calls = ?8, context_size = ?9, sum_chars = ?10, \
         sum_code_blocks = ?11, flipped = ?12, legacy_alpha = ?13, legacy_beta = ?14, evidence_json = ?15 \
         WHERE number = ?1",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            record.number,
            signed(turn_count),
            head.map(|head| head.segment.0),
            head.map(|head| head.position),
            standing.last_order_at.map(Timestamp::as_micros),
            succeeded,
            failed,
            tool_calls,
            tokens,
            chars,
            code_blocks,
            standing.flipped,
            standing.legacy.alpha,
            standing.legacy.beta,
            evidence_json,
        ])
    })
    .map(|_| ())
    .doing("write a session")
}

fn seal_as(conn: &Connection, seal: &Seal) -> Result<(), StoreError> {
    let Seal::Open(segment) = seal else { return Ok(()) };
    conn.prepare_cached("UPDATE segments SET sealed_at = NULL WHERE id = ?1 AND sealed_at IS NOT NULL")
        .and_then(|mut statement| statement.execute([segment.0]))
        .map(|_| ())
        .doing("open a segment")
}
