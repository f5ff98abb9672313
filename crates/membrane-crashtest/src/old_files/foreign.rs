//! What others keep in the same file: tables, views, triggers and indexes of their own.
//!
//! Not here: the chat's tables.

use super::cell::Cell;
use super::table::Table;
use super::texts::{Source, Temper};

/// Something of others.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// What it is called in messages.
    pub name: &'static str,
    /// The statements that make it.
    pub sql: String,
    /// Its rows, if it is a table.
    pub table: Option<Table>,
    /// What an upgrade may do about it.
    pub standing: Standing,
}

/// How much something of others hinders an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not at all: it is there afterwards as it was.
    Stays,
    /// It may be a reason to refuse; if it is none, it stays.
    MayRefuse,
    /// It refers to single turns: a reason to refuse, unless the upgrade is forced.
    RefersToTurns,
}

/// Some of them. Those that refer to the chat's tables refer to rows that are there and to some that are not.
pub fn choose(source: &mut Source, tables: &[Table]) -> Vec<Foreign> {
    let mut all = Vec::new();
    let sessions: Vec<Cell> = tables
        .iter()
        .filter(|table| table.name == "chat_sessions")
        .flat_map(|table| table.rows.iter().map(|row| table.cell(row, "id").clone()))
        .filter(|id| matches!(id, Cell::Text(_)))
        .collect();
    if source.choices.one_in(2) {
        all.push(marks(source, &sessions));
        if source.choices.one_in(2) {
            all.push(plain("marks_log", MARKS_LOG, Standing::Stays));
        }
    }
    if source.choices.one_in(3) {
        let mut table = Table::new("witness_settings", &["name", "value"]);
        for (name, value) in [("a", Cell::Blob(vec![0, 255, 0])), ("b", Cell::Real(-0.5)), ("c", Cell::Null)]
        {
            table.rows.push(super::table::Row { rowid: None, cells: vec![Cell::text(name), value] });
        }
        all.push(Foreign {
            name: "witness_settings",
            sql: "CREATE TABLE witness_settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID".to_owned(),
            table: Some(table),
            standing: Standing::Stays,
        });
    }
    if source.choices.one_in(3) {
        all.push(versions(source));
    }
    if source.choices.one_in(5) {
        all.push(plain(
            "recent_sessions",
            "CREATE VIEW recent_sessions AS SELECT id, last_active FROM chat_sessions ORDER BY last_active DESC",
            Standing::Stays,
        ));
    }
    if source.choices.one_in(8) {
        all.push(plain(
            "first_turns",
            "CREATE VIEW first_turns AS SELECT session_id, user_message FROM chat_turns WHERE turn_number = 0",
            Standing::Stays,
        ));
    }
    if source.temper != Temper::Calm {
        awkward(source, &mut all);
    }
    all
}

const MARKS_LOG: &str = "
    CREATE TABLE marks_log (mark TEXT, at TEXT);
    CREATE TRIGGER marks_logged AFTER UPDATE ON witness_marks BEGIN
        INSERT INTO marks_log VALUES (NEW.id, 'changed');
    END;
    CREATE INDEX idx_marks_session ON witness_marks (session_id)";

fn awkward(source: &mut Source, all: &mut Vec<Foreign>) {
    if source.choices.one_in(8) {
        let mut table = Table::new("bookmarks", &["id", "turn_id", "note"]);
        for turn in [1, 2, 99_999] {
            table.push(vec![Cell::Int(turn), Cell::Int(turn), Cell::text("remember this")]);
        }
        // The rowid of a table whose key is an integer is the key.
        for row in &mut table.rows {
            row.rowid = row.cells.first().and_then(Cell::as_int);
        }
        all.push(Foreign {
            name: "bookmarks",
            sql: "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY, turn_id INTEGER REFERENCES chat_turns (id), note TEXT)"
                .to_owned(),
            table: Some(table),
            standing: Standing::RefersToTurns,
        });
    }
    if source.choices.one_in(10) {
        all.push(plain(
            "sessions_touched",
            "CREATE TABLE touched (id TEXT);
             CREATE TRIGGER sessions_touched AFTER UPDATE ON chat_sessions BEGIN INSERT INTO touched VALUES (NEW.id); END",
            Standing::MayRefuse,
        ));
    }
    if source.choices.one_in(10) {
        all.push(plain(
            "turns_counted",
            "CREATE TABLE counted (n INTEGER);
             CREATE TRIGGER turns_counted AFTER INSERT ON chat_turns BEGIN INSERT INTO counted VALUES (1); END;
             CREATE TRIGGER turns_uncounted AFTER DELETE ON chat_turns BEGIN INSERT INTO counted VALUES (-1); END",
            Standing::MayRefuse,
        ));
    }
    if source.choices.one_in(16) {
        // Names that the new schema needs for itself.
        let sql = "CREATE TABLE turns (x); CREATE TABLE Segments (y)";
        all.push(plain("turns", sql, Standing::MayRefuse));
    }
}

fn plain(name: &'static str, sql: &str, standing: Standing) -> Foreign {
    Foreign { name, sql: sql.to_owned(), table: None, standing }
}

fn marks(source: &mut Source, sessions: &[Cell]) -> Foreign {
    let mut table = Table::new("witness_marks", &["id", "session_id", "weight", "body"]);
    for n in 0..source.choices.below(40) {
        let session = match source.choices.below(4) {
            0 => Cell::Null,
            1 => Cell::text("session-gone"),
            _ => sessions.get(source.choices.below(sessions.len())).cloned().unwrap_or(Cell::Null),
        };
        let body = Cell::Blob((0..source.choices.below(900)).map(|byte| byte.to_le_bytes()[0]).collect());
        table.push(vec![Cell::text(format!("mark-{n}")), session, Cell::Real(0.25), body]);
    }
    let reference = if source.choices.one_in(2) { " REFERENCES chat_sessions (id)" } else { "" };
    Foreign {
        name: "witness_marks",
        sql: format!(
            "CREATE TABLE witness_marks (id TEXT PRIMARY KEY, session_id TEXT{reference}, weight REAL, body BLOB)"
        ),
        table: Some(table),
        standing: Standing::Stays,
    }
}

fn versions(source: &mut Source) -> Foreign {
    let mut table = Table::new("schema_version", &["version", "applied_at"]);
    for version in 1..=2 {
        let at = if source.choices.one_in(4) { Cell::Null } else { Cell::text("2025-12-01 10:00:00") };
        table.push(vec![Cell::Int(version), at]);
    }
    Foreign {
        name: "schema_version",
        sql: "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT DEFAULT (datetime('now')))"
            .to_owned(),
        table: Some(table),
        standing: Standing::Stays,
    }
}
