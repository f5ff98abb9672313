//! Sessions and their crystals.
//!
//! Not here: their turns ([`super::turns`]).

use rusqlite::OptionalExtension;
use serde_json::Value;

use super::super::cell::Cell;
use super::super::table::{Row, Table};
use super::{Judge, at};
use crate::campaign::Failure;

const SHOWN: [&str; 12] = [
    "project_id",
    "parent_id",
    "fork_point",
    "branch_name",
    "state",
    "turn_count",
    "evidence_json",
    "metadata_json",
    "is_merged",
    "merged_into",
    "created_at",
    "last_active",
];

impl<'a> Judge<'a> {
    pub(super) fn sessions(&mut self) -> Result<(), Failure> {
        let Some(table) = self.table("chat_sessions") else { return Ok(()) };
        let sql = format!("SELECT {} FROM chat_sessions WHERE id = ?1", SHOWN.join(", "));
        let conn = self.conn;
        let mut statement = conn.prepare(&sql)?;
        for row in &table.rows {
            let id = table.cell(row, "id");
            let Some(name) = id.as_text().filter(|id| self.usable.contains(id)) else {
                self.unusable_session(table, row)?;
                continue;
            };
            let shown = statement
                .query_row([name], |found| {
                    (0..SHOWN.len()).map(|n| found.get_ref(n).map(Cell::read)).collect::<Result<Vec<_>, _>>()
                })
                .optional()?;
            match shown {
                Some(shown) => {
                    self.session(table, row, &shown);
                    self.turns_of(name)?;
                }
                None => self.problem(format!("{}: the session {} is gone", at(table, row), id.brief())),
            }
        }
        Ok(())
    }

