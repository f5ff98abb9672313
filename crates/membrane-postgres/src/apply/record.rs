//! The session rows that a change touches: locked and read at its start, changed in memory, written back once.

use membrane_core::evidence::{LegacyTotals, Standing};
use membrane_core::history::{Cut, Head, Tip};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::{SessionStamp, codec};
use tokio_postgres::Row;

use crate::db::Statement;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::values;

/// What of a row is to be written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    /// Nothing.
    No,
    /// The state alone.
    State,
    /// All.
    All,
}

/// A session's row, without its names.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: SessionId,
    pub(crate) family: SessionId,
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
    /// The columns that [`super::locks::Names::lock_sessions`] reads.
    pub(crate) fn decode(row: &Row) -> Result<Self, RowError> {
        let head = match (get::<Option<i64>>(row, 6)?, get::<Option<i64>>(row, 7)?) {
            (Some(segment), Some(position)) => Some(Head { segment: SegmentId(segment), position }),
            _ => None,
        };
        Ok(Self {
            id: SessionId::from_stored(&rows::text(row, 0)?),
            family: SessionId::from_stored(&rows::text(row, 1)?),
            version: unsigned(get(row, 2)?),
            state: State::parse(get(row, 3)?)?,
            cut: Cut { history: HistoryId(get(row, 4)?), turn_count: unsigned(get(row, 5)?) },
            head,
            last_order_at: get::<Option<i64>>(row, 8)?.map(Timestamp::from_micros),
            totals: rows::totals(row, 9)?,
            flipped: get(row, 15)?,
            legacy: LegacyTotals { alpha: get(row, 16)?, beta: get(row, 17)? },
            created_at: rows::text(row, 18)?,
            last_active: rows::text(row, 19)?,
            dirty: Dirty::No,
            is_raised: false,
        })
    }

    /// The end of its thread.
    pub(crate) fn tip(&self) -> Tip {
        Tip { turn_count: self.cut.turn_count, totals: self.totals, last_order_at: self.last_order_at }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing { totals: self.totals, flipped: self.flipped, legacy: self.legacy }
    }

    /// Where it stands, as a receipt says it.
    pub(crate) fn stamp(&self) -> SessionStamp {
        SessionStamp { id: self.id.clone(), version: self.version, cut: self.cut, standing: self.standing() }
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

    /// What writes it back, if that is needed.
    pub(super) fn write_back<'a>(&mut self, now: Timestamp) -> Option<Statement<'a>> {
        match std::mem::replace(&mut self.dirty, Dirty::No) {
            Dirty::No => None,
            Dirty::State => Some(Statement {
                sql: "UPDATE chat_sessions SET state = $2, version = $3 WHERE id = $1",
                values: values![self.id.to_string(), self.state.as_str(), signed(self.version)].into(),
            }),
            Dirty::All => Some(Statement {
                sql: "UPDATE chat_sessions SET version = $2, state = $3, history_id = $4, turn_count = $5, \
                      head_segment_id = $6, head_position = $7, last_order_at = $8, sum_succeeded = $9, \
                      sum_failed = $10, sum_tool_calls = $11, context_size = $12, sum_chars = $13, \
                      sum_code_blocks = $14, flipped = $15, legacy_alpha = $16, legacy_beta = $17, \
                      evidence_json = $18, last_active = $19, active_slot = left($19, 18) WHERE id = $1",
                values: values![
                    self.id.to_string(),
                    signed(self.version),
                    self.state.as_str(),
                    self.cut.history.0,
                    signed(self.cut.turn_count),
                    self.head.map(|head| head.segment.0),
                    self.head.map(|head| head.position),
                    self.last_order_at.map(Timestamp::as_micros),
                    self.totals.succeeded,
                    self.totals.failed,
                    self.totals.tool_calls,
                    self.totals.tokens,
                    self.totals.chars,
                    self.totals.code_blocks,
                    self.flipped,
                    self.legacy.alpha,
                    self.legacy.beta,
                    self.evidence_json(now),
                    self.last_active.clone(),
                ]
                .into(),
            }),
        }
    }
}
