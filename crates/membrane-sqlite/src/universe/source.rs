//! The file as a source: session by session, their rows read again as they are asked for.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use membrane_store::kgents::{
    Finding, Oddity, OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place, Source, SourceError,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::asides::{self, Asides};
use super::convert::{Read, Row};
use super::failure::{failed, failed_at};
use super::index::{self, Counts};
use super::order;
use super::row::{self, Document, Kind};
use crate::connection::open_to_look;
use crate::options::SqliteOptions;

/// How many row numbers are read ahead.
const PAGE: i64 = 256;

/// Reads the sessions of a Universe file. Nothing is written to it, and it is read as it was when it was opened, whoever
/// writes to it meanwhile.
pub struct UniverseSource {
    conn: Connection,
    path: PathBuf,
    counts: Counts,
    copies: Vec<(Kind, u64)>,
    asides: Asides,
    /// How far the queue of sessions was read.
    place: i64,
    session: Option<Current>,
}

impl std::fmt::Debug for UniverseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UniverseSource").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The session that the calls are about.
#[derive(Debug)]
struct Current {
    number: i64,
    parent: Option<i64>,
    turns: Turns,
    checkpoints: i64,
}

/// Where a session's turns were read up to.
#[derive(Debug)]
struct Turns {
    session: i64,
    place: i64,
    ahead: VecDeque<i64>,
}

impl UniverseSource {
    /// Opens the file and looks through all of it once, which `watch` is told about from time to time: how many rows
    /// there were.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] if there is no table `data` with numbered rows, or SQLite cannot read it to its end;
    /// [`SourceError::Read`] if the file cannot be opened, or the temporary folder is full.
    pub fn open(path: &Path, watch: &mut dyn FnMut(u64)) -> Result<Self, SourceError> {
        let conn = open_to_look(&SqliteOptions::at(path), OpenFlags::empty())
            .map_err(|error| SourceError::Read(Box::new(error)))?;
        conn.execute_batch(
            "PRAGMA temp_store = FILE;
             PRAGMA temp.cache_size = -16384;
             BEGIN;",
        )
        .map_err(failed)?;
        check_table(&conn)?;
        let counts = index::scan(&conn, watch)?;
        let copies = order::arrange(&conn, &counts)?;
        let path = path.to_owned();
        Ok(Self { conn, path, counts, copies, asides: Asides::default(), place: 0, session: None })
    }

    /// How many rows there are that the chat did not write.
    pub fn n_other_rows(&self) -> u64 {
        self.counts.others
    }

    /// Reads a row's document again.
    fn read(&self, kind: Kind, rowid: i64) -> Result<Row, SourceError> {
        let read = |error| failed_at(&format!("rowid {rowid}"), error);
        let mut statement =
            self.conn.prepare_cached("SELECT * FROM main.data WHERE rowid = ?1").map_err(read)?;
        let names: Vec<String> = statement.column_names().map(str::to_ascii_lowercase).collect();
        let mut rows = statement.query([rowid]).map_err(read)?;
        let found = rows.next().map_err(read)?;
        let column = |name: &str| {
            let at = names.iter().position(|known| known == name);
            at.and_then(|at| found?.get_ref(at).ok()).unwrap_or(ValueRef::Null)
        };
        let place = row::place(kind, column("id"), rowid);
        let (content, metadata) = (column("content"), column("metadata"));
        match row::read(content, metadata) {
            Document::Chat { kind: found, object, repairs } if found == kind => Ok(Row {
                kind,
                place,
                object,
                repairs,
                original: (!repairs.is_nothing()).then(|| text(content)).flatten(),
                odd_metadata: text(metadata).filter(|_| row::says_more(metadata, kind)),
                causal_parent: text(column("causal_parent")),
            }),
            // It was one when it was noted, in the same snapshot.
            _ => Err(SourceError::Damaged {
                place,
                problem: "the row is another one than a moment ago".to_owned(),
                remedy: "check the disk, and the file with \"sqlite3 FILE 'PRAGMA integrity_check'\""
                    .to_owned(),
            }),
        }
    }

    /// Puts aside what has no place in what was read.
    fn keep<T>(&self, kind: Kind, (read, parts): Read<T>) -> Result<T, SourceError> {
        asides::put_parts(&self.conn, kind, parts)?;
        Ok(read)
    }

