//! Long V1 files: many turns, each of whose texts is known from its number.
//!
//! Not here: oddities ([`super::v1`]).

use std::path::Path;

use rusqlite::{Connection, params};

use super::layout::Layout;
use super::table::Table;
use super::times;
use super::v1::{CHECKPOINT_COLUMNS, CRYSTAL_COLUMNS, OldFile, SESSION_COLUMNS, TURN_COLUMNS};
use crate::campaign::Failure;

/// How many turns a session has; the last one may have fewer.
pub const TURNS_EACH: u64 = 1000;

/// What is said in a turn.
pub fn texts(turn: u64) -> (String, String) {
    let mixed = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (
        format!("question {turn}: {mixed:016x}"),
        format!("answer {turn}: {}", format!("{mixed:016x} ").repeat(8)),
    )
}

/// The id of a session.
pub fn session_id(number: u64) -> String {
    format!("session-{number:012x}")
}

/// Writes a file of `n_turns` turns.
pub fn write(path: &Path, n_turns: u64) -> Result<(), Failure> {
    write_with(path, n_turns, texts)
}

/// Writes a file of `n_turns` turns, in which other things are said.
pub fn write_with(path: &Path, n_turns: u64, texts: impl Fn(u64) -> (String, String)) -> Result<(), Failure> {
    let tables = [
        Table::new("chat_sessions", &SESSION_COLUMNS),
        Table::new("chat_turns", &TURN_COLUMNS),
        Table::new("chat_crystals", &CRYSTAL_COLUMNS),
        Table::new("chat_checkpoints", &CHECKPOINT_COLUMNS),
    ];
    let empty = OldFile {
        layout: Layout { journal_mode: "DELETE", ..Layout::USUAL },
        temper: super::texts::Temper::Calm,
        zone: times::Zone::Utc,
        tables: tables.into(),
        foreign: Vec::new(),
    };
    empty.write(path)?;
    let conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; BEGIN")?;
    let mut session = conn.prepare(
        "INSERT INTO chat_sessions (id, branch_name, state, turn_count, context_size, evidence_json, metadata_json, \
             is_merged, created_at, last_active) VALUES (?1, 'main', 'idle', ?2, 0, '{}', '{}', 0, ?3, ?3)",
    )?;
    let mut turn = conn.prepare(
        "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, user_linearity, \
             assistant_linearity, started_at, completed_at) VALUES (?1, ?2, ?3, ?4, 'preserved', 'preserved', ?5, ?6)",
    )?;
    for number in 0..n_turns.div_ceil(TURNS_EACH) {
        let id = session_id(number);
        let first = number * TURNS_EACH;
        let n_own = TURNS_EACH.min(n_turns - first);
        session.execute(params![id, n_own.cast_signed(), times::naive(number * 100, 0, 0)])?;
        for n in 0..n_own {
            let (user, reply) = texts(first + n);
            let (start, end) = (times::naive(number * 100, n, 0), times::naive(number * 100, n, 5));
            turn.execute(params![id, n.cast_signed(), user, reply, start, end])?;
        }
    }
    drop((session, turn));
    conn.execute_batch("COMMIT")?;
    conn.close().map_err(|(_, error)| error.into())
}

/// Fails unless the upgraded file shows every turn in its place, and no other.
pub fn must_be_whole(path: &Path, n_turns: u64) -> Result<(), Failure> {
    let conn = Connection::open(path)?;
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(format!("integrity_check says {verdict}").into());
    }
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let n_sessions = count("SELECT count(*) FROM chat_sessions")?.cast_unsigned();
    if n_sessions != n_turns.div_ceil(TURNS_EACH) {
        return Err(format!("{n_sessions} sessions are there").into());
    }
    let mut shown = conn.prepare(
        "SELECT user_message, assistant_response, turn_number FROM chat_turns WHERE session_id = ?1 ORDER BY turn_number",
    )?;
    let mut next = 0;
    for number in 0..n_sessions {
        let mut rows = shown.query([session_id(number)])?;
        while let Some(row) = rows.next()? {
            let found: (String, String) = (row.get(0)?, row.get(1)?);
            if found != texts(next) || row.get::<_, i64>(2)? != (next % TURNS_EACH).cast_signed() {
                return Err(format!("turn {next} is {:?}", found.0).into());
            }
            next += 1;
        }
        if next != ((number + 1) * TURNS_EACH).min(n_turns) {
            return Err(format!("session {number} ends at turn {next}").into());
        }
    }
    Ok(())
}
