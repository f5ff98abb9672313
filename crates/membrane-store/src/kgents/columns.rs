//! The rows of V1's tables, whatever is in their columns: what does not have the column's type is read as far as it can
//! be, and kept aside as it was.
//!
//! How a database hands its values over is not here: it makes [`Cell`]s of them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;

use super::old::{OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place};
use super::report::{Finding, Oddity};

/// The four tables of V1.
pub const TABLES: [&str; 4] = ["chat_sessions", "chat_turns", "chat_crystals", "chat_checkpoints"];

/// The columns without which a table cannot be read, for each of [`TABLES`].
pub const NEEDED: [&[&str]; 4] = [
    &["id"],
    &["session_id", "user_message", "assistant_response"],
    &["session_id", "title", "summary"],
    &["id", "session_id"],
];

const SESSION: [&str; 14] = [
    "id",
    "project_id",
    "parent_id",
    "fork_point",
    "branch_name",
    "state",
    "turn_count",
    "context_size",
    "evidence_json",
    "metadata_json",
    "is_merged",
    "merged_into",
    "created_at",
    "last_active",
];
const TURN: [&str; 12] = [
    "id",
    "session_id",
    "turn_number",
    "user_message",
    "assistant_response",
    "user_linearity",
    "assistant_linearity",
    "tools_json",
    "evidence_delta_json",
    "confidence",
    "started_at",
    "completed_at",
];
const CHECKPOINT: [&str; 6] =
    ["id", "session_id", "turn_count", "context_json", "evidence_json", "created_at"];
const CRYSTAL: [&str; 8] = [
    "session_id",
    "title",
    "summary",
    "key_decisions_json",
    "artifacts_json",
    "final_evidence_json",
    "final_turn_count",
    "created_at",
];

/// How many characters of a value are shown.
const SHOWN: usize = 60;

/// Where asides wait until the loader asks for them.
pub type Asides = VecDeque<(OldRow, Finding)>;

/// What a column of a row holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A whole number, or a yes or no.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text, which need not be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// A row: its columns' names and what they hold.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    /// The names.
    pub names: &'a [String],
    /// The values, in the same order.
    pub values: &'a [Cell<'a>],
}

