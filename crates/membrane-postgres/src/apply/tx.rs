//! A change being applied: its sessions in memory, and statements that wait to be sent.
//!
//! A write whose answer nobody needs at once waits, and goes in one flight with the next that is asked, or with `COMMIT`.
//! So a change costs as many round trips as it asks questions that depend on each other.

use membrane_core::ids::{RunId, SessionId};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_store::events::ChangeEvents;
use membrane_store::{SessionStamp, StoreError, Subject};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use super::numbers::Numbers;
use super::record::{Dirty, Record};
use super::runs::HeldRun;
use crate::db::{Db, Statement};
use crate::error::{is_contention, store_error, unavailable};
use crate::tally::Tally;
use crate::value::Value;

/// What else a failing statement may mean.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Nothing that is known.
    None,
    /// A unique violation means that this is taken.
    Taken(Subject, String),
    /// A unique violation means that another change with the same idempotency key was quicker.
    Overtaken,
    /// A foreign key's violation means that rows of another program refer to the session.
    Referenced(SessionId),
}

/// A statement that waits to be sent.
#[derive(Debug)]
struct Waiting<'a> {
    statement: Statement<'a>,
    doing: &'static str,
    meaning: Meaning,
    /// Whether it tells how many turns it deleted.
    deletes_turns: bool,
}

