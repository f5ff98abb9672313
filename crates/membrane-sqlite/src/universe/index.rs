//! Reads the file from end to end, once, and notes which row is which. What is noted is small: numbers, ids, and
//! digests of what the rows hold.

use membrane_core::ids::MAX_ID_BYTES;
use membrane_store::kgents::{Oddity, SourceError, fields};
use rusqlite::types::{Value as Column, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::asides;
use super::failure::{failed, failed_at};
use super::row::{self, Document, Kind};

/// How many rows are read between two words about it.
const WATCHED: u64 = 4096;

/// Sessions, and those that rows name although they are not there: these have no `data_row`. Turns and things (crystals
/// and checkpoints) stand here once for each content they have, with the rows that held it first and last.
const TABLES: &str = "
    CREATE TEMP TABLE kg_sessions (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data_row INTEGER,
        written REAL, parent TEXT);
    CREATE TEMP TABLE kg_turns (session INTEGER NOT NULL, turn_number INTEGER NOT NULL, started TEXT NOT NULL,
        words BLOB NOT NULL, rest BLOB NOT NULL, first REAL NOT NULL, first_row INTEGER NOT NULL,
        last REAL NOT NULL, last_row INTEGER NOT NULL,
        PRIMARY KEY (session, turn_number, started, words, rest)) WITHOUT ROWID;
    CREATE TEMP TABLE kg_things (kind INTEGER NOT NULL, session INTEGER NOT NULL, id TEXT NOT NULL,
        content BLOB NOT NULL, made TEXT NOT NULL, first REAL NOT NULL, first_row INTEGER NOT NULL,
        last REAL NOT NULL, last_row INTEGER NOT NULL,
        PRIMARY KEY (kind, session, id, content)) WITHOUT ROWID;";

/// What both tables do when a row with the same content comes again.
const AGAIN: &str = "DO UPDATE SET
    first_row = CASE WHEN (excluded.first, excluded.first_row) < (first, first_row)
        THEN excluded.first_row ELSE first_row END,
    first = min(first, excluded.first),
    last_row = CASE WHEN (excluded.last, excluded.last_row) > (last, last_row)
        THEN excluded.last_row ELSE last_row END,
    last = max(last, excluded.last)";

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Of each of the chat's schemas, by [`Kind::code`].
    rows: [u64; 4],
    /// Of those, the ones that can be read and name a session.
    noted: [u64; 4],
    /// Rows of other schemas.
    pub(super) others: u64,
}

impl Counts {
    pub(super) fn rows(&self, kind: Kind) -> u64 {
        at(&self.rows, kind)
    }

    pub(super) fn noted(&self, kind: Kind) -> u64 {
        at(&self.noted, kind)
    }
}

fn at(counts: &[u64; 4], kind: Kind) -> u64 {
    Kind::ALL.iter().zip(counts).find(|(known, _)| **known == kind).map_or(0, |(_, count)| *count)
}

fn add(counts: &mut [u64; 4], kind: Kind) {
    for (known, count) in Kind::ALL.iter().zip(counts) {
        *count += u64::from(*known == kind);
    }
}

/// The session whose row came last: rows of one session follow each other.
struct Last {
    id: String,
    number: i64,
}

/// A row, and when it was written.
#[derive(Clone, Copy)]
struct At {
    row: i64,
    written: f64,
}

/// Notes all rows. `watch` is told from time to time how many there were.
pub(super) fn scan(conn: &Connection, watch: &mut dyn FnMut(u64)) -> Result<Counts, SourceError> {
    conn.execute_batch(TABLES).and_then(|()| conn.execute_batch(asides::TABLE)).map_err(failed)?;
    let columns = columns(conn).map_err(failed)?;
    let sql = format!("SELECT rowid, content, {}, {} FROM main.data ORDER BY rowid", columns[0], columns[1]);
    let mut statement = conn.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut scan = Scan { conn, counts: Counts::default(), last: None };
    let (mut n_rows, mut before) = (0_u64, i64::MIN);
    loop {
        let next = rows.next().map_err(|error| failed_at(&format!("the row after rowid {before}"), error))?;
        let Some(row) = next else {
            watch(n_rows);
            return Ok(scan.counts);
        };
        before = row.get(0).map_err(failed)?;
        let written = match row.get_ref(3).map_err(failed)? {
            ValueRef::Real(seconds) => seconds,
            #[expect(clippy::cast_precision_loss, reason = "only compared")]
            ValueRef::Integer(seconds) => seconds as f64,
            // Written before everything that says when it was.
            _ => f64::NEG_INFINITY,
        };
        let (content, metadata) = (row.get_ref(1).map_err(failed)?, row.get_ref(2).map_err(failed)?);
        scan.note(At { row: before, written }, row::read(content, metadata)).map_err(failed)?;
        n_rows += 1;
        if n_rows.is_multiple_of(WATCHED) {
            watch(n_rows);
        }
    }
}

/// The columns `metadata` and `created_at`, or nothing in their place.
fn columns(conn: &Connection) -> rusqlite::Result<[&'static str; 2]> {
    let mut look = conn.prepare("SELECT 1 FROM pragma_table_info('data') WHERE lower(name) = ?1")?;
    let mut columns = ["metadata", "created_at"];
    for column in &mut columns {
        if !look.exists([*column])? {
            *column = "NULL";
        }
    }
    Ok(columns)
}

struct Scan<'c> {
    conn: &'c Connection,
    counts: Counts,
    last: Option<Last>,
}

