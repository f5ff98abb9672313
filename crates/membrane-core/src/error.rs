//! What the rules refuse. Each variant is a thing that a caller can act on; its message names the
//! value and the remedy.

use crate::ids::SessionId;
use crate::state::{Action, State};

/// A single value that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing where something is needed.
    #[error("the {what} is empty; give at least one character")]
    Empty {
        /// The value's name.
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("the {what} has {bytes} bytes; at most {max_bytes} are allowed")]
    TooLong {
        /// The value's name.
        what: &'static str,
        /// How long it is, in bytes.
        bytes: usize,
        /// The longest allowed, in bytes.
        max_bytes: usize,
    },
    /// A word that is not one of the known ones.
    #[error("{value:?} is not a {what}; use one of: {allowed}")]
    Unknown {
        /// The value's name.
        what: &'static str,
        /// What was given.
        value: String,
        /// The words that are accepted.
        allowed: &'static str,
    },
    /// Text that should have been JSON.
    #[error("the {what} is not valid JSON: {problem}")]
    NotJson {
        /// The value's name.
        what: &'static str,
        /// What the parser said.
        problem: String,
    },
    /// Text that should have been a point in time.
    #[error("{value:?} is not a time between the years 0 and 9999 such as 2026-01-02T03:04:05Z")]
    NotATime {
        /// What was given.
        value: String,
    },
}

/// Why an operation on sessions is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A fork or cut beyond the end.
    #[error(
        "fork point {fork_point} exceeds the session's {turn_count} turns; give 0..={turn_count}, or null for all"
    )]
    ForkPointBeyondEnd {
        /// What was asked for.
        fork_point: i64,
        /// How many turns there are.
        turn_count: u64,
    },
    /// A rewind by more turns than there are; the words are those that kgents' clients know.
    #[error("Cannot rewind {turns} turns, session only has {turn_count} turns")]
    RewindTooFar {
        /// What was asked for.
        turns: u64,
        /// How many turns there are.
        turn_count: u64,
    },
    /// A turn number that the session has not.
    #[error("session {session} has no turn {turn_number}; its {turn_count} turns count from 0")]
    NoSuchTurn {
        /// The session.
        session: SessionId,
        /// What was asked for.
        turn_number: i64,
        /// How many turns there are.
        turn_count: u64,
    },
    /// Merging a session with itself.
    #[error("session {session} cannot be merged with itself; name another session")]
    MergeWithItself {
        /// The session.
        session: SessionId,
    },
    /// A manual merge that names no turns at all.
    #[error("a manual merge needs `turns`, the list of {{session_id, turn_number}} to keep, in order")]
    ManualWithoutTurns,
    /// A pick of a manual merge from a session that is not part of it.
    #[error("the manual merge picks from session {session}, which is neither of the two that are merged")]
    PickFromElsewhere {
        /// The session named by the pick.
        session: SessionId,
    },
    /// The same turn picked twice: evidence is a function of sets, so a turn counts once.
    #[error("turn {turn_number} of session {session} is picked twice; name each turn once")]
    PickedTwice {
        /// The session named by the second pick.
        session: SessionId,
        /// The turn's number there.
        turn_number: u64,
    },
    /// A call that has its result, or was denied.
    #[error("call {call_id} has its result already; it is in the turn, load the session to see it")]
    AlreadyAnswered {
        /// The call.
        call_id: String,
    },
    /// A result of a tool whose effect cannot be undone, and that nobody approved.
    #[error("call {call_id} of {tool} is destructive and not approved; approve it first, or deny it")]
    NotApproved {
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
    },
    /// The state does not allow the action.
    #[error("session {session} is {state}, which does not allow {action}; it allows: {allowed}")]
    WrongState {
        /// The session.
        session: SessionId,
        /// Its state.
        state: State,
        /// What was asked for.
        action: Action,
        /// What the state allows.
        allowed: String,
    },
    /// A value is out of bounds.
    #[error(transparent)]
    Value(#[from] ValueError),
}
