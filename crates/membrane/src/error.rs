//! What a call refuses and how it fails. Each variant is a thing that a caller can act on.
//!
//! HTTP statuses and exit codes are not assigned here: each surface has one place for them.

use std::borrow::Cow;
use std::time::Duration;

use membrane_core::error::{DomainError, ValueError};
use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_store::{StoreError, Subject};

/// Why a call failed. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// What the call names is not there, or not any more.
    #[error("{subject} {id} not found; check the id, or list what there is")]
    NotFound {
        /// Its kind.
        subject: Subject,
        /// Its name.
        id: String,
    },
    /// A new session's id is taken.
    #[error("{subject} {id} is already there; load that one or choose another id")]
    AlreadyExists {
        /// Its kind.
        subject: Subject,
        /// Its name.
        id: String,
    },
    /// The rules do not allow it, or a value is out of bounds.
    #[error(transparent)]
    Refused(#[from] DomainError),
    /// The session is at another version than the one that the caller decided on.
    #[error("session {session} is at version {actual}, not {expected}; load it again and repeat the change")]
    Conflict {
        /// The session.
        session: SessionId,
        /// The version that the caller named or had loaded.
        expected: u64,
        /// The version that it is at.
        actual: u64,
    },
    /// A turn of the session is under way.
    #[error("session {session} is busy with a turn since {since}; wait for it or cancel it")]
    Busy {
        /// The session.
        session: SessionId,
        /// When that turn began.
        since: Timestamp,
    },
    /// The idempotency key was used with another body.
    #[error("the idempotency key {key:?} was already used with another body; use a new key")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The key is known, but the turn that it made was taken off the session since, by a rewind or a restore, and
    /// no checkpoint holds it.
    #[error("the turn of this idempotency key was taken off session {session}; use a new key to send again")]
    AnswerGone {
        /// The session.
        session: SessionId,
    },
    /// A value is over its limit; see [`crate::Limits`].
    #[error("the {what} has {bytes} bytes; at most {max_bytes} are allowed, make it shorter")]
    TooLarge {
        /// The value's name.
        what: &'static str,
        /// How long it is, in bytes.
        bytes: usize,
        /// The longest allowed, in bytes.
        max_bytes: usize,
    },
    /// Too much is waiting, another process holds the database, or the session keeps changing.
    #[error("unavailable: {reason}; try again in {} ms", .retry_after.as_millis())]
    Unavailable {
        /// Why.
        reason: Cow<'static, str>,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// No room to write. Reading goes on.
    #[error("the storage is full; make room and try again, nothing was changed")]
    StorageFull,
    /// The keep was closed.
    #[error("the keep is closed; open it again")]
    Closed,
    /// The store failed in some other way; whether the change was made may not be known.
    #[error(transparent)]
    Store(StoreError),
}

impl ChatError {
    pub(crate) fn stopping() -> Self {
        Self::Unavailable { reason: "the server is stopping".into(), retry_after: Duration::from_secs(1) }
    }

    pub(crate) fn session_not_found(id: &SessionId) -> Self {
        Self::NotFound { subject: Subject::Session, id: id.to_string() }
    }
}

impl From<ValueError> for ChatError {
    fn from(error: ValueError) -> Self {
        DomainError::Value(error).into()
    }
}

impl From<StoreError> for ChatError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { subject, id } => Self::NotFound { subject, id },
            StoreError::AlreadyExists { subject, id } => Self::AlreadyExists { subject, id },
            StoreError::Conflict { session, expected, actual } => {
                Self::Conflict { session, expected, actual }
            }
            StoreError::Busy { session, since } => Self::Busy { session, since },
            StoreError::Refused(refusal) => Self::Refused(refusal),
            StoreError::KeyReused { key } => Self::KeyReused { key },
            StoreError::Unavailable { reason, retry_after } => Self::Unavailable { reason, retry_after },
            StoreError::StorageFull => Self::StorageFull,
            StoreError::Closed => Self::Closed,
            other @ (StoreError::Changed { .. }
            | StoreError::LeaseLost { .. }
            | StoreError::LeaseHeld { .. }
            | StoreError::LeadHeld { .. }
            | StoreError::Gap { .. }
            | StoreError::Referenced { .. }
            | StoreError::Inconsistent { .. }
            | StoreError::Backend { .. }) => Self::Store(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_can_act_on_keeps_its_kind_and_its_values() {
        let conflict = StoreError::Conflict { session: SessionId::from_stored("s"), expected: 3, actual: 5 };
        let error = ChatError::from(conflict);
        assert!(matches!(error, ChatError::Conflict { expected: 3, actual: 5, .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "session s is at version 5, not 3; load it again and repeat the change"
        );
        assert!(matches!(ChatError::from(StoreError::StorageFull), ChatError::StorageFull));
        assert!(matches!(ChatError::from(StoreError::Closed), ChatError::Closed));
    }

    #[test]
    fn the_cause_of_a_backends_failure_is_its_source() {
        let cause: Box<dyn std::error::Error + Send + Sync> = "the disk is on fire".into();
        let error = ChatError::from(StoreError::Backend { doing: "read", source: cause });
        assert_eq!(error.to_string(), "the database failed while it tried to read");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the disk is on fire");
    }
}