    fn things(&self, kind: Kind, session: i64, after: i64) -> Result<Option<(i64, i64)>, SourceError> {
        self.conn
            .prepare_cached(
                "SELECT place, data_row FROM temp.kg_thing_rows
                 WHERE kind = ?1 AND session = ?2 AND place > ?3 ORDER BY place LIMIT 1",
            )
            .and_then(|mut find| {
                find.query_row(params![kind.code(), session, after], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(failed)
    }
}

impl Turns {
    fn of(session: i64) -> Self {
        Self { session, place: 0, ahead: VecDeque::new() }
    }

    /// The row of the next turn.
    fn next(&mut self, conn: &Connection) -> Result<Option<i64>, SourceError> {
        if self.ahead.is_empty() {
            let page = conn
                .prepare_cached(
                    "SELECT place, data_row FROM temp.kg_turn_rows
                     WHERE session = ?1 AND place > ?2 ORDER BY place LIMIT ?3",
                )
                .and_then(|mut page| {
                    let rows = page
                        .query_map([self.session, self.place, PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    rows.collect::<rusqlite::Result<Vec<(i64, i64)>>>()
                })
                .map_err(failed)?;
            self.place = page.last().map_or(self.place, |(place, _)| *place);
            self.ahead.extend(page.into_iter().map(|(_, row)| row));
        }
        Ok(self.ahead.pop_front())
    }
}

/// Refuses a table whose rows have no numbers, which kgents does not make.
fn check_table(conn: &Connection) -> Result<(), SourceError> {
    conn.prepare("SELECT rowid, content FROM main.data").map(|_| ()).map_err(|error| match error {
        rusqlite::Error::SqlInputError { msg, .. } => SourceError::Damaged {
            place: Place { table: "data", row: "the table".to_owned() },
            problem: msg,
            remedy: "name a file that kgents' Universe wrote".to_owned(),
        },
        // Damage shows here first, when the schema is read.
        error => failed(error),
    })
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

impl Source for UniverseSource {
    fn next_session(&mut self) -> Result<Option<OldSession>, SourceError> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT q.place, s.number, s.data_row, p.number FROM temp.kg_queue q
                 JOIN temp.kg_sessions s ON s.number = q.session
                 LEFT JOIN temp.kg_sessions p ON p.id = s.parent AND p.data_row IS NOT NULL AND p.id <> s.id
                 WHERE q.place > ?1 ORDER BY q.place LIMIT 1",
            )
            .and_then(|mut find| {
                find.query_row([self.place], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                    .optional()
            })
            .map_err(failed)?;
        self.session = None;
        let Some((place, number, data_row, parent)) = found else { return Ok(None) };
        self.place = place;
        self.session = Some(Current { number, parent, turns: Turns::of(number), checkpoints: 0 });
        let session = self.read(Kind::Session, data_row)?.into_session();
        self.keep(Kind::Session, session).map(Some)
    }

    fn next_turn(&mut self) -> Result<Option<OldTurn>, SourceError> {
        let Some(current) = &mut self.session else { return Ok(None) };
        let Some(data_row) = current.turns.next(&self.conn)? else { return Ok(None) };
        let turn = self.read(Kind::Turn, data_row)?.into_turn();
        self.keep(Kind::Turn, turn).map(Some)
    }

    fn count_shared_turns(&mut self) -> Result<u64, SourceError> {
        let Some(Current { number, parent: Some(parent), .. }) = self.session else { return Ok(0) };
        let (mut ours, mut theirs) = (Turns::of(number), Turns::of(parent));
        let mut shared = 0;
        loop {
            let (Some(our), Some(their)) = (ours.next(&self.conn)?, theirs.next(&self.conn)?) else {
                return Ok(shared);
            };
            // What is odd in them is told when they are read for good.
            let (our, _) = self.read(Kind::Turn, our)?.into_turn();
            let (their, _) = self.read(Kind::Turn, their)?.into_turn();
            // kgents wrote the end of a turn anew at each save.
            let plain = |turn| OldTurn { place: Place::default(), completed_at: None, ..turn };
            if plain(our) != plain(their) {
                return Ok(shared);
            }
            shared += 1;
        }
    }

    fn next_checkpoint(&mut self) -> Result<Option<OldCheckpoint>, SourceError> {
        let Some(Current { number, checkpoints, .. }) = self.session else { return Ok(None) };
        let Some((place, data_row)) = self.things(Kind::Checkpoint, number, checkpoints)? else {
            return Ok(None);
        };
        if let Some(current) = &mut self.session {
            current.checkpoints = place;
        }
        let checkpoint = self.read(Kind::Checkpoint, data_row)?.into_checkpoint();
        self.keep(Kind::Checkpoint, checkpoint).map(Some)
    }

    fn crystal(&mut self) -> Result<Option<OldCrystal>, SourceError> {
        let Some(Current { number, .. }) = self.session else { return Ok(None) };
        let Some((_, data_row)) = self.things(Kind::Crystal, number, 0)? else { return Ok(None) };
        let crystal = self.read(Kind::Crystal, data_row)?.into_crystal();
        self.keep(Kind::Crystal, crystal).map(Some)
    }

    fn next_aside(&mut self) -> Result<Option<(OldRow, Finding)>, SourceError> {
        self.asides.next(&self.conn)
    }

    fn skipped(&mut self) -> Result<Vec<(&'static str, Oddity, u64)>, SourceError> {
        Ok(self.copies.iter().map(|(kind, copies)| (kind.schema(), Oddity::Duplicate, *copies)).collect())
    }

    fn totals(&mut self) -> Result<Vec<(&'static str, u64)>, SourceError> {
        Ok(Kind::ALL.into_iter().map(|kind| (kind.schema(), self.counts.rows(kind))).collect())
    }
}
