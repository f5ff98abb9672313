//! How a command fails: the one place where errors become exit codes and stable words.

use std::fmt;
use std::io;

use membrane::store::transfer::TransferError;
use membrane::{ChatError, DomainError, StoreError, Subject, ValueError};

/// What the process ends with; documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failure,
    Usage,
    NotFound,
    Conflict,
    Unavailable,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 5,
        }
    }
}

/// Why a command failed. Shown with its causes, each after a colon.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
    closed_pipe: bool,
}

impl Failure {
    /// A value that cannot be accepted.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: "invalid_argument", message: message.into(), closed_pipe: false }
    }

    /// Something that is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotFound, code: "not_found", message: message.into(), closed_pipe: false }
    }

    /// A keep that contradicts itself, and the like.
    pub(crate) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, code, message: message.into(), closed_pipe: false }
    }

    /// Another process is in the way.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, code: "unavailable", message: message.into(), closed_pipe: false }
    }

    /// The system refused something.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        let full = error.kind() == io::ErrorKind::StorageFull;
        let (exit, code) = if full { (Exit::Unavailable, "storage_full") } else { (Exit::Failure, "failed") };
        Self { exit, code, message: format!("cannot {doing}: {error}"), closed_pipe }
    }

    /// An error of some other layer with its causes.
    pub(crate) fn caused(exit: Exit, code: &'static str, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { exit, code, message, closed_pipe: false }
    }

    /// A copy that was refused or stopped.
    pub(crate) fn of_copy(error: &TransferError, from: &str, to: &str) -> Self {
        let again = "what was copied is kept, and copying again goes on from there";
        let (exit, code) = match error {
            TransferError::Source(_) => return Self::of_side(error).at(from).after(again),
            TransferError::Target(_) => return Self::of_side(error).at(to).after(again),
            TransferError::NotEmpty { .. } => (Exit::Conflict, "already_there"),
            TransferError::OtherCopy { .. } => (Exit::Conflict, "unfinished_copy"),
            TransferError::TakenOver | TransferError::Intruder { .. } => (Exit::Conflict, "conflict"),
            TransferError::InUse { .. } => (Exit::Unavailable, "in_use"),
            TransferError::Differs { .. } => (Exit::Failure, "differs"),
        };
        Self::caused(exit, code, error).at(to)
    }

    /// A side's database that failed.
    fn of_side(error: &TransferError) -> Self {
        let (exit, code) = match error {
            TransferError::Source(StoreError::Unavailable { .. })
            | TransferError::Target(StoreError::Unavailable { .. }) => (Exit::Unavailable, "unavailable"),
            TransferError::Target(StoreError::StorageFull) => (Exit::Unavailable, "storage_full"),
            _ => (Exit::Failure, "failed"),
        };
        Self::caused(exit, code, error)
    }

    /// The same failure, with what had been done before it.
    #[must_use]
    pub(crate) fn after(mut self, before: &str) -> Self {
        self.message = format!("{}; {before}", self.message);
        self
    }

    /// The same failure, at this place.
    #[must_use]
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The failure as JSON, in the form of the HTTP interface.
    pub(crate) fn document(&self) -> serde_json::Value {
        serde_json::json!({"detail": self.message, "code": self.code()})
    }

    /// The stable word for scripts.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the output's reader has gone.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        let (exit, code) = match &error {
            ChatError::NotFound { subject: Subject::Session, id } => {
                return Self::not_found(format!(
                    "session {id} not found; list yours with \"membrane sessions\""
                ));
            }
            ChatError::NotFound { subject: Subject::Checkpoint, id } => {
                return Self::not_found(format!(
                    "checkpoint {id} not found; list the session's with \"membrane checkpoint ID --list\""
                ));
            }
            ChatError::NotFound { .. } => (Exit::NotFound, "not_found"),
            ChatError::Refused(
                DomainError::WrongState { .. }
                | DomainError::AlreadyAnswered { .. }
                | DomainError::NotApproved { .. },
            ) => (Exit::Conflict, "wrong_state"),
            ChatError::Refused(_) => (Exit::Usage, "invalid_argument"),
            ChatError::TooLarge { .. } => (Exit::Usage, "too_large"),
            ChatError::Conflict { .. }
            | ChatError::AlreadyExists { .. }
            | ChatError::Store(StoreError::Referenced { .. }) => (Exit::Conflict, "conflict"),
            ChatError::Busy { .. } => (Exit::Conflict, "busy"),
            ChatError::KeyReused { .. } | ChatError::AnswerGone { .. } => (Exit::Conflict, "key_reused"),
            ChatError::Unavailable { .. } => (Exit::Unavailable, "unavailable"),
            ChatError::StorageFull => (Exit::Unavailable, "storage_full"),
            ChatError::Closed | ChatError::Store(_) => (Exit::Failure, "failed"),
        };
        Self::caused(exit, code, &error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ChatError::from(error).into()
    }
}

impl From<ValueError> for Failure {
    fn from(error: ValueError) -> Self {
        ChatError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane::SessionId;

    #[test]
    fn every_kind_of_error_has_its_exit_code_and_word() {
        let session = SessionId::from_stored("s");
        let cases = [
            (ChatError::NotFound { subject: Subject::Session, id: "s".into() }, 3, "not_found"),
            (
                ChatError::Refused(DomainError::MergeWithItself { session: session.clone() }),
                2,
                "invalid_argument",
            ),
            (ChatError::Conflict { session, expected: 1, actual: 2 }, 4, "conflict"),
            (ChatError::TooLarge { what: "turn", bytes: 2, max_bytes: 1 }, 2, "too_large"),
            (ChatError::KeyReused { key: "k".into() }, 4, "key_reused"),
            (ChatError::StorageFull, 5, "storage_full"),
            (ChatError::Closed, 1, "failed"),
        ];
        for (error, exit, code) in cases {
            let failure = Failure::from(error);
            assert_eq!((failure.exit().code(), failure.code()), (exit, code), "{failure}");
        }
    }

    #[test]
    fn causes_follow_after_a_colon_and_are_not_repeated() {
        let source = Box::new(io::Error::other("the disk is on fire"));
        let failure = Failure::from(StoreError::Backend { doing: "read", source });
        let text = failure.to_string();
        assert_eq!(text, "the database failed while it tried to read: the disk is on fire");
    }
}
