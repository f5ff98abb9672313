//! A value as a row of SQLite holds it: text need not be UTF-8 there.
//!
//! Not here: what values old files hold ([`super::texts`]).

use std::cmp::Ordering;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::Value;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// A float; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// Text, whatever its bytes are.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Cell {
    /// Proper text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into().into_bytes())
    }

    /// Takes a value out of a row.
    pub fn read(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes.to_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_owned()),
        }
    }

    /// The text, if it is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes of text or of a blob.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(bytes) | Self::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// What somebody may see who wants text, and whether that is all of it. `None`: anything may be shown.
    pub fn shown(&self) -> Option<(String, bool)> {
        match self {
            Self::Null => Some((String::new(), true)),
            Self::Int(number) => Some((number.to_string(), true)),
            Self::Text(bytes) => {
                Some((String::from_utf8_lossy(bytes).into_owned(), std::str::from_utf8(bytes).is_ok()))
            }
            Self::Real(_) | Self::Blob(_) => None,
        }
    }

    /// SQLite's order: NULL, numbers, text, blobs.
    #[expect(clippy::cast_precision_loss, reason = "an order of small numbers")]
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |cell: &Self| match cell {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
            Self::Blob(_) => 3,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Int(a), Self::Real(b)) => (*a as f64).total_cmp(b),
            (Self::Real(a), Self::Int(b)) => a.total_cmp(&(*b as f64)),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// Whether a JSON value holds all of it: for what is no text, `{"hex": "…"}` or `{"text": "…"}`.
    pub fn is_in(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) | (Self::Real(_), Value::String(_)) => true,
            (Self::Int(number), Value::Number(found)) => found.as_i64() == Some(*number),
            (Self::Real(number), Value::Number(found)) => {
                found.as_f64().is_some_and(|found| found.to_bits() == number.to_bits())
            }
            (Self::Text(bytes), Value::String(found)) if std::str::from_utf8(bytes).is_ok() => {
                found.as_bytes() == bytes
            }
            (Self::Text(bytes) | Self::Blob(bytes), found) => {
                let text = found.get("text").and_then(Value::as_str);
                text.is_some_and(|text| text.as_bytes() == bytes)
                    || found.to_string().to_ascii_lowercase().contains(&hex(bytes))
            }
            _ => false,
        }
    }

    /// A short form for messages.
    pub fn brief(&self) -> String {
        match self {
            Self::Text(bytes) => {
                let text: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
                format!("{text:?} ({} bytes)", bytes.len())
            }
            Self::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
            other => format!("{other:?}"),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|n| char::from_digit(u32::from(n), 16).unwrap_or('0')));
        text
    })
}