impl<'a> Cells<'a> {
    fn cell(&self, name: &str) -> Cell<'a> {
        let at = self.names.iter().position(|column| column.eq_ignore_ascii_case(name));
        at.and_then(|at| self.values.get(at)).copied().unwrap_or(Cell::Null)
    }

    /// The whole row as a JSON object of its columns.
    fn json(&self) -> String {
        let mut text = String::from("{");
        for (index, (name, value)) in self.names.iter().zip(self.values).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let key = serde_json::Value::from(name.as_str());
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{key}:{}", json(*value));
        }
        text.push('}');
        text
    }

    /// A session, whose id was read already.
    pub fn session(self, id: String, aside: &mut Asides) -> OldSession {
        let place = Place { table: "chat_sessions", row: format!("id {id:?}") };
        let mut columns = Columns { cells: self, place, session: Some(id.clone()), aside };
        columns.keep_unknown(&SESSION);
        OldSession {
            place: columns.place.clone(),
            project_id: columns.text("project_id"),
            parent_id: columns.text("parent_id"),
            fork_point: columns.integer("fork_point"),
            branch_name: columns.text("branch_name"),
            state: columns.text("state"),
            turn_count: columns.integer("turn_count"),
            evidence_json: columns.text("evidence_json"),
            metadata_json: columns.text("metadata_json"),
            is_merged: columns.flag("is_merged"),
            merged_into: columns.text("merged_into"),
            created_at: columns.text("created_at"),
            last_active: columns.text("last_active"),
            id,
        }
    }

    /// A turn of this session; `row` is how the row is looked up.
    pub fn turn(self, row: String, session: &str, aside: &mut Asides) -> OldTurn {
        let place = Place { table: "chat_turns", row };
        let mut columns = Columns { cells: self, place, session: Some(session.to_owned()), aside };
        columns.keep_unknown(&TURN);
        OldTurn {
            place: columns.place.clone(),
            turn_number: columns.integer("turn_number"),
            user_message: columns.words("user_message"),
            assistant_response: columns.words("assistant_response"),
            user_linearity: columns.text("user_linearity"),
            assistant_linearity: columns.text("assistant_linearity"),
            tools_json: columns.text("tools_json"),
            evidence_delta_json: columns.text("evidence_delta_json"),
            confidence: columns.real("confidence"),
            started_at: columns.text("started_at"),
            completed_at: columns.text("completed_at"),
            ..OldTurn::default()
        }
    }

    /// A checkpoint of this session; `row` is how the row is looked up.
    pub fn checkpoint(self, row: String, session: &str, aside: &mut Asides) -> OldCheckpoint {
        let place = Place { table: "chat_checkpoints", row };
        let mut columns = Columns { cells: self, place, session: Some(session.to_owned()), aside };
        let id = columns.words("id");
        let mut place = columns.place.clone();
        place.row = format!("id {id:?}");
        columns.keep_unknown(&CHECKPOINT);
        OldCheckpoint {
            place,
            id,
            turn_count: columns.integer("turn_count"),
            context_json: columns.text("context_json"),
            evidence_json: columns.text("evidence_json"),
            created_at: columns.text("created_at"),
        }
    }

    /// The crystal of this session.
    pub fn crystal(self, session: &str, aside: &mut Asides) -> OldCrystal {
        let place = Place { table: "chat_crystals", row: format!("session_id {session:?}") };
        let mut columns = Columns { cells: self, place, session: Some(session.to_owned()), aside };
        columns.keep_unknown(&CRYSTAL);
        OldCrystal {
            place: columns.place.clone(),
            title: columns.words("title"),
            summary: columns.words("summary"),
            key_decisions_json: columns.text("key_decisions_json"),
            artifacts_json: columns.text("artifacts_json"),
            final_evidence_json: columns.text("final_evidence_json"),
            final_turn_count: columns.integer("final_turn_count"),
            created_at: columns.text("created_at"),
        }
    }

    /// A row that no session led to: whose it was, and why it is kept. `row` is how it is looked up.
    pub fn rest(self, table: &'static str, row: String) -> (OldRow, Finding) {
        let session = match self.cell(if table == "chat_sessions" { "id" } else { "session_id" }) {
            Cell::Text(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
            _ => None,
        };
        let named = session.as_deref().unwrap_or_default();
        let (oddity, problem) = match (table, named) {
            ("chat_sessions", "") => (Oddity::NoId, "a session whose id is not text".to_owned()),
            ("chat_sessions", id) => (Oddity::Duplicate, format!("a second session with the id {id:?}")),
            (_, "") => (Oddity::Orphan, "it names no session".to_owned()),
            (_, id) => {
                (Oddity::Orphan, format!("of session {id:?}, which is not there, or a second one of its id"))
            }
        };
        let place = Place { table, row };
        let what = format!("{problem}; the row is kept in legacy_rows");
        let (source, row) = (table.to_owned(), place.row.clone());
        let row = OldRow { session, source, row, value: self.json(), reason: problem };
        (row, Finding { oddity, place, what })
    }
}

/// Reads a row's columns by name, and collects what is odd about them.
struct Columns<'a> {
    cells: Cells<'a>,
    place: Place,
    session: Option<String>,
    aside: &'a mut Asides,
}

