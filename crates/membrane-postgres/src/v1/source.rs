//! Reading old tables, session by session, inside the transaction that has moved them.

use std::collections::VecDeque;

use membrane_store::StoreError;
use membrane_store::kgents::columns::{Asides, Cells, TABLES};
use membrane_store::kgents::{
    Finding, OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Source, SourceError,
};
use tokio_postgres::{Error, Row};

use super::order;
use super::shape::{Shape, quoted};
use super::sink::Line;
use crate::error::{Doing, store_error};
use crate::value::{Value, values};

const READING: &str = "read the old tables";

/// How many turns, and about how many bytes of them, are read at once.
const PAGE: i64 = 128;
const MAX_PAGE_BYTES: i64 = 4 << 20;

/// The old tables that are read.
pub(super) struct V1Source<'a> {
    line: Line<'a>,
    shape: &'a Shape,
    /// The schema where they are, quoted.
    place: &'a str,
    /// The last session that was given, by its place in the order.
    seq: i64,
    /// It, and its parent.
    session: Option<(String, Option<String>)>,
    turns: VecDeque<OldTurn>,
    turn_seq: i64,
    checkpoint_seq: i64,
    aside: Asides,
    /// The last row of the rest, once all sessions were given.
    rest: Option<i64>,
}

impl<'a> V1Source<'a> {
    /// Puts the rows in order first.
    pub(super) fn prepare(line: Line<'a>, shape: &'a Shape, place: &'a str) -> Result<Self, StoreError> {
        line.wait(async |db| order::prepare(db, shape, place).await)?;
        Ok(Self {
            line,
            shape,
            place,
            seq: 0,
            session: None,
            turns: VecDeque::new(),
            turn_seq: 0,
            checkpoint_seq: 0,
            aside: Asides::new(),
            rest: None,
        })
    }