    /// Something whose id a keep cannot have goes by another one, or is kept aside.
    fn unusable_session(&mut self, table: &'a Table, row: &'a Row) -> Result<(), Failure> {
        let id = table.cell(row, "id");
        let Some((shown, _)) = id.shown() else {
            if !self.kept.has_row(table, row) {
                self.problem(format!("{}: a session with id {} is gone", at(table, row), id.brief()));
            }
            return Ok(());
        };
        let is_there: bool = self.conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM chat_sessions WHERE id = ?1)",
            [&shown],
            |found| found.get(0),
        )?;
        if !self.kept.has_row(table, row) && (shown.is_empty() || !is_there) {
            self.problem(format!("{}: a session with id {} is gone", at(table, row), id.brief()));
        }
        Ok(())
    }

    fn session(&mut self, table: &'a Table, row: &'a Row, shown: &[Cell]) {
        let after = |column: &str| {
            let place = SHOWN.iter().position(|name| *name == column);
            place.and_then(|place| shown.get(place)).unwrap_or(&Cell::Null)
        };
        for column in ["project_id", "branch_name", "merged_into"] {
            self.text(table, row, column, after(column));
        }
        for column in ["created_at", "last_active"] {
            self.time(table, row, column, after(column));
        }
        self.parent(table, row, after("parent_id"), after("fork_point"));
        self.metadata(table, row, after("metadata_json"));
        self.evidence(table, row, after("evidence_json"));
        if after("state").as_text() != Some("idle") {
            self.problem(format!("{}: its state is {}", at(table, row), after("state").brief()));
        }
        let was_merged = table.cell(row, "is_merged").as_int().is_some_and(|flag| flag != 0);
        if was_merged != after("is_merged").as_int().is_some_and(|flag| flag != 0) {
            self.problem(format!("{}: is_merged is {}", at(table, row), after("is_merged").brief()));
        }
        if table.columns.iter().any(|column| column == "notes_of_ours")
            && !table.cell(row, "notes_of_ours").is_null()
            && !self.kept.has_value(table, row, "notes_of_ours")
        {
            self.problem(format!("{}: the value of a column of others is gone", at(table, row)));
        }
    }

    fn parent(&mut self, table: &'a Table, row: &'a Row, parent: &Cell, fork_point: &Cell) {
        let was = table.cell(row, "parent_id");
        if was != parent && !was.is_null() {
            // Only knots and what is no id may be undone, and not in silence.
            let is_excused = self.kept.has_value(table, row, "parent_id") || self.is_named(row, table, was);
            let is_knot = was == table.cell(row, "id") || is_in_circle(table, row);
            let is_id = was.as_text().is_some_and(|id| !id.is_empty() && id.len() <= super::MAX_ID_BYTES);
            if !is_excused || (is_id && !is_knot) {
                self.problem(format!(
                    "{}: parent_id was {} and is {}",
                    at(table, row),
                    was.brief(),
                    parent.brief()
                ));
            }
        }
        let was = table.cell(row, "fork_point");
        let is_excused = self.kept.has_value(table, row, "fork_point") || self.is_named(row, table, was);
        if was != fork_point && !was.is_null() && !is_excused {
            self.problem(format!(
                "{}: fork_point was {} and is {}",
                at(table, row),
                was.brief(),
                fork_point.brief()
            ));
        }
    }

    /// JSON that is an object is there as it means; anything else is kept aside.
    fn metadata(&mut self, table: &'a Table, row: &'a Row, shown: &Cell) {
        let was = json(table.cell(row, "metadata_json")).filter(Value::is_object);
        let is_right = match &was {
            Some(was) => json(shown).as_ref() == Some(was),
            None => false,
        };
        let was = table.cell(row, "metadata_json");
        // JSON that not everybody can read, half a surrogate pair for one, may stand there as it was.
        if !is_right && was != shown && !was.is_null() && !self.kept.has_value(table, row, "metadata_json") {
            self.problem(format!(
                "{}: metadata_json was {} and is {}",
                at(table, row),
                was.brief(),
                shown.brief()
            ));
        }
    }

    /// Evidence that says no more than the turns do is the same afterwards.
    fn evidence(&mut self, table: &'a Table, row: &'a Row, shown: &Cell) {
        let was = table.cell(row, "evidence_json");
        let total = |cell: &Cell| {
            let value = json(cell)?;
            Some((value.get("prior_alpha")?.as_f64()?, value.get("prior_beta")?.as_f64()?))
        };
        let Some((alpha, beta)) = total(was) else {
            let is_empty = was.is_null() || json(was).is_some_and(|value| value == serde_json::json!({}));
            if !is_empty && !self.kept.has_value(table, row, "evidence_json") {
                self.problem(format!("{}: evidence {} is gone", at(table, row), was.brief()));
            }
            return;
        };
        let n_turns = self.n_plain_turns(table.cell(row, "id"));
        #[expect(clippy::cast_precision_loss, reason = "counts of a small file")]
        let is_consistent = n_turns.is_some_and(|n| (alpha, beta) == (n as f64 + 1.0, 1.0));
        if is_consistent && total(shown) != Some((alpha, beta)) {
            self.problem(format!(
                "{}: evidence was ({alpha}, {beta}) and is {}",
                at(table, row),
                shown.brief()
            ));
        }
    }

    pub(super) fn crystals(&mut self) -> Result<(), Failure> {
        let Some(table) = self.table("chat_crystals") else { return Ok(()) };
        let conn = self.conn;
        let mut statement = conn.prepare(
            "SELECT title, summary, key_decisions_json, artifacts_json, final_turn_count, created_at \
             FROM chat_crystals WHERE session_id = ?1",
        )?;
        for row in &table.rows {
            let session = table.cell(row, "session_id");
            let Some(name) = session.as_text().filter(|id| self.usable.contains(id)) else { continue };
            let shown = statement
                .query_row([name], |found| {
                    (0..6).map(|n| found.get_ref(n).map(Cell::read)).collect::<Result<Vec<_>, _>>()
                })
                .optional()?;
            let Some([title, summary, decisions, artifacts, count, created_at]) = shown.as_deref() else {
                if !self.kept.has_row(table, row) {
                    self.problem(format!("{}: the crystal is gone", at(table, row)));
                }
                continue;
            };
            self.text(table, row, "title", title);
            self.text(table, row, "summary", summary);
            self.strings(table, row, "key_decisions_json", decisions);
            self.strings(table, row, "artifacts_json", artifacts);
            self.time(table, row, "created_at", created_at);
            let was = table.cell(row, "final_turn_count");
            let is_excused =
                self.kept.has_value(table, row, "final_turn_count") || self.is_named(row, table, was);
            if was != count && !was.is_null() && !is_excused {
                self.problem(format!(
                    "{}: final_turn_count was {}, is {}",
                    at(table, row),
                    was.brief(),
                    count.brief()
                ));
            }
        }
        Ok(())
    }

    fn strings(&mut self, table: &'a Table, row: &'a Row, column: &str, shown: &Cell) {
        let list = |cell: &Cell| -> Option<Vec<String>> { serde_json::from_str(cell.as_text()?).ok() };
        let was = table.cell(row, column);
        let is_right = match list(was) {
            Some(was) => list(shown).unwrap_or_default() == was,
            None => was.is_null() || self.kept.has_value(table, row, column),
        };
        if !is_right {
            self.problem(format!(
                "{}: {column} was {} and is {}",
                at(table, row),
                was.brief(),
                shown.brief()
            ));
        }
    }
}

fn is_in_circle(table: &Table, row: &Row) -> bool {
    let mut at = table.cell(row, "parent_id");
    for _ in 0..table.rows.len() {
        if at == table.cell(row, "id") {
            return true;
        }
        let Some(parent) = table.rows.iter().find(|row| table.cell(row, "id") == at) else { return false };
        at = table.cell(parent, "parent_id");
    }
    // It leads into one, which is as bad.
    true
}

/// JSON as it stands in a column.
pub(super) fn json(cell: &Cell) -> Option<Value> {
    serde_json::from_str(cell.as_text()?).ok()
}
