//! Whether what is in the file can be read, agrees with itself, and lies in the past.

use membrane_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::verdict::Check;
use crate::check::check_conn;
use crate::integrity::{Depth, find_damage};

/// How far a clock may be ahead before it is told.
const TOLERANCE_MICROS: i64 = 5 * 60 * 1_000_000;

/// How many findings are shown.
const MAX_SHOWN: usize = 3;

/// SQLite's own check: the quick one, or the whole one.
pub(super) fn pages(conn: &Connection, deep: bool) -> Check {
    const NAME: &str = "pages";
    let mut lines = Vec::new();
    let depth = if deep { Depth::Whole } else { Depth::Pages };
    let looked = find_damage(conn, depth, &mut |line| lines.push(line));
    let remedy = "stop the server; bring back a backup: membrane restore FILE; if there is none: membrane check --repair";
    match looked {
        Ok(()) if lines.is_empty() => {
            Check::ok(NAME, if deep { "every page and index is sound" } else { "every page is sound" })
        }
        Ok(()) => {
            let shown: Vec<&str> = lines.iter().map(String::as_str).take(MAX_SHOWN).collect();
            Check::problem(
                NAME,
                format!("the file is damaged: {}", shown.join("; ").replace('\n', " ")),
                remedy,
            )
        }
        Err(error) => Check::problem(NAME, format!("the file is damaged: {error}"), remedy),
    }
}

/// The keep's own check.
pub(super) fn keep(conn: &Connection) -> Check {
    const NAME: &str = "keep";
    match check_conn(conn) {
        Ok(report) if report.is_clean() => Check::ok(NAME, "no row contradicts another"),
        Ok(report) => {
            let lines = report.lines();
            let shown: Vec<&str> = lines.iter().map(String::as_str).take(MAX_SHOWN).collect();
            let more = if lines.len() > MAX_SHOWN { "; …" } else { "" };
            Check::problem(
                NAME,
                format!("{} findings: {}{more}", lines.len(), shown.join("; ")),
                "see them all with \"membrane check\"; stop the server, then: membrane check --repair",
            )
        }
        Err(error) => Check::problem(NAME, format!("it cannot be checked: {error}"), "membrane restore FILE"),
    }
}

/// How much there is, and whether any of it is of tomorrow.
pub(super) fn sessions(conn: &Connection, now: Timestamp) -> Vec<Check> {
    const NAME: &str = "sessions";
    let counted: rusqlite::Result<(i64, i64, i64)> = conn.query_row(
        "SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM turns), (SELECT count(*) FROM runs)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    );
    let mut checks = vec![match counted {
        Ok((sessions, turns, runs)) => Check::ok(
            NAME,
            format!("sessions: {sessions}, turns: {turns} stored once each, turns under way: {runs}"),
        ),
        Err(error) => Check::problem(
            NAME,
            format!("they cannot be counted: {error}"),
            "see what is missing with \"membrane check\", or bring back a backup: membrane restore FILE",
        ),
    }];
    let newest: rusqlite::Result<Option<String>> = conn
        .query_row("SELECT last_active FROM chat_sessions ORDER BY last_active DESC LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional();
    if let Ok(Some(newest)) = newest
        && let Ok(newest) = Timestamp::parse(&newest)
    {
        let ahead = newest.as_micros() - now.as_micros();
        checks.push(if ahead > TOLERANCE_MICROS {
            let found = format!(
                "the newest session was active at {newest}, and now it is {now}: the clock is or was wrong"
            );
            Check::note("clock", found).with_remedy("set the clock: timedatectl set-ntp true")
        } else {
            Check::ok("clock", format!("the newest session was active at {newest}, before now"))
        });
    }
    checks
}
