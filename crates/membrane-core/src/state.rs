//! What a session is doing, and what that allows.

use std::fmt;

use crate::error::DomainError;
use crate::ids::SessionId;
use crate::words::words;

words!(
    /// What a session is doing.
    State, "state", "idle, processing, awaiting_tool", {
        /// Nothing; everything is allowed.
        Idle = "idle",
        /// A run is under way.
        Processing = "processing",
        /// A run waits for a tool's result.
        AwaitingTool = "awaiting_tool",
    }
);

/// Something that is done to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reading it.
    Read,
    /// Opening a run on it, or appending finished turns.
    Send,
    /// Forking it.
    Fork,
    /// Merging it.
    Merge,
    /// Leaving a checkpoint.
    Checkpoint,
    /// Returning to a checkpoint.
    Restore,
    /// Taking turns off its end.
    Rewind,
    /// Replacing it by an edited copy.
    Save,
    /// Signalling on a turn.
    Feedback,
    /// Pinning a turn.
    Pin,
    /// Changing its name, tags, project or metadata.
    Rename,
    /// Writing its crystal.
    Crystallize,
    /// Stopping the run.
    Cancel,
    /// Handing in a tool's result.
    AnswerTool,
    /// Deleting it.
    Delete,
}

impl Action {
    const ALL: [Self; 15] = [
        Self::Read,
        Self::Send,
        Self::Fork,
        Self::Merge,
        Self::Checkpoint,
        Self::Restore,
        Self::Rewind,
        Self::Save,
        Self::Feedback,
        Self::Pin,
        Self::Rename,
        Self::Crystallize,
        Self::Cancel,
        Self::AnswerTool,
        Self::Delete,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Fork => "fork",
            Self::Merge => "merge",
            Self::Checkpoint => "checkpoint",
            Self::Restore => "restore",
            Self::Rewind => "rewind",
            Self::Save => "save",
            Self::Feedback => "feedback",
            Self::Pin => "pin",
            Self::Rename => "rename",
            Self::Crystallize => "crystallize",
            Self::Cancel => "cancel",
            Self::AnswerTool => "answer_tool",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// Whether a session in this state may undergo `action`.
    ///
    /// `idle` allows everything but what needs a run. The two others allow reading, forking and
    /// checkpointing (of finished turns), feedback, pins, renaming, cancelling and deleting; waiting for
    /// a tool also allows its result.
    pub fn allows(self, action: Action) -> bool {
        match (self, action) {
            (Self::Idle, Action::Cancel | Action::AnswerTool) => false,
            (Self::Idle, _) | (Self::AwaitingTool, Action::AnswerTool) => true,
            (Self::Processing | Self::AwaitingTool, action) => matches!(
                action,
                Action::Read
                    | Action::Fork
                    | Action::Checkpoint
                    | Action::Feedback
                    | Action::Pin
                    | Action::Rename
                    | Action::Cancel
                    | Action::Delete
            ),
        }
    }

    /// Refuses what the state does not allow.
    ///
    /// # Errors
    /// [`DomainError::WrongState`] naming the state and all that it allows.
    pub fn require(self, session: &SessionId, action: Action) -> Result<(), DomainError> {
        if self.allows(action) {
            return Ok(());
        }
        let allowed: Vec<_> =
            Action::ALL.into_iter().filter(|action| self.allows(*action)).map(Action::as_str).collect();
        Err(DomainError::WrongState {
            session: session.clone(),
            state: self,
            action,
            allowed: allowed.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_session_can_be_read_forked_and_deleted_but_not_rewound() {
        for state in [State::Processing, State::AwaitingTool] {
            assert!(
                state.allows(Action::Fork) && state.allows(Action::Delete) && state.allows(Action::Cancel)
            );
            assert!(
                !state.allows(Action::Rewind) && !state.allows(Action::Send) && !state.allows(Action::Merge)
            );
        }
        assert!(
            State::AwaitingTool.allows(Action::AnswerTool) && !State::Processing.allows(Action::AnswerTool)
        );
    }

    #[test]
    fn a_refusal_names_the_state_and_what_it_allows() {
        let error = State::Processing.require(&SessionId::from_stored("s"), Action::Rewind).unwrap_err();
        assert_eq!(
            error.to_string(),
            "session s is processing, which does not allow rewind; it allows: \
             read, fork, checkpoint, feedback, pin, rename, cancel, delete"
        );
        assert!(State::Idle.require(&SessionId::from_stored("s"), Action::Cancel).is_err());
    }
}
