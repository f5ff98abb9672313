//! A column of an old row, whatever is in it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;

use membrane_store::kgents::{Finding, Oddity, OldRow, Place};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// How many characters of a value are shown.
const SHOWN: usize = 60;

/// Reads a row's columns by name, and collects what is odd about them.
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    names: &'a [String],
    place: Place,
    session: Option<String>,
    aside: &'a mut VecDeque<(OldRow, Finding)>,
}

impl<'a> Columns<'a> {
    /// `names` are the row's first columns.
    pub(super) fn new(
        row: &'a Row<'a>,
        names: &'a [String],
        place: Place,
        session: Option<String>,
        aside: &'a mut VecDeque<(OldRow, Finding)>,
    ) -> Self {
        Self { row, names, place, session, aside }
    }

    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    fn value(&self, name: &str) -> rusqlite::Result<ValueRef<'a>> {
        match self.names.iter().position(|column| column.eq_ignore_ascii_case(name)) {
            Some(index) => self.row.get_ref(index),
            None => Ok(ValueRef::Null),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> rusqlite::Result<Option<String>> {
        let value = self.value(name)?;
        Ok(match value {
            ValueRef::Null => None,
            ValueRef::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if matches!(text, Cow::Owned(_)) {
                    let problem = "its bytes are not UTF-8; what is not is replaced by U+FFFD";
                    self.set_aside(name, value, Oddity::NotText, problem);
                }
                Some(text.into_owned())
            }
            ValueRef::Blob(bytes) => {
                self.set_aside(name, value, Oddity::WrongType, "a blob where text belongs; read as text");
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            ValueRef::Integer(number) => {
                self.set_aside(name, value, Oddity::WrongType, "a number where text belongs; read as text");
                Some(number.to_string())
            }
            ValueRef::Real(number) => {
                self.set_aside(name, value, Oddity::WrongType, "a number where text belongs; read as text");
                Some(number.to_string())
            }
        })
    }

    /// A text that belongs there; what is NULL is empty.
    pub(super) fn words(&mut self, name: &str) -> rusqlite::Result<String> {
        if let Some(text) = self.text(name)? {
            return Ok(text);
        }
        self.set_aside(name, ValueRef::Null, Oddity::WrongType, "NULL where text belongs; read as empty");
        Ok(String::new())
    }

    /// A whole number.
    pub(super) fn integer(&mut self, name: &str) -> rusqlite::Result<Option<i64>> {
        let value = self.value(name)?;
        let found = match value {
            ValueRef::Null => return Ok(None),
            ValueRef::Integer(number) => return Ok(Some(number)),
            ValueRef::Real(number) => whole(number),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok())
            }
        };
        let problem = match found {
            Some(_) => "not stored as a whole number; read as one",
            None => "no whole number; left out",
        };
        self.set_aside(name, value, Oddity::WrongType, problem);
        Ok(found)
    }

    /// A yes or no; NULL is no.
    pub(super) fn flag(&mut self, name: &str) -> rusqlite::Result<bool> {
        let value = self.value(name)?;
        let found = match value {
            ValueRef::Null => return Ok(false),
            ValueRef::Integer(number) => return Ok(number != 0),
            ValueRef::Real(number) => Some(number != 0.0),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match bytes.to_ascii_lowercase().as_slice() {
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
        Ok(found.unwrap_or(false))
    }

    /// A number.
    pub(super) fn real(&mut self, name: &str) -> rusqlite::Result<Option<f64>> {
        let value = self.value(name)?;
        let found = match value {
            ValueRef::Null => return Ok(None),
            ValueRef::Real(number) => return Ok(Some(number)),
            #[expect(clippy::cast_precision_loss, reason = "what the column would hold")]
            ValueRef::Integer(number) => return Ok(Some(number as f64)),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok())
            }
        };
        self.set_aside(name, value, Oddity::WrongType, "not stored as a number");
        Ok(found)
    }

    /// Keeps the columns that V1 does not have.
    pub(super) fn keep_unknown(&mut self, known: &[&str]) -> rusqlite::Result<()> {
        for name in self.names {
            if known.iter().any(|column| name.eq_ignore_ascii_case(column)) {
                continue;
            }
            let value = self.value(name)?;
            if value != ValueRef::Null {
                self.set_aside(name, value, Oddity::UnknownField, "a column that V1 does not have");
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, name: &str, value: ValueRef<'_>, oddity: Oddity, problem: &str) {
        let text = match value {
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
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

/// A whole row as a JSON object of its columns.
pub(super) fn row_json(row: &Row<'_>, names: &[String]) -> rusqlite::Result<String> {
    let mut text = String::from("{");
    for (index, name) in names.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let key = serde_json::Value::from(name.as_str());
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{key}:{}", json(row.get_ref(index)?));
    }
    text.push('}');
    Ok(text)
}

/// A value as JSON; bytes that are not text as `{"hex": "…"}`, a blob that is text as `{"text": "…"}`.
fn json(value: ValueRef<'_>) -> String {
    use serde_json::Value;
    let hex = |bytes: &[u8]| serde_json::json!({"hex": membrane_core::text::hex(bytes)});
    let value = match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) if number.is_finite() => Value::from(number),
        ValueRef::Real(number) => Value::from(number.to_string()),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), Value::from),
        ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::json!({"text": text}),
            Err(_) => hex(bytes),
        },
    };
    value.to_string()
}