impl<'a> Columns<'a> {
    fn cell(&self, name: &str) -> Cell<'a> {
        self.cells.cell(name)
    }

    /// A text.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.cell(name);
        match value {
            Cell::Null => None,
            Cell::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if matches!(text, Cow::Owned(_)) {
                    let problem = "its bytes are not UTF-8; what is not is replaced by U+FFFD";
                    self.set_aside(name, value, Oddity::NotText, problem);
                }
                Some(text.into_owned())
            }
            Cell::Blob(bytes) => {
                self.set_aside(name, value, Oddity::WrongType, "a blob where text belongs; read as text");
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            Cell::Integer(number) => {
                self.set_aside(name, value, Oddity::WrongType, "a number where text belongs; read as text");
                Some(number.to_string())
            }
            Cell::Real(number) => {
                self.set_aside(name, value, Oddity::WrongType, "a number where text belongs; read as text");
                Some(number.to_string())
            }
        }
    }

    /// A text that belongs there; what is NULL is empty.
    fn words(&mut self, name: &str) -> String {
        if let Some(text) = self.text(name) {
            return text;
        }
        self.set_aside(name, Cell::Null, Oddity::WrongType, "NULL where text belongs; read as empty");
        String::new()
    }

    /// A whole number.
    fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.cell(name);
        let found = match value {
            Cell::Null => return None,
            Cell::Integer(number) => return Some(number),
            Cell::Real(number) => whole(number),
            Cell::Text(bytes) | Cell::Blob(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok())
            }
        };
        let problem = match found {
            Some(_) => "not stored as a whole number; read as one",
            None => "no whole number; left out",
        };
        self.set_aside(name, value, Oddity::WrongType, problem);
        found
    }

    /// A yes or no; NULL is no.
    fn flag(&mut self, name: &str) -> bool {
        let value = self.cell(name);
        let found = match value {
            Cell::Null => return false,
            Cell::Integer(number) => return number != 0,
            Cell::Real(number) => Some(number != 0.0),
            Cell::Text(bytes) | Cell::Blob(bytes) => match bytes.to_ascii_lowercase().as_slice() {
                b"true" | b"yes" | b"1" => Some(true),
                b"false" | b"no" | b"0" | b"" => Some(false),
                _ => None,
            },
        };
        self.set_aside(
            name,
            value,
            Oddity::WrongType,
            "not 0 or 1; read by what it says, no if it says neither",
        );
        found.unwrap_or(false)
    }

    /// A number.
    fn real(&mut self, name: &str) -> Option<f64> {
        let value = self.cell(name);
        let found = match value {
            Cell::Null => return None,
            Cell::Real(number) => return Some(number),
            #[expect(clippy::cast_precision_loss, reason = "what the column would hold")]
            Cell::Integer(number) => return Some(number as f64),
            Cell::Text(bytes) | Cell::Blob(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok())
            }
        };
        self.set_aside(name, value, Oddity::WrongType, "not stored as a number");
        found
    }

    /// Keeps the columns that V1 does not have.
    fn keep_unknown(&mut self, known: &[&str]) {
        let Cells { names, values } = self.cells;
        for (name, value) in names.iter().zip(values) {
            if *value != Cell::Null && !known.iter().any(|column| name.eq_ignore_ascii_case(column)) {
                self.set_aside(name, *value, Oddity::UnknownField, "a column that V1 does not have");
            }
        }
    }

    fn set_aside(&mut self, name: &str, value: Cell<'_>, oddity: Oddity, problem: &str) {
        let text = match value {
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => json(value),
            },
            other => json(other),
        };
        let shown: String = text.chars().take(SHOWN).collect();
        let what = format!("{name} {shown:?}: {problem}; the original is kept aside");
        let row = OldRow {
            session: self.session.clone(),
            source: format!("{}.{name}", self.place.table),
            row: self.place.row.clone(),
            value: text,
            reason: problem.to_owned(),
        };
        self.aside.push_back((row, Finding { oddity, place: self.place.clone(), what }));
    }
}

/// A number without a fraction, if it is one.
fn whole(number: f64) -> Option<i64> {
    // The texts of whole numbers have no fraction.
    let text = format!("{number}");
    text.parse().ok()
}

/// A value as JSON; bytes that are not text as `{"hex": "…"}`, a blob that is text as `{"text": "…"}`.
fn json(value: Cell<'_>) -> String {
    use serde_json::Value;
    let hex = |bytes: &[u8]| serde_json::json!({"hex": membrane_core::text::hex(bytes)});
    let value = match value {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::from(number),
        Cell::Real(number) if number.is_finite() => Value::from(number),
        Cell::Real(number) => Value::from(number.to_string()),
        Cell::Text(bytes) => std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), Value::from),
        Cell::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::json!({"text": text}),
            Err(_) => hex(bytes),
        },
    };
    value.to_string()
}
