//! The session rows that a change touches: read once, changed in memory, written back once.

use membrane_core::evidence::{LegacyTotals, Standing};
use membrane_core::history::{Cut, Head, Tip};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::events::ChangeEvents;
use membrane_store::{SessionStamp, StoreError, Subject, codec};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::counts::Tally;
use crate::error::Doing;
use crate::rows::{self, RowError, signed, unsigned};

const FIND: &str = "SELECT number, version, state, history_id, turn_count, head_segment_id, head_position, \
     last_order_at, sum_succeeded, sum_failed, sum_tool_calls, context_size, sum_chars, sum_code_blocks, \
     flipped, legacy_alpha, legacy_beta, created_at, last_active FROM chat_sessions WHERE id = ?1";

/// What of a row is to be written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    /// Nothing.
    No,
    /// The state alone.
    State,
    /// All but the history, so that its index is left alone.
    InPlace,
    /// All.
    Moved,
}

/// A session's row, without its names.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: SessionId,
    pub(crate) number: i64,
    pub(crate) version: u64,
    pub(crate) state: State,
    pub(crate) cut: Cut,
    pub(crate) head: Option<Head>,
    pub(crate) last_order_at: Option<Timestamp>,
    pub(crate) totals: Totals,
    pub(crate) flipped: i64,
    pub(crate) legacy: LegacyTotals,
    pub(crate) created_at: String,
    pub(crate) last_active: String,
    pub(crate) dirty: Dirty,
    /// Whether this change has raised the version, or created the session.
    pub(crate) is_raised: bool,
}

impl Record {
    /// The end of its thread.
    pub(crate) fn tip(&self) -> Tip {
        Tip { turn_count: self.cut.turn_count, totals: self.totals, last_order_at: self.last_order_at }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing { totals: self.totals, flipped: self.flipped, legacy: self.legacy }
    }

    pub(crate) fn evidence_json(&self, updated_at: Timestamp) -> String {
        codec::evidence_json(
            &self.id,
            &self.created_at,
            updated_at,
            &self.standing().evidence(),
            self.cut.turn_count,
        )
    }

    /// Notes what must be written back.
    pub(crate) fn mark(&mut self, dirty: Dirty) {
        self.dirty = self.dirty.max(dirty);
    }

    /// Notes that its turns changed at `now`; activity never goes back.
    pub(crate) fn touch(&mut self, now: &str) {
        if self.last_active.as_str() < now {
            now.clone_into(&mut self.last_active);
        }
    }
}

/// A change being applied.
pub(crate) struct Tx<'conn> {
    pub(crate) conn: &'conn Connection,
    pub(crate) now: Timestamp,
    pub(crate) now_text: String,
    /// Few: a change touches one to three sessions. First those whose record or state it writes, in the
    /// order of the first writing, then those that it only looked at.
    records: Vec<Record>,
    /// How many of them it writes.
    n_written: usize,
    /// The sessions that this change created and that are still there.
    pub(crate) created: Vec<SessionId>,
    /// What it added to the rows that are counted.
    pub(crate) tally: Tally,
    /// What readers are told of it.
    pub(crate) events: ChangeEvents,
}

impl<'conn> Tx<'conn> {
    pub(crate) fn new(conn: &'conn Connection, now: Timestamp) -> Self {
        Self {
            conn,
            now,
            now_text: now.to_string(),
            records: Vec::new(),
            n_written: 0,
            created: Vec::new(),
            tally: Tally::default(),
            events: ChangeEvents::default(),
        }
    }

    /// The session's record.
    pub(crate) fn record(&mut self, id: &SessionId) -> Result<&mut Record, StoreError> {
        let index = self.find(id)?;
        Ok(&mut self.records[index])
    }

    /// Notes that the change writes this session's record: its version rises once.
    pub(crate) fn raise(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let record = self.write(id)?;
        record.version += u64::from(!record.is_raised);
        record.is_raised = true;
        Ok(())
    }

    /// Writes this session's state alone: its version stays.
    pub(crate) fn set_state(&mut self, id: &SessionId, state: State) -> Result<(), StoreError> {
        let record = self.write(id)?;
        record.state = state;
        record.mark(Dirty::State);
        Ok(())
    }

    /// The record, moved among those that the change writes.
    fn write(&mut self, id: &SessionId) -> Result<&mut Record, StoreError> {
        let mut index = self.find(id)?;
        if index >= self.n_written {
            self.records[self.n_written..=index].rotate_right(1);
            index = self.n_written;
            self.n_written += 1;
        }
        Ok(&mut self.records[index])
    }

    /// Takes a session in that this change created; it stays at version 1.
    pub(crate) fn admit(&mut self, record: Record) {
        self.created.push(record.id.clone());
        self.records.insert(self.n_written, record);
        self.n_written += 1;
    }

    /// Forgets a session that this change deleted.
    pub(crate) fn dismiss(&mut self, id: &SessionId) {
        self.created.retain(|created| created != id);
        if let Some(index) = self.records.iter().position(|record| record.id == *id) {
            self.records.remove(index);
            self.n_written -= usize::from(index < self.n_written);
        }
    }