/// A change being applied.
pub(super) struct Tx<'a> {
    db: Db<'a>,
    pub(super) now: Timestamp,
    pub(super) now_text: String,
    numbers: &'a Numbers,
    /// Few: a change touches one to three sessions. First those whose record or state it writes, in the order of the first
    /// writing, then those that it only looks at.
    records: Vec<Record>,
    /// How many of them it writes.
    n_written: usize,
    /// The sessions that this change created and that are still there.
    pub(super) created: Vec<SessionId>,
    /// The runs that the change names.
    pub(super) runs: Vec<HeldRun>,
    /// The sessions that have a run where the change begins one, and since when.
    pub(super) open_runs: Vec<(SessionId, Timestamp)>,
    /// What it added to the rows that are counted.
    pub(super) tally: Tally,
    /// What readers are told of it.
    pub(super) events: ChangeEvents,
    /// Whether another change was in the way, so that this one must begin again.
    pub(super) is_contended: bool,
    waiting: Vec<Waiting<'a>>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(db: Db<'a>, numbers: &'a Numbers, now: Timestamp) -> Self {
        Self {
            db,
            now,
            now_text: now.to_string(),
            numbers,
            records: Vec::new(),
            n_written: 0,
            created: Vec::new(),
            runs: Vec::new(),
            open_runs: Vec::new(),
            tally: Tally::default(),
            events: ChangeEvents::default(),
            is_contended: false,
            waiting: Vec::new(),
        }
    }

    /// Takes in sessions that were locked for it.
    pub(super) fn add_records(&mut self, records: Vec<Record>) {
        self.records.extend(records);
    }

    /// The session's record.
    pub(super) fn record(&mut self, id: &SessionId) -> Result<&mut Record, StoreError> {
        self.records
            .iter_mut()
            .find(|record| record.id == *id)
            .ok_or_else(|| StoreError::not_found(Subject::Session, id))
    }

    /// The run, as it was when the change began or as it made it since.
    pub(super) fn run(&self, id: &RunId) -> Option<&HeldRun> {
        self.runs.iter().find(|run| run.id == *id)
    }

    /// Notes that the change writes this session's record: its version rises once.
    pub(super) fn raise(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let record = self.write(id)?;
        record.version += u64::from(!record.is_raised);
        record.is_raised = true;
        Ok(())
    }

    /// Writes this session's state alone: its version stays.
    pub(super) fn set_state(&mut self, id: &SessionId, state: State) -> Result<(), StoreError> {
        let record = self.write(id)?;
        record.state = state;
        record.mark(Dirty::State);
        Ok(())
    }

    /// The record, moved among those that the change writes.
    fn write(&mut self, id: &SessionId) -> Result<&mut Record, StoreError> {
        let missing = || StoreError::not_found(Subject::Session, id);
        let index = self.records.iter().position(|record| record.id == *id).ok_or_else(missing)?;
        if index < self.n_written {
            return self.records.get_mut(index).ok_or_else(missing);
        }
        let record = self.records.remove(index);
        let place = self.n_written;
        self.records.insert(place, record);
        self.n_written += 1;
        self.records.get_mut(place).ok_or_else(missing)
    }

    /// Takes a session in that this change created; it stays at version 1.
    pub(super) fn admit(&mut self, record: Record) {
        self.created.push(record.id.clone());
        self.records.insert(self.n_written, record);
        self.n_written += 1;
    }

    /// Forgets a session that this change deleted.
    pub(super) fn dismiss(&mut self, id: &SessionId) {
        self.created.retain(|created| created != id);
        self.runs.retain(|run| run.session != *id);
        self.open_runs.retain(|(session, _)| session != id);
        if let Some(index) = self.records.iter().position(|record| record.id == *id) {
            self.records.remove(index);
            self.n_written -= usize::from(index < self.n_written);
        }
    }

    /// Where the written sessions stand.
    pub(super) fn stamps(&self) -> Vec<SessionStamp> {
        self.records.iter().take(self.n_written).map(Record::stamp).collect()
    }

    /// The sessions as they are once this is committed.
    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Numbers for new segments and histories of a family.
    pub(super) async fn numbers(&self, family: &SessionId, n: usize) -> Result<Vec<i64>, StoreError> {
        self.numbers.take(self.db, family, n).await
    }

    /// Lets a statement wait to be sent.
    pub(super) fn put(&mut self, doing: &'static str, sql: &'static str, values: impl Into<Vec<Value<'a>>>) {
        self.put_meaning(doing, sql, values, Meaning::None);
    }

    /// Lets a statement wait whose failure may have a meaning.
    pub(super) fn put_meaning(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        values: impl Into<Vec<Value<'a>>>,
        meaning: Meaning,
    ) {
        let statement = Statement { sql, values: values.into() };
        self.waiting.push(Waiting { statement, doing, meaning, deletes_turns: false });
    }

    /// Lets a statement wait that gives the number of turns that it deleted.
    pub(super) fn put_deletion(&mut self, sql: &'static str, values: impl Into<Vec<Value<'a>>>) {
        let statement = Statement { sql, values: values.into() };
        let doing = "delete turns";
        self.waiting.push(Waiting { statement, doing, meaning: Meaning::None, deletes_turns: true });
    }

    /// Lets the session rows be written back, so that what follows sees them in the tables.
    pub(super) fn flush(&mut self) {
        let now = self.now;
        let statements: Vec<_> =
            self.records.iter_mut().filter_map(|record| record.write_back(now)).collect();
        for statement in statements {
            self.put("write a session", statement.sql, statement.values);
        }
    }

    /// Asks, after all that waits.
    pub(super) async fn ask(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        values: impl Into<Vec<Value<'a>>>,
    ) -> Result<Vec<Row>, StoreError> {
        self.put(doing, sql, values);
        Ok(self.send().await?.pop().unwrap_or_default())
    }

    /// The same with the answers of all that waited.
    pub(super) async fn ask_all(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        values: impl Into<Vec<Value<'a>>>,
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        self.put(doing, sql, values);
        self.send().await
    }

    /// Sends all that waits and gives the answers in order.
    pub(super) async fn send(&mut self) -> Result<Vec<Vec<Row>>, StoreError> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let (statements, notes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|Waiting { statement, doing, meaning, deletes_turns }| {
                (statement, (doing, meaning, deletes_turns))
            })
            .unzip();
        let answers = match self.db.flight(&statements).await {
            Ok(answers) => answers,
            Err(error) => return Err(self.failure("prepare a statement", error, Meaning::None)),
        };
        let mut found = Vec::with_capacity(answers.len());
        for (answer, (doing, meaning, deletes_turns)) in answers.into_iter().zip(notes) {
            let rows = answer.map_err(|error| self.failure(doing, error, meaning))?;
            if deletes_turns {
                let count = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
                self.tally.turns -= count.unwrap_or(0);
            }
            found.push(rows);
        }
        Ok(found)
    }

    /// For reading functions that take a connection: everything that waited is sent.
    pub(super) async fn db(&mut self) -> Result<Db<'a>, StoreError> {
        self.send().await?;
        Ok(self.db)
    }

    /// Another change was in the way.
    pub(super) fn contended(&mut self) -> StoreError {
        self.is_contended = true;
        unavailable("too many changes meet in one place")
    }

    fn failure(&mut self, doing: &'static str, error: Error, meaning: Meaning) -> StoreError {
        let state = error.code();
        match meaning {
            Meaning::Taken(subject, id) if state == Some(&SqlState::UNIQUE_VIOLATION) => {
                StoreError::already_exists(subject, id)
            }
            Meaning::Overtaken if state == Some(&SqlState::UNIQUE_VIOLATION) => self.contended(),
            Meaning::Referenced(session) if state == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                let table = error.as_db_error().and_then(|error| error.table()).unwrap_or("unknown");
                StoreError::Referenced { session, table: table.to_owned() }
            }
            _ => {
                self.is_contended |= is_contention(&error);
                store_error(doing, error)
            }
        }
    }
}
