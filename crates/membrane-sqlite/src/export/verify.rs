//! Reading a file again that was just written: is it whole, and is everything there?

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::ExportError;
use crate::error::Doing;
use crate::integrity::{Depth, find_damage};
use crate::rows::signed;

/// How many rows were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Written {
    pub(super) sessions: u64,
    pub(super) turns: u64,
    pub(super) checkpoints: u64,
    pub(super) crystals: u64,
}

/// Turns are numbered 0, 1, 2, … in each session, as many as it says.
const MISNUMBERED: &str = "SELECT count(*) FROM chat_sessions s WHERE s.turn_count <> \
     (SELECT count(*) FROM chat_turns t WHERE t.session_id = s.id \
     AND t.turn_number >= 0 AND t.turn_number < s.turn_count)";

/// Reads the file at `path`, which is to become `out`.
pub(super) fn verify(path: &Path, out: &Path, written: Written) -> Result<(), ExportError> {
    let problem =
        look(path, written).doing("read the export").map_err(|error| ExportError::write(out, error))?;
    match problem {
        Some(problem) => Err(ExportError::Damaged { path: out.to_owned(), problem }),
        None => Ok(()),
    }
}

/// The first thing that is wrong with it.
fn look(path: &Path, written: Written) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    let mut said = Vec::new();
    find_damage(&conn, Depth::Whole, &mut |line| said.push(line))?;
    if let Some(said) = said.first() {
        return Ok(Some(format!("the integrity check says {said:?}")));
    }
    let mut foreign_keys = conn.prepare("PRAGMA foreign_key_check")?;
    if let Some(row) = foreign_keys.query([])?.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        return Ok(Some(format!("a row of {table} refers to one of {parent} that is not there")));
    }
    for (table, expected) in [
        ("chat_sessions", written.sessions),
        ("chat_turns", written.turns),
        ("chat_checkpoints", written.checkpoints),
        ("chat_crystals", written.crystals),
    ] {
        let found: i64 = conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        if found != signed(expected) {
            return Ok(Some(format!("{table} has {found} rows, {expected} were written")));
        }
    }
    let misnumbered: i64 = conn.query_row(MISNUMBERED, [], |row| row.get(0))?;
    Ok((misnumbered > 0).then(|| format!("{misnumbered} sessions do not have the turns that they count")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, written: Written, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v1.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(include_str!("v1.sql")).unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        conn.execute_batch(sql).unwrap();
        drop(conn);
        let error = verify(&path, Path::new("out.db"), written).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("out.db"), "{error}");
    }

    const SESSION: &str =
        "INSERT INTO chat_sessions (id, turn_count, created_at, last_active) VALUES ('s', 2, '', '');";
    const TURNS: &str = "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, \
         started_at, completed_at) VALUES ('s', 0, '', '', '', ''), ('s', 2, '', '', '', '');";

    #[test]
    fn rows_that_are_missing_misnumbered_or_hang_on_nothing_are_noticed() {
        let written = Written { sessions: 1, turns: 2, ..Written::default() };
        check("", written, "chat_sessions has 0 rows, 1 were written");
        check(SESSION, written, "chat_turns has 0 rows, 2 were written");
        check(TURNS, written, "a row of chat_turns refers to one of chat_sessions that is not there");
        check(&format!("{SESSION}{TURNS}"), written, "1 sessions do not have the turns that they count");
    }
}
