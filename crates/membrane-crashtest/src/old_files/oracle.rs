//! Judges an upgraded file: what went in must be there, read with SQL alone.
//!
//! Not here: files that were refused ([`super::campaign`]), and what is odd without being lost.

mod checkpoints;
mod neighbours;
mod sessions;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

pub use checkpoints::SEEN;

use super::cell::Cell;
use super::foreign::Foreign;
use super::kept::Kept;
use super::table::{Contents, Row, Table};
use super::times::{self, Meaning, Zone};
use crate::campaign::Failure;

/// The tables of the chat in a V1 file.
pub const CHAT_TABLES: [&str; 4] = ["chat_sessions", "chat_turns", "chat_crystals", "chat_checkpoints"];

/// The longest id that a keep takes.
const MAX_ID_BYTES: usize = 64 * 1024;

/// The rows of one table as the upgrade counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All.
    pub total: u64,
    /// Those that are in the keep.
    pub read: u64,
    /// Those that are kept aside.
    pub skipped: u64,
}

/// What an upgrade said of itself.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Its counts, by table.
    pub tables: BTreeMap<String, Count>,
    /// Its findings, one line each.
    pub findings: Vec<String>,
}

/// What went in.
#[derive(Debug)]
pub struct Before<'a> {
    /// Everything that plain SQLite read.
    pub contents: &'a Contents,
    /// The zone that the upgrade was given.
    pub zone: Zone,
    /// What of others is known to be in the file.
    pub foreign: &'a [Foreign],
}

/// Judges one file.
struct Judge<'a> {
    before: &'a Before<'a>,
    account: &'a Account,
    conn: &'a Connection,
    kept: Kept,
    problems: Vec<String>,
    /// Sessions of the old file whose ids a keep can have.
    usable: BTreeSet<&'a str>,
}

/// Everything that is wrong with the upgraded file behind `conn`, a line each.
///
/// # Errors
/// The file cannot be read at all.
pub fn judge(before: &Before<'_>, account: &Account, conn: &Connection) -> Result<Vec<String>, Failure> {
    let usable = usable_ids(before.contents);
    let mut judge = Judge { before, account, conn, kept: Kept::read(conn)?, problems: Vec::new(), usable };
    judge.soundness()?;
    judge.counts();
    judge.sessions()?;
    judge.crystals()?;
    judge.checkpoints()?;
    judge.orphans()?;
    judge.neighbours()?;
    Ok(judge.problems)
}

/// The ids of the sessions that must be there afterwards.
fn usable_ids(contents: &Contents) -> BTreeSet<&str> {
    let Some(sessions) = contents.table("chat_sessions") else { return BTreeSet::new() };
    let ids = sessions.rows.iter().filter_map(|row| sessions.cell(row, "id").as_text());
    ids.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES).collect()
}

impl<'a> Judge<'a> {
    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    fn table(&self, name: &str) -> Option<&'a Table> {
        self.before.contents.table(name)
    }

    fn soundness(&mut self) -> Result<(), Failure> {
        let verdict: String = self.conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if verdict != "ok" {
            self.problem(format!("integrity_check: {verdict}"));
        }
        let tables: Vec<String> = self
            .conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for table in tables {
            // A table of others may have had rows without partners before.
            if self.table(&table).is_some() && !CHAT_TABLES.contains(&table.as_str()) {
                continue;
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM pragma_foreign_key_check(?1))";
            if self.conn.query_row(sql, [&table], |row| row.get(0))? {
                self.problem(format!("{table} refers to rows that are not there"));
            }
        }
        Ok(())
    }

    /// Every row of the file is counted, as read or as skipped.
    fn counts(&mut self) {
        for name in CHAT_TABLES {
            let counted = self.account.tables.get(name).copied().unwrap_or_default();
            if counted.read + counted.skipped != counted.total {
                self.problem(format!("{name}: {counted:?} does not add up"));
            }
            let n_rows = self.table(name).map_or(0, |table| table.rows.len() as u64);
            let is_exact = self.table(name).is_none_or(|table| !table.is_cut);
            if counted.total < n_rows || (is_exact && counted.total != n_rows) {
                self.problem(format!("{name}: {counted:?}, the file has {n_rows} rows"));
            }
        }
    }

    /// Whether the report says something about a value.
    fn is_named(&self, row: &Row, table: &Table, cell: &Cell) -> bool {
        let Some((shown, _)) = cell.shown() else { return false };
        let id = table.cell(row, "id").shown().map(|(id, _)| id).unwrap_or_default();
        let short: String = shown.chars().take(20).collect();
        self.account.findings.iter().any(|line| {
            line.starts_with(&table.name)
                && line.contains(&short)
                && (line.contains(&id) || row.rowid.is_some_and(|rowid| line.contains(&rowid.to_string())))
        })
    }

    /// Judges a text: it is there byte for byte; or, if it was no text, its readable form is, and the original is
    /// kept aside.
    fn text(&mut self, table: &'a Table, row: &'a Row, column: &str, shown: &Cell) {
        let cell = table.cell(row, column);
        let is_right = match cell {
            // Some default stands there.
            Cell::Null => true,
            Cell::Text(bytes) if std::str::from_utf8(bytes).is_ok() => shown.bytes() == Some(bytes),
            Cell::Int(number) => {
                shown.as_text() == Some(&number.to_string()) || self.kept.has_value(table, row, column)
            }
            Cell::Text(bytes) => {
                shown.as_text() == Some(&String::from_utf8_lossy(bytes))
                    && self.kept.has_value(table, row, column)
            }
            Cell::Real(_) | Cell::Blob(_) => self.kept.has_value(table, row, column),
        };
        if !is_right {
            self.problem(format!(
                "{}: {column} was {} and is {}",
                at(table, row),
                cell.brief(),
                shown.brief()
            ));
        }
    }

    /// Judges a time: it is there in UTC if there is no doubt about it; else the report or the rows kept aside have it.
    fn time(&mut self, table: &'a Table, row: &'a Row, column: &str, shown: &Cell) {
        let cell = table.cell(row, column);
        let meaning = cell.as_text().map_or(Meaning::Unclear, |text| times::meaning(text, self.before.zone));
        let is_right = match meaning {
            // A fork's turn that is its parent's ended when that did; its own end is kept aside.
            Meaning::Clear(expected) => {
                shown.as_text() == Some(&expected)
                    || column == "completed_at" && self.kept.has_value(table, row, column)
            }
            Meaning::Near => true,
            // Nothing at all is not odd.
            Meaning::Unclear => {
                let is_nothing = cell.is_null() || cell.as_text() == Some("");
                is_nothing || self.kept.has_value(table, row, column) || self.is_named(row, table, cell)
            }
        };
        if !is_right {
            self.problem(format!(
                "{}: {column} was {} and is {}",
                at(table, row),
                cell.brief(),
                shown.brief()
            ));
        }
    }
}

/// Where a row stands, for messages.
fn at(table: &Table, row: &Row) -> String {
    match row.rowid {
        Some(rowid) => format!("{} rowid {rowid}", table.name),
        None => format!("{} {}", table.name, row.cells.first().map(Cell::brief).unwrap_or_default()),
    }
}
