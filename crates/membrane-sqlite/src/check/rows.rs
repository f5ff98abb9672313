//! Checks that read row by row: values that must be readable, what follows from a turn's content, and evidence.

use membrane_core::evidence::{Evidence, LegacyTotals};
use membrane_core::run::RunShape;
use membrane_core::turn::Totals;
use membrane_store::codec;
use rusqlite::{Connection, Row};
use serde_json::Value as Json;

use super::content::{CONTENT, content};
use super::report::{CheckReport, Theme};
use crate::rows::{self, CHECKPOINT_COLUMNS, RowError, SESSION_COLUMNS, unsigned};

/// How far two equal figures may lie apart after additions in another order.
const EPSILON: f64 = 1e-9;

/// Goes through the rows of a query. `judge` gives what is wrong with one.
fn each(
    conn: &Connection,
    sql: &str,
    mut judge: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        judge(row)?;
    }
    Ok(())
}

/// Why a value cannot be read; what SQLite itself failed at stays an error.
fn problem(error: RowError) -> rusqlite::Result<String> {
    match error {
        RowError::Value(error) => Ok(error.to_string()),
        RowError::Sqlite(
            error @ (rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)),
        ) => Ok(error.to_string()),
        RowError::Sqlite(error) => Err(error),
    }
}

/// A row's first column, whatever it is.
pub(super) fn name(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(match row.get_ref(0)? {
        rusqlite::types::ValueRef::Null => "NULL".to_owned(),
        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
        rusqlite::types::ValueRef::Real(number) => number.to_string(),
        rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    })
}

/// Sessions, checkpoints, crystals, runs, pieces, keys and events that cannot be read.
pub(super) fn values(conn: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let mut unreadable = |what: &str, row: &Row<'_>, error: RowError| -> rusqlite::Result<()> {
        let problem = problem(error)?;
        report.find(Theme::Values, format!("{what} {}: it cannot be read: {problem}", name(row)?));
        Ok(())
    };
    each(conn, &format!("SELECT {SESSION_COLUMNS} FROM chat_sessions"), |row| {
        rows::session(row).map_or_else(|error| unreadable("session", row, error), |_| Ok(()))
    })?;
    each(conn, &format!("SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints"), |row| {
        rows::checkpoint(row).map_or_else(|error| unreadable("checkpoint", row, error), |_| Ok(()))
    })?;
    let crystals = "SELECT session_id, title, summary, key_decisions_json, artifacts_json, \
                    final_evidence_json, final_turn_count, created_at FROM chat_crystals";
    each(conn, crystals, |row| {
        rows::crystal(row).map_or_else(|error| unreadable("crystal of session", row, error), |_| Ok(()))
    })?;
    let (mut order, mut gaps) = (codec::PieceOrder::default(), Vec::new());
    let pieces = "SELECT run_id || ' ' || seq, body_json, seq, run_id FROM run_pieces ORDER BY run_id, seq";
    each(conn, pieces, |row| {
        let read = (|| {
            let pieces = codec::decode_pieces(unsigned(row.get(2)?), rows::text(row, 1)?)?;
            let run = rows::text(row, 3)?;
            gaps.extend(order.has_gap(run, &pieces).then(|| run.to_owned()));
            Ok(())
        })();
        read.map_or_else(|error| unreadable("pieces of run", row, error), |()| Ok(()))
    })?;
    each(conn, "SELECT session_id, shape FROM ended_runs", |row| {
        let read = rows::text(row, 1).and_then(|text| Ok(RunShape::parse(text)?));
        read.map_or_else(|error| unreadable("ended run of session", row, error), |_| Ok(()))
    })?;
    each(conn, "SELECT route || ' ' || key, stamps_json FROM idempotency_keys", |row| {
        let read = rows::text(row, 1).and_then(|text| Ok(codec::decode_stamps(text)?));
        read.map_or_else(|error| unreadable("idempotency key", row, error), |_| Ok(()))
    })?;
    // The oldest is a mark that nobody reads.
    let events = "SELECT seq, kind, session_id, version, at FROM events \
                  WHERE seq > (SELECT min(seq) FROM events)";
    each(conn, events, |row| {
        rows::event(row).map_or_else(|error| unreadable("event", row, error), |_| Ok(()))
    })?;
    for run in gaps {
        report.find(Theme::Runs, format!("run {run}: pieces of its answer are missing"));
    }
    Ok(())
}

/// What each turn adds, against its content.
pub(super) fn turns(conn: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT segment_id || ':' || position, observes, own_tool_calls, own_tokens, own_chars, own_code_blocks, \
         {CONTENT} FROM turns ORDER BY segment_id, position"
    );
    each(conn, &sql, |row| {
        let is_legacy = row.get_ref(1)? == rusqlite::types::ValueRef::Null;
        match content(row, 6, is_legacy) {
            Err(error) => {
                let problem = problem(error)?;
                report.find(Theme::Values, format!("turn {}: it cannot be read: {problem}", name(row)?));
            }
            Ok(turn) => {
                let own = turn.measures();
                let stored = (|| {
                    let observes: Option<i64> = row.get(1)?;
                    let own: [i64; 4] = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
                    Ok::<_, rusqlite::Error>((observes, own))
                })();
                let expected = (
                    turn.observes_success().map(i64::from),
                    [own.tool_calls, own.tokens, own.chars, own.code_blocks],
                );
                if !stored.is_ok_and(|stored| stored == expected) {
                    report.find(
                        Theme::Totals,
                        format!("turn {}: what it adds is not what its content says", name(row)?),
                    );
                }
            }
        }
        Ok(())
    })
}

/// Each session's evidence, against its row.
pub(super) fn evidence(conn: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let sql = "SELECT id, evidence_json, turn_count, sum_succeeded, sum_failed, flipped, legacy_alpha, \
               legacy_beta FROM chat_sessions";
    each(conn, sql, |row| {
        let agrees = (|| {
            let totals = Totals { succeeded: row.get(3)?, failed: row.get(4)?, ..Totals::ZERO };
            let legacy = LegacyTotals { alpha: row.get(6)?, beta: row.get(7)? };
            let evidence = Evidence::derive(totals, row.get(5)?, legacy);
            let text = row.get_ref(1)?.as_str().unwrap_or_default();
            Ok::<_, rusqlite::Error>(says(text, &evidence, unsigned(row.get(2)?)))
        })();
        if !agrees.unwrap_or(false) {
            let name = name(row)?;
            report.find(
                Theme::Evidence,
                format!("session {name}: evidence_json is not what its turns and signals say"),
            );
        }
        Ok(())
    })
}

/// Whether a text of evidence says this.
pub(crate) fn says(text: &str, evidence: &Evidence, turn_count: u64) -> bool {
    let Ok(said) = serde_json::from_str::<Json>(text) else { return false };
    let number = |key: &str, expected: f64| {
        said.get(key).and_then(Json::as_f64).is_some_and(|found| (found - expected).abs() <= EPSILON)
    };
    let count = |key: &str, expected: i64| said.get(key).and_then(Json::as_i64) == Some(expected);
    number("prior_alpha", evidence.alpha)
        && number("prior_beta", evidence.beta)
        && number("confidence", evidence.confidence())
        && count("tools_succeeded", evidence.tools_succeeded)
        && count("tools_failed", evidence.tools_failed)
        && said.get("should_stop").and_then(Json::as_bool) == Some(evidence.should_stop(turn_count))
}