    /// Removes the order again.
    pub(super) fn clear(self) -> Result<(), StoreError> {
        self.line.wait(async |db| order::clear(db, self.place).await)
    }

    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        self.line.wait(async |db| db.query(sql, values).await.doing(READING))
    }

    /// The columns of a table as they are read, and how a row is looked up: by its id where it has one.
    fn selected(&self, table: &str) -> String {
        let (names, kinds) = (self.shape.columns(table), self.shape.kinds(table));
        let columns = names.iter().zip(kinds).map(|(name, kind)| kind.selected(&quoted(name)));
        let key = match (table, self.shape.column(table, "id")) {
            ("chat_turns", Some((id, _))) => format!("'id ' || coalesce({id}::text, 'NULL')"),
            _ => "'ctid ' || t.ctid".to_owned(),
        };
        columns.chain([key]).collect::<Vec<_>>().join(", ")
    }

    /// The rows that stand at these places, in their order.
    fn rows_at(&self, table: &str, at: Vec<&str>) -> Result<Vec<Row>, StoreError> {
        let sql = format!(
            "SELECT {} FROM {}.{table} t WHERE t.ctid = ANY ($1::text[]::tid[]) \
             ORDER BY array_position($1::text[], t.ctid::text)",
            self.selected(table),
            self.place
        );
        self.query(&sql, &values![at])
    }

    /// The next place in an order.
    fn next_at(
        &self,
        order: &str,
        session: Option<&str>,
        after: i64,
    ) -> Result<Option<(i64, Row)>, StoreError> {
        let of = if session.is_some() { "AND session = $2" } else { "" };
        let sql = format!(
            "SELECT seq, at::text{} FROM {}.{order} WHERE seq > $1 {of} ORDER BY seq LIMIT 1",
            if order == "order_rest" { ", source" } else { "" },
            self.place
        );
        let mut values: Vec<Value<'_>> = values![after].into();
        // As the table has it: nothing was escaped there.
        values.extend(session.map(|session| Value::Text(Some(session.into()))));
        let found = self.query(&sql, &values)?.pop();
        found.map(|row| Ok((get(&row, 0)?, row))).transpose()
    }

    /// The row of the next place in an order.
    fn next_row(
        &self,
        (order, table): (&str, &str),
        session: Option<&str>,
        after: i64,
    ) -> Result<Option<(i64, Row)>, StoreError> {
        let Some((seq, found)) = self.next_at(order, session, after)? else { return Ok(None) };
        let row = self.rows_at(table, vec![get(&found, 1)?])?.pop();
        Ok(row.map(|row| (seq, row)))
    }

    /// Does something with a row's cells.
    fn with<T>(
        &self,
        table: &str,
        row: &Row,
        read: impl FnOnce(Cells<'_>, String) -> T,
    ) -> Result<T, StoreError> {
        let (names, kinds) = (self.shape.columns(table), self.shape.kinds(table));
        let cells = kinds.iter().enumerate().map(|(at, kind)| kind.cell(row, at));
        let values = cells.collect::<Result<Vec<_>, Error>>().doing(READING)?;
        Ok(read(Cells { names, values: &values }, get(row, names.len())?))
    }

    fn read_session(&mut self) -> Result<Option<OldSession>, StoreError> {
        let table = "chat_sessions";
        let Some((seq, row)) = self.next_row(("order_sessions", table), None, self.seq)? else {
            return Ok(None);
        };
        let place = self.shape.columns(table).iter().position(|name| name.eq_ignore_ascii_case("id"));
        let (mut aside, id) = (std::mem::take(&mut self.aside), text_of(&row, place.unwrap_or_default())?);
        let session = self.with(table, &row, |cells, _| cells.session(id, &mut aside));
        self.aside = aside;
        let session = session?;
        self.seq = seq;
        self.turn_seq = 0;
        self.checkpoint_seq = 0;
        self.turns.clear();
        self.session = Some((session.id.clone(), session.parent_id.clone()));
        Ok(Some(session))
    }

    fn read_turns(&mut self) -> Result<(), StoreError> {
        let Some((id, _)) = self.session.clone() else { return Ok(()) };
        let sql = format!(
            "SELECT seq, at::text, bytes FROM {}.order_turns WHERE session = $1 AND seq > $2 ORDER BY seq LIMIT {PAGE}",
            self.place
        );
        let found = self.query(&sql, &[Value::Text(Some(id.as_str().into())), self.turn_seq.into()])?;
        let (mut at, mut bytes) = (Vec::new(), 0);
        for row in &found {
            bytes += get::<i64>(row, 2)?;
            if bytes > MAX_PAGE_BYTES && !at.is_empty() {
                break;
            }
            at.push(get(row, 1)?);
            self.turn_seq = get(row, 0)?;
        }
        if at.is_empty() {
            return Ok(());
        }
        let mut aside = std::mem::take(&mut self.aside);
        for row in self.rows_at("chat_turns", at)? {
            let turn = self.with("chat_turns", &row, |cells, key| cells.turn(key, &id, &mut aside))?;
            self.turns.push_back(turn);
        }
        self.aside = aside;
        Ok(())
    }

    /// The place of the first turn in which both differ.
    fn count_shared(&self) -> Result<u64, StoreError> {
        let Some((id, Some(parent))) = &self.session else { return Ok(0) };
        let sql = format!("SELECT min(seq), max(seq) FROM {}.order_turns WHERE session = $1", self.place);
        let range = |id: &str| -> Result<Option<(i64, i64)>, StoreError> {
            let Some(row) = self.query(&sql, &[Value::Text(Some(id.into()))])?.pop() else { return Ok(None) };
            Ok(get::<Option<i64>>(&row, 0)?.zip(get::<Option<i64>>(&row, 1)?))
        };
        let (Some(own), Some(other)) = (range(id)?, range(parent)?) else { return Ok(0) };
        let sql = format!(
            "SELECT min(o.seq) FROM {0}.order_turns o \
             LEFT JOIN {0}.order_turns q ON q.seq = o.seq + $1 AND q.seq <= $2 \
             WHERE o.seq BETWEEN $3 AND $4 AND (q.seq IS NULL OR q.digest <> o.digest)",
            self.place
        );
        let found = self.query(&sql, &values![other.0 - own.0, other.1, own.0, own.1])?;
        let first_different: Option<i64> = found.first().map_or(Ok(None), |row| get(row, 0))?;
        Ok(u64::try_from(first_different.unwrap_or(own.1 + 1) - own.0).unwrap_or(0))
    }

    fn read_checkpoint(&mut self) -> Result<Option<OldCheckpoint>, StoreError> {
        let Some((session, _)) = self.session.clone() else { return Ok(None) };
        let table = "chat_checkpoints";
        let found = self.next_row(("order_checkpoints", table), Some(&session), self.checkpoint_seq)?;
        let Some((seq, row)) = found else { return Ok(None) };
        self.checkpoint_seq = seq;
        let mut aside = std::mem::take(&mut self.aside);
        let read = self.with(table, &row, |cells, key| cells.checkpoint(key, &session, &mut aside));
        self.aside = aside;
        read.map(Some)
    }

    fn read_crystal(&mut self) -> Result<Option<OldCrystal>, StoreError> {
        let Some((session, _)) = self.session.clone() else { return Ok(None) };
        let table = "chat_crystals";
        let Some((_, row)) = self.next_row(("order_crystals", table), Some(&session), 0)? else {
            return Ok(None);
        };
        let mut aside = std::mem::take(&mut self.aside);
        let read = self.with(table, &row, |cells, _| cells.crystal(&session, &mut aside));
        self.aside = aside;
        read.map(Some)
    }

    /// The next row that no session led to.
    fn read_rest(&mut self) -> Result<Option<(OldRow, Finding)>, StoreError> {
        let Some(after) = self.rest else { return Ok(None) };
        let Some((seq, found)) = self.next_at("order_rest", None, after)? else { return Ok(None) };
        self.rest = Some(seq);
        let name: &str = get(&found, 2)?;
        let Some(table) = TABLES.into_iter().find(|table| *table == name) else { return Ok(None) };
        let Some(row) = self.rows_at(table, vec![get(&found, 1)?])?.pop() else { return Ok(None) };
        self.with(table, &row, |cells, key| cells.rest(table, key)).map(Some)
    }
}

impl Source for V1Source<'_> {
    fn next_session(&mut self) -> Result<Option<OldSession>, SourceError> {
        let next = self.read_session().map_err(failed)?;
        if next.is_none() && self.rest.is_none() {
            self.session = None;
            self.rest = Some(0);
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
        let count = |table: &'static str| {
            let found = self.query(&format!("SELECT count(*) FROM {}.{table}", self.place), &[])?;
            let total: i64 = found.first().map_or(Ok(0), |row| get(row, 0))?;
            Ok((table, total.unsigned_abs()))
        };
        self.shape.tables().map(count).collect::<Result<_, _>>().map_err(failed)
    }
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(|error| store_error(READING, error))
}

/// An id, which may be a number or a text.
fn text_of(row: &Row, at: usize) -> Result<String, StoreError> {
    match row.try_get::<_, i64>(at) {
        Ok(number) => Ok(number.to_string()),
        Err(_) => get(row, at),
    }
}

fn failed(error: StoreError) -> SourceError {
    SourceError::Read(Box::new(error))
}
