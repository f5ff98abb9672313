//! The turns of a session, in order, byte for byte; and rows whose session is not there.
//!
//! Not here: the turns of checkpoints ([`super::checkpoints`]).

use std::cmp::Ordering;

use super::super::cell::Cell;
use super::super::table::{Row, Table};
use super::sessions::json;
use super::{CHAT_TABLES, Judge, at};
use crate::campaign::Failure;

/// A turn as the upgraded file shows it.
struct Shown {
    cells: Vec<Cell>,
}

const COLUMNS: [&str; 7] = [
    "user_message",
    "assistant_response",
    "user_linearity",
    "assistant_linearity",
    "tools_json",
    "started_at",
    "completed_at",
];

impl Shown {
    fn cell(&self, place: usize) -> &Cell {
        self.cells.get(place).unwrap_or(&Cell::Null)
    }
}

impl<'a> Judge<'a> {
    /// How many turns a session has, if none of them is out of the ordinary.
    pub(super) fn n_plain_turns(&self, session: &Cell) -> Option<usize> {
        let table = self.table("chat_turns")?;
        let rows: Vec<_> = table.rows.iter().filter(|row| table.cell(row, "session_id") == session).collect();
        let is_plain = |row: &Row| {
            let is_whole =
                ["user_message", "assistant_response"].iter().all(|c| table.cell(row, c).as_text().is_some());
            let tools = table.cell(row, "tools_json").as_text();
            is_whole && tools.is_none_or(|tools| !tools.contains("success")) && !table.is_cut
        };
        let mut numbers: Vec<_> = rows.iter().map(|row| table.cell(row, "turn_number").as_int()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        (numbers.len() == rows.len() && rows.iter().all(|row| is_plain(row))).then_some(rows.len())
    }

    pub(super) fn turns_of(&mut self, session: &str) -> Result<(), Failure> {
        let sql = format!(
            "SELECT {} FROM chat_turns WHERE session_id = ?1 ORDER BY turn_number",
            COLUMNS.join(", ")
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let shown: Vec<Shown> = statement
            .query_map([session], |found| {
                let cells = (0..COLUMNS.len()).map(|n| found.get_ref(n).map(Cell::read));
                Ok(Shown { cells: cells.collect::<Result<_, _>>()? })
            })?
            .collect::<Result<_, _>>()?;
        let Some(table) = self.table("chat_turns") else { return Ok(()) };
        let (rows, is_clear) = conversation(table, session);
        let mut left: Vec<&Shown> = shown.iter().collect();
        let mut before: Vec<&Row> = Vec::new();
        for row in rows {
            let place = if is_clear { 0 } else { place_of(table, row, &left) };
            match left.get(place) {
                Some(shown) if is_shown(table, row, shown) => {
                    let shown = left.remove(place);
                    self.turn(table, row, shown);
                }
                _ if self.kept.has_row(table, row)
                    && (!is_whole(table, row) || before.iter().any(|other| is_twice(table, other, row))) => {}
                Some(other) => {
                    let message = format!("{}: shown is {} instead", at(table, row), other.cell(0).brief());
                    self.problem(message);
                    return Ok(());
                }
                None => {
                    self.problem(format!("{}: the turn is gone", at(table, row)));
                    return Ok(());
                }
            }
            before.push(row);
        }
        if !left.is_empty() && !table.is_cut {
            let message = format!("session {:?} shows {} turns too many", short(session), left.len());
            self.problem(message);
        }
        Ok(())
    }

    fn turn(&mut self, table: &'a Table, row: &'a Row, shown: &Shown) {
        self.text(table, row, "user_message", shown.cell(0));
        self.text(table, row, "assistant_response", shown.cell(1));
        for (place, column) in [(2, "user_linearity"), (3, "assistant_linearity")] {
            let was = table.cell(row, column);
            let is_known =
                was.as_text().is_some_and(|tag| ["required", "preserved", "droppable"].contains(&tag));
            let is_excused =
                was.is_null() || self.kept.has_value(table, row, column) || self.is_named(row, table, was);
            if (is_known && was != shown.cell(place)) || (!is_known && !is_excused) {
                self.problem(format!("{}: {column} was {}", at(table, row), was.brief()));
            }
        }
        let tools = table.cell(row, "tools_json");
        let is_right = match tool_names(tools) {
            Some(names) => names == tool_names(shown.cell(4)).unwrap_or_default(),
            None => tools.is_null(),
        };
        if !is_right && !self.kept.has_value(table, row, "tools_json") {
            let message =
                format!("{}: tools were {}, are {}", at(table, row), tools.brief(), shown.cell(4).brief());
            self.problem(message);
        }
        self.time(table, row, "started_at", shown.cell(5));
        self.time(table, row, "completed_at", shown.cell(6));
        if !table.cell(row, "notes_of_ours").is_null() && !self.kept.has_value(table, row, "notes_of_ours") {
            self.problem(format!("{}: the value of a column of others is gone", at(table, row)));
        }
    }

    /// Rows whose session is not there are kept aside, or shown in a session that goes by another name now.
    pub(super) fn orphans(&mut self) -> Result<(), Failure> {
        for name in CHAT_TABLES {
            let Some(table) = self.table(name).filter(|_| name != "chat_sessions") else { continue };
            for row in &table.rows {
                let session = table.cell(row, "session_id");
                if session.as_text().is_some_and(|id| self.usable.contains(id))
                    || self.kept.has_row(table, row)
                {
                    continue;
                }
                let sessions = self.table("chat_sessions");
                let has_session = sessions.is_some_and(|sessions| {
                    sessions.rows.iter().any(|row| sessions.cell(row, "id") == session)
                });
                if !has_session || !self.is_renamed(session)? {
                    self.problem(format!("{}: a row of {} is gone", at(table, row), session.brief()));
                }
            }
        }
        Ok(())
    }

    fn is_renamed(&self, session: &Cell) -> Result<bool, Failure> {
        let Some((shown, _)) = session.shown() else { return Ok(false) };
        let sql = "SELECT EXISTS (SELECT 1 FROM chat_sessions WHERE id = ?1)";
        Ok(!shown.is_empty() && self.conn.query_row(sql, [shown], |found| found.get(0))?)
    }
}

/// The session's rows in the order of the conversation, and whether there is no doubt about it.
fn conversation<'a>(table: &'a Table, session: &str) -> (Vec<&'a Row>, bool) {
    let mut rows: Vec<&Row> =
        table.rows.iter().filter(|row| table.cell(row, "session_id").as_text() == Some(session)).collect();
    let number = |row: &'a Row| table.cell(row, "turn_number");
    let start = |row: &'a Row| table.cell(row, "started_at");
    rows.sort_by(|a, b| {
        let by_number = number(a).compare(number(b));
        by_number.then_with(|| start(a).compare(start(b))).then_with(|| a.rowid.cmp(&b.rowid))
    });
    // Two of the same number are ordered by time, which is clear only if both are written alike.
    let is_clear = rows.iter().all(|row| number(row).as_int().is_some())
        && rows.windows(2).all(|pair| match pair {
            [a, b] if number(a) == number(b) => {
                let plain =
                    |row| start(row).as_text().is_some_and(|text| text.len() == 26 || text.len() == 19);
                plain(a) && plain(b)
            }
            _ => true,
        });
    (rows, is_clear)
}

/// Whether both texts are texts.
fn is_whole(table: &Table, row: &Row) -> bool {
    ["user_message", "assistant_response"].iter().all(|column| table.cell(row, column).as_text().is_some())
}

/// Whether two rows are the same but for their keys.
fn is_twice(table: &Table, a: &Row, b: &Row) -> bool {
    let columns = ["turn_number", "user_message", "assistant_response", "started_at"];
    columns.iter().all(|column| table.cell(a, column).compare(table.cell(b, column)) == Ordering::Equal)
}

fn is_shown(table: &Table, row: &Row, shown: &Shown) -> bool {
    [(0, "user_message"), (1, "assistant_response")].into_iter().all(|(place, column)| {
        match table.cell(row, column).shown() {
            Some((text, _)) => shown.cell(place).bytes() == Some(text.as_bytes()),
            // What is no text is shown in some way; that it is kept aside is asked elsewhere.
            None => true,
        }
    })
}

fn place_of(table: &Table, row: &Row, left: &[&Shown]) -> usize {
    left.iter().position(|shown| is_shown(table, row, shown)).unwrap_or(usize::MAX)
}

/// The names of tools, if the value is a list of names or of objects with names.
fn tool_names(cell: &Cell) -> Option<Vec<String>> {
    let list = json(cell)?;
    let names = list.as_array()?.iter().map(|tool| {
        let name = tool.get("name").unwrap_or(tool).as_str();
        name.map(str::to_owned)
    });
    names.collect()
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
