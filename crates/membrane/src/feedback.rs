//! What users say of a turn.

use membrane_core::error::DomainError;
use membrane_core::history::Cut;
use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::state::Action;
use membrane_core::turn::{KeptTurn, Signal, SignalKind};
use membrane_store::{Change, IdempotencyKey, Requirement, Thread, Write};

use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};

/// A turn after a signal, and what the session's evidence is then.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackResult {
    /// The turn with all its signals, oldest first.
    pub turn: KeptTurn,
    /// The session as it is then.
    pub session: Session,
}

impl Chat {
    /// Adds a signal to a turn. The latest signal of a turn counts, in every session that holds the
    /// turn: a negative one or a correction makes its success a failure.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: it has no turn of this number.
    /// - [`ChatError::TooLarge`]: the comment is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the session keeps changing.
    pub async fn feedback(
        &self,
        id: &SessionId,
        turn_number: i64,
        kind: SignalKind,
        comment: Option<String>,
        key: Option<ClientKey>,
    ) -> Result<FeedbackResult, ChatError> {
        self.limits().check_optional_name("comment", comment.as_deref())?;
        let scope = Scope::new("feedback", Some(id), key)?;
        let key = scope.as_ref().map(|scope| scope.with(""));
        let decide = |attempt| {
            self.decide_feedback(attempt, id, turn_number, (kind, comment.as_deref()), key.as_ref())
        };
        self.commit_decided(scope.as_ref(), decide).await?;
        let (session, turn) = self.get_turn(id, turn_number).await?;
        Ok(FeedbackResult { turn, session })
    }

    async fn decide_feedback(
        &self,
        attempt: Attempt,
        id: &SessionId,
        turn_number: i64,
        (kind, comment): (SignalKind, Option<&str>),
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let (session, turn) = self.get_turn(id, turn_number).await?;
        let seen = Cut { turn_count: turn.number + 1, ..session.cut };
        let signal = Signal { kind, comment: comment.map(str::to_owned), created_at: attempt.now };
        let change = Change::at(attempt.now)
            .once(key.cloned())
            .require(Requirement::Allows { session: id.clone(), action: Action::Feedback })
            .require(Requirement::Sees { session: id.clone(), cut: seen })
            .write(Write::AddSignal { at: turn.at, signal });
        Ok(Decision::Commit(change))
    }

    async fn get_turn(&self, id: &SessionId, turn_number: i64) -> Result<(Session, KeptTurn), ChatError> {
        // A negative number reads nothing and is refused by its value below.
        let number = u64::try_from(turn_number).unwrap_or(u64::MAX);
        let thread = self.store().load_thread(id, number..number.saturating_add(1)).await?;
        let Thread { session, turns } = thread.ok_or_else(|| ChatError::session_not_found(id))?;
        let turn_count = session.turn_count();
        let turn = turns.into_iter().next().ok_or_else(|| DomainError::NoSuchTurn {
            session: id.clone(),
            turn_number,
            turn_count,
        })?;
        Ok((session, turn))
    }
}
