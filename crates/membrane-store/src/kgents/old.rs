//! What an old file holds, as it is there: nothing decided, nothing repaired but what a reader must to read on.

use std::fmt;

use membrane_core::checkpoint::Checkpoint;
use membrane_core::history::History;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_core::turn::Turn;

use super::digest::digest;
use super::report::{Finding, Oddity};
use crate::change::{Change, Receipt};
use crate::error::StoreError;

/// Where something stands in an old file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The table, or the schema in a Universe file (`chat.turn`).
    pub table: &'static str,
    /// The row's key, as a user would look it up: `rowid 7`, `id "session-0123"`.
    pub row: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.table, self.row)
    }
}

/// A session without its turns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OldSession {
    /// Where it stands.
    pub place: Place,
    /// Its id, not empty.
    pub id: String,
    /// Its project.
    pub project_id: Option<String>,
    /// The session that it was forked or merged from.
    pub parent_id: Option<String>,
    /// How many of the parent's turns it took.
    pub fork_point: Option<i64>,
    /// What it is called; `None` where the file has none.
    pub branch_name: Option<String>,
    /// What it was doing.
    pub state: Option<String>,
    /// What the file says that its number of turns is.
    pub turn_count: Option<i64>,
    /// Its evidence, JSON.
    pub evidence_json: Option<String>,
    /// What its users keep with it, JSON.
    pub metadata_json: Option<String>,
    /// Whether it went into a merge.
    pub is_merged: bool,
    /// Which one.
    pub merged_into: Option<String>,
    /// When it was created.
    pub created_at: Option<String>,
    /// When it was last used.
    pub last_active: Option<String>,
}

/// A turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OldTurn {
    /// Where it stands.
    pub place: Place,
    /// Its id, where the file has one that is its own.
    pub id: Option<String>,
    /// Its number as the file has it; a source gives turns in order, whatever their numbers are.
    pub turn_number: Option<i64>,
    /// What the user said.
    pub user_message: String,
    /// What the answer was.
    pub assistant_response: String,
    /// The user message's tag.
    pub user_linearity: Option<String>,
    /// The answer's tag.
    pub assistant_linearity: Option<String>,
    /// The tools that were used, JSON: objects, or names alone.
    pub tools_json: Option<String>,
    /// What the turn did to the evidence, JSON.
    pub evidence_delta_json: Option<String>,
    /// The session's confidence after it.
    pub confidence: Option<f64>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Mentions in the user's message, JSON list (the in-memory router's).
    pub user_mentions_json: Option<String>,
    /// Mentions in the answer, JSON list.
    pub assistant_mentions_json: Option<String>,
    /// Portal emissions, JSON list.
    pub portal_emissions_json: Option<String>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OldCheckpoint {
    /// Where it stands.
    pub place: Place,
    /// Its id, not empty.
    pub id: String,
    /// How many turns the file says that it sees.
    pub turn_count: Option<i64>,
    /// The working context with the turns in full, JSON.
    pub context_json: Option<String>,
    /// The evidence then, JSON.
    pub evidence_json: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
}

/// A crystal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OldCrystal {
    /// Where it stands.
    pub place: Place,
    /// Its title.
    pub title: String,
    /// Its summary.
    pub summary: String,
    /// Decisions, JSON list of strings.
    pub key_decisions_json: Option<String>,
    /// Artifacts, JSON list of strings.
    pub artifacts_json: Option<String>,
    /// The evidence then, JSON.
    pub final_evidence_json: Option<String>,
    /// The number of turns then.
    pub final_turn_count: Option<i64>,
    /// When it was made.
    pub created_at: Option<String>,
}

/// Something of an old file that has no place in a keep, word for word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRow {
    /// The session that it belongs to, with which it is deleted; for a row that names a session that is not there,
    /// that session's id all the same.
    pub session: Option<String>,
    /// The table, and after a full stop the column if it is only one: `chat_turns`, `chat_sessions.evidence_json`.
    pub source: String,
    /// The row's key, as in [`Place::row`].
    pub row: String,
    /// A whole row as a JSON object of its columns (a blob as `{"hex": "…"}`, or `{"text": "…"}` if it is UTF-8), or a
    /// column's text as it was.
    pub value: String,
    /// Why it is here, a sentence.
    pub reason: String,
}