impl Scan<'_> {
    fn note(&mut self, at: At, document: Document) -> rusqlite::Result<()> {
        let (kind, object) = match document {
            Document::Other => {
                self.counts.others += 1;
                return Ok(());
            }
            Document::Broken { kind, oddity, why } => {
                add(&mut self.counts.rows, kind);
                return asides::put_row(self.conn, (kind, at.row), None, oddity, &why);
            }
            Document::Chat { kind, object, .. } => (kind, object),
        };
        add(&mut self.counts.rows, kind);
        let id = match id_of(&object, "session_id") {
            Ok(id) => id,
            Err(why) => return asides::put_row(self.conn, (kind, at.row), None, Oddity::NoId, &why),
        };
        match kind {
            Kind::Session => self.note_session(at, id, &object)?,
            Kind::Turn => self.note_turn(at, id, &object)?,
            Kind::Crystal => self.note_thing(at, kind, (id, ""), &object)?,
            Kind::Checkpoint => match id_of(&object, "checkpoint_id") {
                Ok(checkpoint) => self.note_thing(at, kind, (id, checkpoint), &object)?,
                Err(why) => {
                    return asides::put_row(self.conn, (kind, at.row), Some(id), Oddity::NoId, &why);
                }
            },
        }
        add(&mut self.counts.noted, kind);
        Ok(())
    }

    fn note_session(&mut self, at: At, id: &str, object: &Map<String, Value>) -> rusqlite::Result<()> {
        let parent = object.get("parent_id").and_then(Value::as_str).filter(|id| !id.is_empty());
        self.conn
            .prepare_cached(
                "INSERT INTO temp.kg_sessions (id, data_row, written, parent) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET
                     data_row = excluded.data_row, written = excluded.written, parent = excluded.parent
                 WHERE data_row IS NULL OR (excluded.written, excluded.data_row) > (written, data_row)",
            )?
            .execute(params![id, at.row, at.written, parent])?;
        Ok(())
    }

    fn note_turn(&mut self, at: At, id: &str, object: &Map<String, Value>) -> rusqlite::Result<()> {
        let session = self.session(id)?;
        // Turns without a number come after those that have one.
        let number = object.get("turn_number").and_then(fields::as_integer).unwrap_or(i64::MAX);
        let started = spelled(object.get("started_at"));
        let words = digest(KEY.iter().map(|name| (*name, object.get(*name).unwrap_or(&Value::Null))));
        let rest = object.iter().map(|(name, value)| (name.as_str(), value));
        let rest = digest(rest.filter(|(name, _)| !KEY.contains(name) && !DRIFTING.contains(name)));
        self.conn
            .prepare_cached(&format!(
                "INSERT INTO temp.kg_turns
                 (session, turn_number, started, words, rest, first, first_row, last, last_row)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?7)
                 ON CONFLICT (session, turn_number, started, words, rest) {AGAIN}"
            ))?
            .execute(params![session, number, started, words, rest, at.written, at.row])?;
        Ok(())
    }

    fn note_thing(
        &mut self,
        at: At,
        kind: Kind,
        (session, id): (&str, &str),
        object: &Map<String, Value>,
    ) -> rusqlite::Result<()> {
        let session = self.session(session)?;
        let content = digest(object.iter().map(|(name, value)| (name.as_str(), value)));
        let made = spelled(object.get("created_at"));
        self.conn
            .prepare_cached(&format!(
                "INSERT INTO temp.kg_things
                 (kind, session, id, content, made, first, first_row, last, last_row)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?7)
                 ON CONFLICT (kind, session, id, content) {AGAIN}"
            ))?
            .execute(params![kind.code(), session, id, content, made, at.written, at.row])?;
        Ok(())
    }

    /// The number of a session, which may turn out to have no row.
    fn session(&mut self, id: &str) -> rusqlite::Result<i64> {
        if let Some(last) = self.last.as_ref().filter(|last| last.id == id) {
            return Ok(last.number);
        }
        let mut find = self.conn.prepare_cached("SELECT number FROM temp.kg_sessions WHERE id = ?1")?;
        let number = match find.query_row([id], |row| row.get(0)).optional()? {
            Some(number) => number,
            None => {
                self.conn.prepare_cached("INSERT INTO temp.kg_sessions (id) VALUES (?1)")?.insert([id])?
            }
        };
        self.last = Some(Last { id: id.to_owned(), number });
        Ok(number)
    }
}

/// What makes a turn the same turn, beside its session.
const KEY: [&str; 4] = ["turn_number", "user_message", "assistant_response", "started_at"];

/// What is another value at each save without having changed, or follows from the key.
const DRIFTING: [&str; 2] = ["completed_at", "turn_id"];

/// An id that can be one, or why not.
fn id_of<'o>(object: &'o Map<String, Value>, name: &str) -> Result<&'o str, String> {
    match object.get(name) {
        Some(Value::String(id)) if id.is_empty() => Err(format!("{name} is empty")),
        Some(Value::String(id)) if id.len() > MAX_ID_BYTES => {
            Err(format!("{name} has {} bytes, {MAX_ID_BYTES} are allowed", id.len()))
        }
        Some(Value::String(id)) => Ok(id),
        None | Some(Value::Null) => Err(format!("{name} is missing")),
        Some(other) => Err(format!("{name} is {}, not text", fields::shown(&other.to_string()))),
    }
}

/// A value by which rows are put in order.
fn spelled(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A digest of fields, long enough that two never meet by chance.
fn digest<'o>(fields: impl Iterator<Item = (&'o str, &'o Value)>) -> Column {
    let mut hash = Sha256::new();
    let mut part = |mark: u8, text: &str| {
        hash.update([mark]);
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    };
    for (name, value) in fields {
        part(0, name);
        match value {
            Value::String(text) => part(1, text),
            other => part(2, &other.to_string()),
        }
    }
    Column::Blob(hash.finalize().iter().take(16).copied().collect())
}
