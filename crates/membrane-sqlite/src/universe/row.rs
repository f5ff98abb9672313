//! One row of `data`: which schema it is of, and the document in it.

use membrane_store::kgents::{Oddity, Place, json};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};

/// A schema that the chat writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Turn,
    Crystal,
    Checkpoint,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Session, Self::Turn, Self::Crystal, Self::Checkpoint];

    pub(super) fn schema(self) -> &'static str {
        match self {
            Self::Session => "chat.session",
            Self::Turn => "chat.turn",
            Self::Crystal => "chat.crystal",
            Self::Checkpoint => "chat.checkpoint",
        }
    }

    fn of_schema(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.schema() == name)
    }

    /// How the temporary tables name it.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Session => 0,
            Self::Turn => 1,
            Self::Crystal => 2,
            Self::Checkpoint => 3,
        }
    }

    pub(super) fn of_code(code: i64) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(Self::Session)
    }
}

/// What a row turned out to be.
#[derive(Debug)]
pub(super) enum Document {
    /// None of the chat's.
    Other,
    /// One of the chat's.
    Chat { kind: Kind, object: Map<String, Value>, repairs: json::Repairs },
    /// One of the chat's that cannot be read.
    Broken { kind: Kind, oddity: Oddity, why: String },
}

/// Reads a row's document. What `_schema` in it says counts more than the row's metadata, which may be missing.
pub(super) fn read(content: ValueRef<'_>, metadata: ValueRef<'_>) -> Document {
    let named = schema_of(metadata).and_then(|name| Kind::of_schema(&name));
    let bytes = match content {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        other => {
            return broken(
                named,
                Oddity::WrongType,
                format!("content is {}, not a document", other.data_type()),
            );
        }
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let why = format!("content is not UTF-8 from byte {} on", error.valid_up_to());
            return broken(named.or_else(|| hinted(bytes)), Oddity::NotText, why);
        }
    };
    if named.is_none() && !text.contains("chat.") {
        return Document::Other;
    }
    match json::parse_object(text) {
        Err(error) => {
            let why = format!("content cannot be read: {error}");
            broken(named.or_else(|| hinted(bytes)), Oddity::BadJson, why)
        }
        Ok((object, repairs)) => {
            let kind = match object.get("_schema") {
                Some(Value::String(name)) => Kind::of_schema(name),
                _ => named,
            };
            kind.map_or(Document::Other, |kind| Document::Chat { kind, object, repairs })
        }
    }
}

fn broken(kind: Option<Kind>, oddity: Oddity, why: String) -> Document {
    kind.map_or(Document::Other, |kind| Document::Broken { kind, oddity, why })
}

/// The schema that metadata name.
pub(super) fn schema_of(metadata: ValueRef<'_>) -> Option<String> {
    let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = metadata else { return None };
    match serde_json::from_slice(bytes).ok()? {
        Value::Object(mut object) => match object.remove("schema")? {
            Value::String(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// The schema that a document which cannot be read seems to name.
fn hinted(bytes: &[u8]) -> Option<Kind> {
    const NAME: &[u8] = b"\"_schema\"";
    const NEAR: usize = 32;
    let at = bytes.windows(NAME.len()).position(|part| part == NAME)?;
    let near = bytes.get(at + NAME.len()..)?;
    let near = String::from_utf8_lossy(near.get(..NEAR).unwrap_or(near));
    Kind::ALL.into_iter().find(|kind| near.contains(&format!("\"{}\"", kind.schema())))
}

/// Where a row stands, in words a user can look it up by.
pub(super) fn place(kind: Kind, id: ValueRef<'_>, rowid: i64) -> Place {
    let row = match id {
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map_or_else(|_| format!("rowid {rowid}"), |id| format!("id {id:?}"))
        }
        _ => format!("rowid {rowid}"),
    };
    Place { table: kind.schema(), row }
}

/// A whole row as JSON.
pub(super) fn whole(conn: &Connection, rowid: i64) -> rusqlite::Result<String> {
    let mut statement = conn.prepare_cached("SELECT * FROM main.data WHERE rowid = ?1")?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    statement.query_row([rowid], |row| {
        let mut object = Map::new();
        for (at, name) in names.iter().enumerate() {
            object.insert(name.clone(), column(row.get_ref(at)?));
        }
        Ok(Value::Object(object).to_string())
    })
}

fn column(value: ValueRef<'_>) -> Value {
    let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::json!({ "text": text }),
        Err(_) => serde_json::json!({ "hex": hex(bytes) }),
    };
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => text.into(),
            Err(_) => bytes(text),
        },
        ValueRef::Blob(blob) => bytes(blob),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether metadata say something else than the schema, or another one. None at all say nothing.
pub(super) fn says_more(metadata: ValueRef<'_>, kind: Kind) -> bool {
    match metadata {
        ValueRef::Null => false,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => {
                let is_usual = |(name, value): (&String, &Value)| name == "schema" && value == kind.schema();
                !object.iter().all(is_usual)
            }
            _ => true,
        },
        _ => true,
    }
}
