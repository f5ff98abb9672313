//! Appending finished turns: one call to the store, nothing read before.

use membrane_core::ids::{SessionId, TurnId};
use membrane_core::state::Action;
use membrane_core::turn::Turn;
use membrane_store::{Change, Requirement, Write};

use crate::chat::Chat;
use crate::error::ChatError;
use crate::new_turn::NewTurn;
use crate::options::{Scope, WriteOptions};

/// Where appended turns went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The number of the first of them, from 0.
    pub turn_number: u64,
    /// How many turns the session had right after.
    pub turn_count: u64,
    /// The session's version right after.
    pub version: u64,
    /// Their ids, in order.
    pub turn_ids: Vec<TurnId>,
    /// Whether they had been appended before under the same key, and this only repeats the answer.
    pub replayed: bool,
}

impl Chat {
    /// Appends a finished turn at the session's end.
    ///
    /// Appends never conflict with each other: without an expected version the turn goes wherever the
    /// end is then. Costs the same whatever the session's length.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Conflict`]: it is not at the expected version.
    /// - [`ChatError::Refused`]: a turn is under way.
    /// - [`ChatError::TooLarge`]: the message or the turn is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn append(
        &self,
        id: &SessionId,
        turn: NewTurn,
        options: WriteOptions,
    ) -> Result<Appended, ChatError> {
        self.append_as("append", id, vec![turn], options).await
    }

    /// Appends finished turns in order: all of them or none. None at all writes nothing.
    ///
    /// # Errors
    /// As [`Chat::append`].
    pub async fn append_many(
        &self,
        id: &SessionId,
        turns: Vec<NewTurn>,
        options: WriteOptions,
    ) -> Result<Appended, ChatError> {
        if turns.is_empty() {
            return self.append_nothing(id, options.expected_version).await;
        }
        self.append_as("append_many", id, turns, options).await
    }

    async fn append_as(
        &self,
        route: &str,
        id: &SessionId,
        turns: Vec<NewTurn>,
        options: WriteOptions,
    ) -> Result<Appended, ChatError> {
        let scope = Scope::new(route, Some(id), options.key)?;
        let now = self.now();
        let turns: Vec<Turn> = turns.into_iter().map(|turn| turn.into_turn(self.ids(), now)).collect();
        turns.iter().try_for_each(|turn| self.limits().check_turn(turn))?;
        let mut turn_ids: Vec<TurnId> = turns.iter().map(|turn| turn.id.clone()).collect();
        let mut change = Change::at(now).once(scope.map(|scope| scope.with(join(&turn_ids))));
        if let Some(version) = options.expected_version {
            change = change.require(Requirement::Version { session: id.clone(), version });
        }
        change = change
            .require(Requirement::Allows { session: id.clone(), action: Action::Send })
            .write(Write::AppendTurns { session: id.clone(), turns });
        let receipt = self.store().commit(change).await?;
        if receipt.replayed {
            turn_ids = receipt.result.split('\n').map(TurnId::from_stored).collect();
        }
        let stamp = receipt.stamp(id).ok_or_else(|| ChatError::session_not_found(id))?;
        let turn_count = stamp.cut.turn_count;
        let appended = u64::try_from(turn_ids.len()).unwrap_or(u64::MAX);
        Ok(Appended {
            turn_number: turn_count.saturating_sub(appended),
            turn_count,
            version: stamp.version,
            turn_ids,
            replayed: receipt.replayed,
        })
    }

    async fn append_nothing(
        &self,
        id: &SessionId,
        expected_version: Option<u64>,
    ) -> Result<Appended, ChatError> {
        let session = self.get_session(id).await?;
        session.state.require(id, Action::Send)?;
        if let Some(expected) = expected_version.filter(|expected| *expected != session.version) {
            return Err(ChatError::Conflict { session: id.clone(), expected, actual: session.version });
        }
        Ok(Appended {
            turn_number: session.turn_count(),
            turn_count: session.turn_count(),
            version: session.version,
            turn_ids: Vec::new(),
            replayed: false,
        })
    }
}

/// Ids that were just made hold no line break.
fn join(ids: &[TurnId]) -> String {
    ids.iter().map(TurnId::as_str).collect::<Vec<_>>().join("\n")
}
