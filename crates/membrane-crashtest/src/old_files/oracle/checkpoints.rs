//! Checkpoints: each sees the turns that it held.
//!
//! Not here: restoring one through the keep's own code.

use rusqlite::OptionalExtension;
use serde_json::Value;

use super::super::cell::Cell;
use super::super::table::{Row, Table};
use super::sessions::json;
use super::{Judge, at};
use crate::campaign::Failure;

/// The turns that a pointer (a history, and how many of its turns) sees, by the tables alone.
pub const SEEN: &str = "
    SELECT t.user_message, t.assistant_response
    FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id
        AND t.position >= sl.segment_offset
        AND t.position < sl.segment_offset - sl.start + min(coalesce(sl.stop, ?2), ?2)
    WHERE sl.history_id = ?1 AND sl.start < ?2
    ORDER BY sl.start, t.position";

impl<'a> Judge<'a> {
    pub(super) fn checkpoints(&mut self) -> Result<(), Failure> {
        let Some(table) = self.table("chat_checkpoints") else { return Ok(()) };
        for row in &table.rows {
            let session = table.cell(row, "session_id");
            let Some(session) = session.as_text().filter(|id| self.usable.contains(id)) else { continue };
            let id = table.cell(row, "id");
            // An id that is no text is found by its readable form.
            let found = match id.shown() {
                Some((id, _)) => self
                    .conn
                    .query_row(
                        "SELECT history_id, turn_count, created_at FROM chat_checkpoints \
                         WHERE id = ?1 AND session_id = ?2",
                        [id.as_str(), session],
                        |found| Ok((found.get(0)?, found.get(1)?, Cell::read(found.get_ref(2)?))),
                    )
                    .optional()?,
                None => None,
            };
            let Some((history, turn_count, created_at)) = found else {
                let is_usable =
                    id.as_text().is_some_and(|id| !id.is_empty() && id.len() <= super::MAX_ID_BYTES);
                if is_usable || !self.kept.has_row(table, row) {
                    self.problem(format!("{}: the checkpoint {} is gone", at(table, row), id.brief()));
                }
                continue;
            };
            if id.as_text().is_none() && !self.kept.has_value(table, row, "id") {
                self.problem(format!("{}: the id {} is not kept", at(table, row), id.brief()));
            }
            self.time(table, row, "created_at", &created_at);
            self.seen_by(table, row, session, history, turn_count)?;
        }
        Ok(())
    }

    fn seen_by(
        &mut self,
        table: &'a Table,
        row: &'a Row,
        session: &str,
        history: i64,
        turn_count: i64,
    ) -> Result<(), Failure> {
        let mut statement = self.conn.prepare_cached(SEEN)?;
        let seen: Vec<(Cell, Cell)> = statement
            .query_map([history, turn_count], |found| {
                Ok((Cell::read(found.get_ref(0)?), Cell::read(found.get_ref(1)?)))
            })?
            .collect::<Result<_, _>>()?;
        drop(statement);
        if i64::try_from(seen.len())? != turn_count {
            self.problem(format!("{}: counts {turn_count} turns and sees {}", at(table, row), seen.len()));
        }
        let context = table.cell(row, "context_json");
        let Some(held) = turns_in(context) else {
            let is_empty = json(context).is_some_and(|value| value == serde_json::json!({}));
            if !is_empty && !context.is_null() && !self.kept.has_value(table, row, "context_json") {
                self.problem(format!("{}: its context {} is gone", at(table, row), context.brief()));
            }
            return self.is_beginning(table, row, session, &seen);
        };
        // One that holds a list without turns may see none, or as many as it counts.
        if held.is_empty() && !seen.is_empty() {
            return self.is_beginning(table, row, session, &seen);
        }
        let is_same = held.len() == seen.len()
            && held
                .iter()
                .zip(&seen)
                .all(|(held, seen)| seen.0.as_text() == Some(&held.0) && seen.1.as_text() == Some(&held.1));
        if !is_same {
            let counts = format!("held {} turns and sees {} others", held.len(), seen.len());
            self.problem(format!("{}: {counts}", at(table, row)));
        }
        Ok(())
    }

    /// A checkpoint without turns of its own sees the first ones of its session.
    fn is_beginning(
        &mut self,
        table: &'a Table,
        row: &'a Row,
        session: &str,
        seen: &[(Cell, Cell)],
    ) -> Result<(), Failure> {
        let mut statement = self.conn.prepare_cached(
            "SELECT user_message, assistant_response FROM chat_turns WHERE session_id = ?1 ORDER BY turn_number",
        )?;
        let all: Vec<(Cell, Cell)> = statement
            .query_map([session], |found| Ok((Cell::read(found.get_ref(0)?), Cell::read(found.get_ref(1)?))))?
            .collect::<Result<_, _>>()?;
        drop(statement);
        let told = table.cell(row, "turn_count").as_int().and_then(|count| usize::try_from(count).ok());
        let expected = told.unwrap_or(0).min(all.len());
        let is_right = all.starts_with(seen) && (told.is_none() || seen.len() == expected);
        if !is_right {
            let message = format!(
                "{}: sees {} turns, not the first {expected} of its session",
                at(table, row),
                seen.len()
            );
            self.problem(message);
        }
        Ok(())
    }
}

/// The turns of a context in full, a text that is missing being empty; `None` if it is not one, or holds other things.
fn turns_in(context: &Cell) -> Option<Vec<(String, String)>> {
    let (text, _) = context.shown()?;
    let context: Value = serde_json::from_str(&text).ok()?;
    let turns = context.get("turns")?.as_array()?.iter().map(|turn| {
        let turn = turn.as_object()?;
        let text = |key| match turn.get(key) {
            None | Some(Value::Null) => Some(String::new()),
            Some(text) => text.as_str().map(str::to_owned),
        };
        Some((text("user_message")?, text("assistant_response")?))
    });
    turns.collect()
}
