//! Checks that read row by row: values that must be readable, what follows from a turn's content, and evidence.

use std::pin::pin;

use futures_util::TryStreamExt;
use membrane_core::evidence::{Evidence, LegacyTotals};
use membrane_core::run::RunShape;
use membrane_core::turn::Totals;
use membrane_store::codec;
use serde_json::Value as Json;
use tokio_postgres::{Error, Row};

use super::content::{CONTENT, content};
use super::report::{Report, Theme};
use crate::db::Db;
use crate::error::whole;
use crate::rows::{self, CHECKPOINT_COLUMNS, RowError, SESSION_COLUMNS, get, unsigned};

/// How far two equal figures may lie apart after additions in another order.
const EPSILON: f64 = 1e-9;

/// Goes through the rows of a query.
async fn each(db: Db<'_>, sql: &str, mut judge: impl FnMut(&Row)) -> Result<(), Error> {
    let mut rows = pin!(db.stream(sql, &[]).await?);
    while let Some(row) = rows.try_next().await? {
        judge(&row);
    }
    Ok(())
}

/// A row's first column, whatever it is.
pub(super) fn name(row: &Row) -> String {
    let number = || row.try_get::<_, i64>(0).map(|number| number.to_string());
    rows::text(row, 0).or_else(|_| number()).unwrap_or_else(|_| "?".to_owned())
}

fn problem(error: RowError) -> String {
    match error {
        RowError::Value(error) => error.to_string(),
        RowError::Column(error) => whole(&error),
    }
}

/// Sessions, checkpoints, crystals, runs, pieces and keys that cannot be read.
pub(super) async fn values(db: Db<'_>, report: &mut Report) -> Result<(), Error> {
    let mut expect = |what: &str, row: &Row, read: Result<(), RowError>| {
        if let Err(error) = read {
            let line = format!("{what} {}: it cannot be read: {}", name(row), problem(error));
            report.find(Theme::Values, line);
        }
    };
    each(db, &format!("SELECT {SESSION_COLUMNS} FROM chat_sessions"), |row| {
        expect("session", row, rows::session(row).map(|_| ()));
    })
    .await?;
    each(db, &format!("SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints"), |row| {
        expect("checkpoint", row, rows::checkpoint(row).map(|_| ()));
    })
    .await?;
    let crystals = "SELECT session_id, title, summary, key_decisions_json, artifacts_json, \
                    final_evidence_json, final_turn_count, created_at FROM chat_crystals";
    each(db, crystals, |row| expect("crystal of session", row, rows::crystal(row).map(|_| ()))).await?;
    let (mut order, mut gaps) = (codec::PieceOrder::default(), Vec::new());
    let pieces = "SELECT run_id || ' ' || seq, body_json, seq, run_id FROM run_pieces ORDER BY run_id, seq";
    each(db, pieces, |row| {
        let read = (|| {
            let pieces = codec::decode_pieces(unsigned(get(row, 2)?), &rows::text(row, 1)?)?;
            let run = rows::text(row, 3)?;
            gaps.extend(order.has_gap(&run, &pieces).then_some(run));
            Ok(())
        })();
        expect("pieces of run", row, read);
    })
    .await?;
    each(db, "SELECT session_id, shape FROM ended_runs", |row| {
        let read = rows::text(row, 1).and_then(|text| Ok(RunShape::parse(&text)?));
        expect("ended run of session", row, read.map(|_| ()));
    })
    .await?;
    each(db, "SELECT route || ' ' || key, stamps_json FROM idempotency_keys", |row| {
        let read = rows::text(row, 1).and_then(|text| Ok(codec::decode_stamps(&text)?));
        expect("idempotency key", row, read.map(|_| ()));
    })
    .await?;
    for run in gaps {
        report.find(Theme::Runs, format!("run {run}: pieces of its answer are missing"));
    }
    Ok(())
}

/// What each turn adds, against its content.
pub(super) async fn turns(db: Db<'_>, report: &mut Report) -> Result<(), Error> {
    let sql = format!(
        "SELECT segment_id || ':' || position, observes, own_tool_calls, own_tokens, own_chars, own_code_blocks, \
         {CONTENT} FROM turns ORDER BY segment_id, position"
    );
    each(db, &sql, |row| {
        let read = get::<Option<bool>>(row, 1).and_then(|observes| {
            let stored: [i64; 4] = [get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?];
            Ok((content(row, 6, observes.is_none())?, observes, stored))
        });
        match read {
            Err(error) => {
                let line = format!("turn {}: it cannot be read: {}", name(row), problem(error));
                report.find(Theme::Values, line);
            }
            Ok((turn, observes, stored)) => {
                let own = turn.measures();
                let expected = [own.tool_calls, own.tokens, own.chars, own.code_blocks];
                if (observes, stored) != (turn.observes_success(), expected) {
                    let line = format!("turn {}: what it adds is not what its content says", name(row));
                    report.find(Theme::Totals, line);
                }
            }
        }
    })
    .await
}

/// Each session's evidence, against its row.
pub(super) async fn evidence(db: Db<'_>, report: &mut Report) -> Result<(), Error> {
    let sql = "SELECT id, evidence_json, turn_count, sum_succeeded, sum_failed, flipped, legacy_alpha, \
               legacy_beta FROM chat_sessions";
    each(db, sql, |row| {
        let agrees = || -> Result<bool, RowError> {
            let totals = Totals { succeeded: get(row, 3)?, failed: get(row, 4)?, ..Totals::ZERO };
            let legacy = LegacyTotals { alpha: get(row, 6)?, beta: get(row, 7)? };
            let evidence = Evidence::derive(totals, get(row, 5)?, legacy);
            Ok(says(&rows::text(row, 1)?, &evidence, unsigned(get(row, 2)?)))
        };
        if !agrees().unwrap_or(false) {
            let name = name(row);
            let line = format!("session {name}: evidence_json is not what its turns and signals say");
            report.find(Theme::Evidence, line);
        }
    })
    .await
}

/// Whether a text of evidence says this.
fn says(text: &str, evidence: &Evidence, turn_count: u64) -> bool {
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
