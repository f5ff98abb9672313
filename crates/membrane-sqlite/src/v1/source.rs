//! Reading a V1 file, session by session.

use std::collections::VecDeque;
use std::path::Path;

use membrane_store::kgents::columns::{Asides, Cells};
use membrane_store::kgents::{
    Finding, OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place, Source, SourceError,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::order;
use super::shape::{Found, Shape};
use super::values::cells;
use crate::connection::open_to_look;
use crate::error::{OpenError, open_error, store_error};
use crate::options::SqliteOptions;

/// How many turns, and about how many bytes of them, are read at once.
const PAGE: i64 = 128;
const MAX_PAGE_BYTES: usize = 4 << 20;

/// A V1 file that is read.
#[derive(Debug)]
pub struct V1Source {
    conn: Connection,
    shape: Shape,
    /// The last session that was given, by its place in the order.
    seq: i64,
    /// It, and its parent.
    session: Option<(String, Option<String>)>,
    turns: VecDeque<OldTurn>,
    /// The last turn that was read, by its place in the order.
    turn_seq: i64,
    checkpoint_seq: i64,
    aside: Asides,
    /// What of the rest is being handed out: a table's number, and the last row.
    rest: Option<(usize, i64)>,
}

impl V1Source {
    /// Opens a file to read it; neither it nor what lies beside it is changed.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::ForeignTables`] if it is no V1 file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let conn = open_to_look(&SqliteOptions::at(path), OpenFlags::empty())?;
        let failed = |error| open_error(path, "read the old tables", error);
        match Shape::find(&conn).map_err(failed)? {
            Found::V1(shape) => {
                order::prepare(&conn, &shape).map_err(failed)?;
                Ok(Self {
                    conn,
                    shape,
                    seq: 0,
                    session: None,
                    turns: VecDeque::new(),
                    turn_seq: 0,
                    checkpoint_seq: 0,
                    aside: VecDeque::new(),
                    rest: None,
                })
            }
            Found::Nothing => Err(OpenError::NotV1 {
                path: path.to_owned(),
                name: "chat_sessions".to_owned(),
                problem: "there is no such table".to_owned(),
            }),
            Found::Other { name, problem } => Err(OpenError::NotV1 { path: path.to_owned(), name, problem }),
        }
    }

    fn read_session(&mut self) -> rusqlite::Result<Option<OldSession>> {
        let table = "chat_sessions";
        if !self.shape.has(table) {
            return Ok(None);
        }
        let names = self.shape.columns(table);
        let sql = format!(
            "SELECT {}, o.seq, o.at FROM temp.v1_sessions o CROSS JOIN chat_sessions t ON t.rowid = o.at \
             WHERE o.seq > ?1 ORDER BY o.seq LIMIT 1",
            list(names)
        );
        let aside = &mut self.aside;
        let found = self
            .conn
            .prepare_cached(&sql)?
            .query_row([self.seq], |row| {
                let id: String = row.get(index(names, "id"))?;
                let values = cells(row, names.len())?;
                let session = Cells { names, values: &values }.session(id, aside);
                Ok((session, row.get(names.len())?))
            })
            .optional()?;
        Ok(found.map(|(session, seq)| {
            self.seq = seq;
            self.turn_seq = 0;
            self.checkpoint_seq = 0;
            self.turns.clear();
            self.session = Some((session.id.clone(), session.parent_id.clone()));
            session
        }))
    }

    fn read_turns(&mut self) -> rusqlite::Result<()> {
        let Some((id, _)) = &self.session else { return Ok(()) };
        let table = "chat_turns";
        if !self.shape.has(table) {
            return Ok(());
        }
        let names = self.shape.columns(table);
        let sql = format!(
            "SELECT {}, o.seq, o.at FROM temp.v1_turns o CROSS JOIN chat_turns t ON t.rowid = o.at \
             WHERE o.session = ?1 AND o.seq > ?2 ORDER BY o.seq LIMIT ?3",
            list(names)
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut found = statement.query(params![id, self.turn_seq, PAGE])?;
        let mut bytes = 0;
        while let Some(row) = found.next()? {
            let turn = read_turn(row, names, id, &mut self.aside)?;
            bytes += turn.user_message.len() + turn.assistant_response.len();
            self.turn_seq = row.get(names.len())?;
            self.turns.push_back(turn);
            if bytes >= MAX_PAGE_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// The place of the first turn in which both differ.
    fn count_shared(&self) -> rusqlite::Result<u64> {
        let Some((id, Some(parent))) = &self.session else { return Ok(0) };
        let table = "chat_turns";
        if !self.shape.has(table) {
            return Ok(0);
        }
        let first = "SELECT min(seq), max(seq) FROM temp.v1_turns WHERE session = ?1";
        let range = |id: &str| {
            self.conn
                .prepare_cached(first)?
                .query_row([id], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?)))
        };
        let (Some(own), Some(other)) = (range(id)?, range(parent)?) else { return Ok(0) };
        let is_compared = |name: &&String| {
            // kgents wrote the end of a turn anew at each save.
            !["id", "session_id", "turn_number", "completed_at"]
                .iter()
                .any(|key| name.eq_ignore_ascii_case(key))
        };
        let differs: Vec<String> = self
            .shape
            .columns(table)
            .iter()
            .filter(is_compared)
            .map(|name| format!("t.{0} IS NOT p.{0}", quoted(name)))
            .collect();
        let sql = format!(
            "SELECT o.seq FROM temp.v1_turns o CROSS JOIN chat_turns t ON t.rowid = o.at \
             LEFT JOIN temp.v1_turns q ON q.seq = o.seq + ?1 AND q.seq <= ?2 \
             LEFT JOIN chat_turns p ON p.rowid = q.at \
             WHERE o.seq BETWEEN ?3 AND ?4 AND (p.rowid IS NULL OR {}) ORDER BY o.seq LIMIT 1",
            differs.join(" OR ")
        );
        let first_different: Option<i64> = self
            .conn
            .prepare_cached(&sql)?
            .query_row(params![other.0 - own.0, other.1, own.0, own.1], |row| row.get(0))
            .optional()?;
        let shared = first_different.unwrap_or(own.1 + 1) - own.0;
        Ok(u64::try_from(shared).unwrap_or(0))
    }

    fn read_checkpoint(&mut self) -> rusqlite::Result<Option<OldCheckpoint>> {
        let Some((session, _)) = &self.session else { return Ok(None) };
        let table = "chat_checkpoints";
        if !self.shape.has(table) {
            return Ok(None);
        }
        let names = self.shape.columns(table);
        let sql = format!(
            "SELECT {}, o.seq, o.at FROM temp.v1_checkpoints o CROSS JOIN chat_checkpoints t ON t.rowid = o.at \
             WHERE o.session = ?1 AND o.seq > ?2 ORDER BY o.seq LIMIT 1",
            list(names)
        );
        let aside = &mut self.aside;
        let found = self
            .conn
            .prepare_cached(&sql)?
            .query_row(params![session, self.checkpoint_seq], |row| {
                let key = format!("rowid {}", row.get::<_, i64>(names.len() + 1)?);
                let values = cells(row, names.len())?;
                let checkpoint = Cells { names, values: &values }.checkpoint(key, session, aside);
                Ok((checkpoint, row.get(names.len())?))
            })
            .optional()?;
        Ok(found.map(|(checkpoint, seq)| {
            self.checkpoint_seq = seq;
            checkpoint
        }))
    }

    fn read_crystal(&mut self) -> rusqlite::Result<Option<OldCrystal>> {
        let Some((session, _)) = &self.session else { return Ok(None) };
        let table = "chat_crystals";
        if !self.shape.has(table) {
            return Ok(None);
        }
        let names = self.shape.columns(table);
        let sql = format!(
            "SELECT {} FROM temp.v1_crystals o CROSS JOIN chat_crystals t ON t.rowid = o.at WHERE o.session = ?1",
            list(names)
        );
        let aside = &mut self.aside;
        self.conn
            .prepare_cached(&sql)?
            .query_row([session], |row| {
                let values = cells(row, names.len())?;
                Ok(Cells { names, values: &values }.crystal(session, aside))
            })
            .optional()
    }

    /// The next row that no session led to.
    fn read_rest(&mut self) -> rusqlite::Result<Option<(OldRow, Finding)>> {
        const REST: [(&str, &str); 4] = [
            ("chat_sessions", "temp.v1_sessions"),
            ("chat_turns", "temp.v1_turns"),
            ("chat_crystals", "temp.v1_crystals"),
            ("chat_checkpoints", "temp.v1_checkpoints"),
        ];
        while let Some((table, order)) = self.rest.and_then(|(number, _)| REST.get(number)) {
            let after = self.rest.map_or(0, |(_, after)| after);
            if self.shape.has(table) {
                let names = self.shape.columns(table);
                let sql = format!(
                    "SELECT {}, t.rowid FROM {table} t WHERE t.rowid > ?1 \
                     AND NOT EXISTS (SELECT 1 FROM {order} o WHERE o.at = t.rowid) ORDER BY t.rowid LIMIT 1",
                    list(names)
                );
                let found = self
                    .conn
                    .prepare_cached(&sql)?
                    .query_row([after], |row| {
                        let at: i64 = row.get(names.len())?;
                        let values = cells(row, names.len())?;
                        Ok((Cells { names, values: &values }.rest(table, format!("rowid {at}")), at))
                    })
                    .optional()?;
                if let Some((found, at)) = found {
                    self.rest = self.rest.map(|(number, _)| (number, at));
                    return Ok(Some(found));
                }
            }
            self.rest = self.rest.map(|(number, _)| (number + 1, i64::MIN));
        }
        Ok(None)
    }
}

impl Source for V1Source {
    fn next_session(&mut self) -> Result<Option<OldSession>, SourceError> {
        let next = self.read_session().map_err(failed)?;
        if next.is_none() && self.rest.is_none() {
            self.session = None;
            self.rest = Some((0, i64::MIN));
        }
        Ok(next)
    }

    fn next_turn(&mut self) -> Result<Option<OldTurn>, SourceError> {
        if self.turns.is_empty() {
            self.read_turns().map_err(failed)?;
        }
        Ok(self.turns.pop_front())
    }

    fn count_shared_turns(&mut self) -> Result<u64, SourceError> {
        self.count_shared().map_err(failed)
    }

    fn next_checkpoint(&mut self) -> Result<Option<OldCheckpoint>, SourceError> {
        self.read_checkpoint().map_err(failed)
    }

    fn crystal(&mut self) -> Result<Option<OldCrystal>, SourceError> {
        self.read_crystal().map_err(failed)
    }

    fn next_aside(&mut self) -> Result<Option<(OldRow, Finding)>, SourceError> {
        match self.aside.pop_front() {
            Some(next) => Ok(Some(next)),
            None => self.read_rest().map_err(failed),
        }
    }

    fn totals(&mut self) -> Result<Vec<(&'static str, u64)>, SourceError> {
        let count = |table| {
            let sql = format!("SELECT count(*) FROM {table} NOT INDEXED");
            let total: i64 = self.conn.query_row(&sql, [], |row| row.get(0)).map_err(failed)?;
            Ok((table, u64::try_from(total).unwrap_or(0)))
        };
        self.shape.tables().map(count).collect()
    }
}

fn read_turn(
    row: &Row<'_>,
    names: &[String],
    session: &str,
    aside: &mut Asides,
) -> rusqlite::Result<OldTurn> {
    let key = format!("rowid {}", row.get::<_, i64>(names.len() + 1)?);
    let values = cells(row, names.len())?;
    Ok(Cells { names, values: &values }.turn(key, session, aside))
}

fn list(names: &[String]) -> String {
    let columns: Vec<String> = names.iter().map(|name| format!("t.{}", quoted(name))).collect();
    columns.join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where a column stands that the table is known to have.
fn index(names: &[String], name: &str) -> usize {
    names.iter().position(|column| column.eq_ignore_ascii_case(name)).unwrap_or(usize::MAX)
}

fn failed(error: rusqlite::Error) -> SourceError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory,
        ) => SourceError::Read(Box::new(store_error("read the old tables", error))),
        _ => SourceError::Damaged {
            place: Place {
                table: "chat_sessions, chat_turns, chat_crystals, chat_checkpoints",
                row: "-".to_owned(),
            },
            problem: error.to_string(),
            remedy:
                "recover what can be read with \"sqlite3 FILE .recover | sqlite3 RECOVERED\", and open that"
                    .to_owned(),
        },
    }
}