    fn find(&mut self, id: &SessionId) -> Result<usize, StoreError> {
        if let Some(index) = self.records.iter().position(|record| record.id == *id) {
            return Ok(index);
        }
        let record = load(self.conn, id)?.ok_or_else(|| StoreError::not_found(Subject::Session, id))?;
        self.records.push(record);
        Ok(self.records.len() - 1)
    }

    /// Writes the rows back, so that what follows sees them in the tables.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        let (conn, now) = (self.conn, self.now);
        self.records.iter_mut().try_for_each(|record| write_back(conn, record, now))
    }

    /// Where the written sessions stand.
    pub(crate) fn stamps(&self) -> Vec<SessionStamp> {
        self.records
            .iter()
            .take(self.n_written)
            .map(|record| SessionStamp {
                id: record.id.clone(),
                version: record.version,
                cut: record.cut,
                standing: record.standing(),
            })
            .collect()
    }
}

fn load(conn: &Connection, id: &SessionId) -> Result<Option<Record>, StoreError> {
    let doing = "read a session";
    let mut statement = conn.prepare_cached(FIND).doing(doing)?;
    let mut found = statement.query([id.as_str()]).doing(doing)?;
    match found.next().doing(doing)? {
        Some(row) => rows::read("chat_sessions", row, |row| decode(row, id)).map(Some),
        None => Ok(None),
    }
}

fn decode(row: &Row<'_>, id: &SessionId) -> Result<Record, RowError> {
    let head = match (row.get::<_, Option<i64>>(5)?, row.get::<_, Option<i64>>(6)?) {
        (Some(segment), Some(position)) => Some(Head { segment: SegmentId(segment), position }),
        _ => None,
    };
    Ok(Record {
        id: id.clone(),
        number: row.get(0)?,
        version: unsigned(row.get(1)?),
        state: State::parse(rows::text(row, 2)?)?,
        cut: Cut { history: HistoryId(row.get(3)?), turn_count: unsigned(row.get(4)?) },
        head,
        last_order_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        totals: rows::totals(row, 8)?,
        flipped: row.get(14)?,
        legacy: LegacyTotals { alpha: row.get(15)?, beta: row.get(16)? },
        created_at: row.get(17)?,
        last_active: row.get(18)?,
        dirty: Dirty::No,
        is_raised: false,
    })
}

/// The row's derived columns, written back; `history_id` apart, whose index is only touched by a move.
const WRITE_IN_PLACE: &str = "UPDATE chat_sessions SET version = ?2, state = ?3, turn_count = ?4, \
     head_segment_id = ?5, head_position = ?6, last_order_at = ?7, sum_succeeded = ?8, sum_failed = ?9, \
     sum_tool_calls = ?10, context_size = ?11, sum_chars = ?12, sum_code_blocks = ?13, flipped = ?14, \
     legacy_alpha = ?15, legacy_beta = ?16, evidence_json = ?17, last_active = ?18 WHERE number = ?1";

fn write_back(conn: &Connection, record: &mut Record, now: Timestamp) -> Result<(), StoreError> {
    let doing = "write a session";
    match std::mem::replace(&mut record.dirty, Dirty::No) {
        Dirty::No => return Ok(()),
        Dirty::State => {
            conn.prepare_cached("UPDATE chat_sessions SET state = ?2, version = ?3 WHERE number = ?1")
                .and_then(|mut statement| {
                    statement.execute(params![record.number, record.state.as_str(), signed(record.version)])
                })
                .doing(doing)?;
            return Ok(());
        }
        Dirty::InPlace => {}
        Dirty::Moved => {
            conn.prepare_cached("UPDATE chat_sessions SET history_id = ?2 WHERE number = ?1")
                .and_then(|mut statement| statement.execute(params![record.number, record.cut.history.0]))
                .doing(doing)?;
        }
    }
    conn.prepare_cached(WRITE_IN_PLACE)
        .and_then(|mut statement| {
            statement.execute(params![
                record.number,
                signed(record.version),
                record.state.as_str(),
                signed(record.cut.turn_count),
                record.head.map(|head| head.segment.0),
                record.head.map(|head| head.position),
                record.last_order_at.map(Timestamp::as_micros),
                record.totals.succeeded,
                record.totals.failed,
                record.totals.tool_calls,
                record.totals.tokens,
                record.totals.chars,
                record.totals.code_blocks,
                record.flipped,
                record.legacy.alpha,
                record.legacy.beta,
                record.evidence_json(now),
                record.last_active,
            ])
        })
        .doing(doing)?;
    Ok(())
}

/// A family's root, by one of its sessions' numbers.
pub(crate) fn family_of(conn: &Connection, number: i64) -> Result<String, StoreError> {
    conn.prepare_cached("SELECT family_id FROM chat_sessions WHERE number = ?1")
        .and_then(|mut statement| statement.query_row([number], |row| row.get(0)))
        .optional()
        .doing("read a session's family")?
        .ok_or_else(|| StoreError::inconsistent("chat_sessions", number, "the row is gone"))
}