impl OldRow {
    /// Whether it is a whole row of the table, and not a column alone.
    pub fn is_whole(&self, place: &Place) -> bool {
        self.source == place.table
    }
}

/// Why an old file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is damaged, or of a form that nobody knows.
    #[error("{place}: {problem}; {remedy}")]
    Damaged {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The system or another process does not let it be read.
    #[error("the old data cannot be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads an old file, one session after the other.
///
/// After [`Self::next_session`], the other calls are about that session, until the next one. A source gives parents
/// before their children as far as it can: where parents go round in a circle, or are missing, any order will do.
/// Whatever it must skip (a duplicate, a row of a session that is not there) it hands out by [`Self::next_aside`].
pub trait Source {
    /// The next session; `None` after the last one.
    fn next_session(&mut self) -> Result<Option<OldSession>, SourceError>;

    /// The session's next turn, in the order of the conversation, duplicates left out.
    fn next_turn(&mut self) -> Result<Option<OldTurn>, SourceError>;

    /// How many of the session's first turns are the parent's first turns, column by column; 0 if it cannot tell.
    /// Does not change what [`Self::next_turn`] gives.
    fn count_shared_turns(&mut self) -> Result<u64, SourceError> {
        Ok(0)
    }

    /// The session's next checkpoint, the oldest first.
    fn next_checkpoint(&mut self) -> Result<Option<OldCheckpoint>, SourceError>;

    /// The session's crystal.
    fn crystal(&mut self) -> Result<Option<OldCrystal>, SourceError>;

    /// The next thing that is kept as it is, of any session or of none, with what is odd about it. To be called until
    /// it gives `None`: before the next session, and once more after the last one. Each has been counted as skipped
    /// if it is a whole row ([`OldRow::is_whole`]).
    fn next_aside(&mut self) -> Result<Option<(OldRow, Finding)>, SourceError>;

    /// Rows that are skipped and of which nothing is worth keeping, such as exact copies: their table, what they are,
    /// how many there are. To be asked for once, after the last session.
    fn skipped(&mut self) -> Result<Vec<(&'static str, Oddity, u64)>, SourceError> {
        Ok(Vec::new())
    }

    /// How many rows there are in each table, in all.
    fn totals(&mut self) -> Result<Vec<(&'static str, u64)>, SourceError>;
}

/// A turn that is in the keep, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTurn {
    /// [`super::digest()`] of its texts and its start.
    pub digest: [u8; 32],
    /// Whether its observation is part of an old total.
    pub is_legacy: bool,
    /// How many tools it used.
    pub n_tools: usize,
    /// When it ended, which kgents wrote anew at each save.
    pub completed_at: Timestamp,
}

impl StoredTurn {
    /// Of a turn.
    pub fn of(turn: &Turn) -> Self {
        let digest = digest(&turn.user.content, &turn.assistant.content, turn.started_at);
        let n_tools = turn.tools().count();
        Self { digest, is_legacy: turn.is_legacy, n_tools, completed_at: turn.completed_at }
    }

    /// Whether both are the same turn, saved at different times.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.digest, self.is_legacy, self.n_tools) == (other.digest, other.is_legacy, other.n_tools)
    }
}

/// Carries changes out. Each of them is one transaction, or a part of a greater one.
pub trait Sink {
    /// Applies a change.
    fn commit(&mut self, change: Change) -> Result<Receipt, StoreError>;

    /// Finds a session that is there by now.
    fn find_session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError>;

    /// Whether this very row is kept already. A sink that starts empty may say no.
    fn has_old_row(&mut self, row: &OldRow) -> Result<bool, StoreError>;

    /// Finds a history.
    fn find_history(&mut self, id: HistoryId) -> Result<Option<History>, StoreError>;

    /// What tells each turn of a session from others, in order.
    fn list_digests(&mut self, id: &SessionId) -> Result<Vec<StoredTurn>, StoreError>;

    /// A session's checkpoints.
    fn list_checkpoints(&mut self, id: &SessionId) -> Result<Vec<Checkpoint>, StoreError>;
}
