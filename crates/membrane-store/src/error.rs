//! What a store refuses and how it fails. Each variant is a thing that a caller can act on; causes go
//! to `source`, never into the message.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use membrane_core::error::{DomainError, ValueError};
use membrane_core::ids::{InstanceId, RunId, SessionId};
use membrane_core::role::Role;
use membrane_core::time::Timestamp;

/// The kinds of things that can be missing or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A session.
    Session,
    /// A checkpoint.
    Checkpoint,
    /// A run.
    Run,
    /// A crystal.
    Crystal,
    /// A history.
    History,
    /// A turn.
    Turn,
    /// A model's call of a tool.
    ToolCall,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::Checkpoint => "checkpoint",
            Self::Run => "run",
            Self::Crystal => "crystal",
            Self::History => "history",
            Self::ToolCall => "tool call",
            Self::Turn => "turn",
        })
    }
}

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What the change names is not there.
    #[error("{subject} {id} not found")]
    NotFound {
        /// Its kind.
        subject: Subject,
        /// Its name.
        id: String,
    },
    /// A new thing's id is taken.
    #[error("{subject} {id} is already there; choose another id")]
    AlreadyExists {
        /// Its kind.
        subject: Subject,
        /// Its name.
        id: String,
    },
    /// The session is at another version than the change was decided on.
    #[error("session {session} is at version {actual}, not {expected}; load it again and repeat the change")]
    Conflict {
        /// The session.
        session: SessionId,
        /// The version that was required.
        expected: u64,
        /// The version it is at.
        actual: u64,
    },
    /// The session no longer sees the turns that the change was decided on.
    #[error("session {session} was changed meanwhile; load it again and repeat the change")]
    Changed {
        /// The session.
        session: SessionId,
    },
    /// Another run is open on the session.
    #[error("session {session} is busy with a turn since {since}; wait for it or cancel it")]
    Busy {
        /// The session.
        session: SessionId,
        /// When that run began.
        since: Timestamp,
    },
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] DomainError),
    /// The idempotency key was used with another body.
    #[error("the idempotency key {key:?} was already used with another body; use a new key")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The run is gone or another's: whoever writes it must stop.
    #[error("the lease of run {run} is lost; its turn is closed or goes on elsewhere")]
    LeaseLost {
        /// The run.
        run: RunId,
    },
    /// The run's owner is alive.
    #[error("run {run} is held by a live owner; leave it alone")]
    LeaseHeld {
        /// The run.
        run: RunId,
    },
    /// Another instance leads, or did a moment ago.
    #[error("instance {leader} is the {role} for now; leave that work to it")]
    LeadHeld {
        /// The role.
        role: Role,
        /// Who has it.
        leader: InstanceId,
    },
    /// Some of the turns are gone: they belonged to a deleted session.
    #[error("only the first {intact} of {turn_count} turns are still there; restore up to there")]
    Gap {
        /// How many leading turns are there.
        intact: u64,
        /// How many were asked for.
        turn_count: u64,
    },
    /// Rows of another program, in the same database, refer to what is to be deleted.
    #[error(
        "session {session} cannot be deleted: rows of table {table:?}, which is another program's, refer to it; delete \
             those first"
    )]
    Referenced {
        /// The session.
        session: SessionId,
        /// The table.
        table: String,
    },
    /// Too much waits, or another process holds the database. Nothing was done.
    #[error("the store is unavailable: {reason}; try again in {} ms", .retry_after.as_millis())]
    Unavailable {
        /// Why.
        reason: Cow<'static, str>,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// No room to write. Nothing was done; reading goes on.
    #[error("the storage is full; make room and try again, nothing was changed")]
    StorageFull,
    /// A stored row makes no sense.
    #[error("table {table}, row {row}: {problem}; run `membrane check`")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The store was closed.
    #[error("the store is closed; open it again")]
    Closed,
    /// The database failed in some other way.
    #[error("the database failed while it tried to {doing}")]
    Backend {
        /// What it was doing.
        doing: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// A missing thing.
    pub fn not_found(subject: Subject, id: impl fmt::Display) -> Self {
        Self::NotFound { subject, id: id.to_string() }
    }

    /// A taken id.
    pub fn already_exists(subject: Subject, id: impl fmt::Display) -> Self {
        Self::AlreadyExists { subject, id: id.to_string() }
    }

    /// A row that makes no sense.
    pub fn inconsistent(table: &'static str, row: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Inconsistent { table, row: row.to_string(), problem: problem.to_string() }
    }

    /// Whether reading again and deciding again may succeed.
    pub fn is_stale_decision(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Changed { .. })
    }
}

impl From<ValueError> for StoreError {
    fn from(error: ValueError) -> Self {
        Self::Refused(DomainError::Value(error))
    }
}
