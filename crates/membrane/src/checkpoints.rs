//! Checkpoints: leaving one, returning to one, listing and deleting them.

use std::sync::atomic::{AtomicU64, Ordering};

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_core::session::Session;
use membrane_core::state::Action;
use membrane_core::turn::KeptTurn;
use membrane_store::change::Leave;
use membrane_store::{Change, IdempotencyKey, Requirement, Subject, Write};

use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};
use crate::sessions::odd_result;

/// A session that returned to a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// The session as it is now.
    pub session: Session,
    /// How many of the checkpoint's last turns could not be brought back: they belonged to a deleted
    /// session. Always 0 for a named checkpoint, which keeps its turns.
    pub missing: u64,
}

impl Chat {
    /// Leaves a checkpoint where the session stands. It keeps its turns, whatever becomes of others.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::TooLarge`]: the name is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the session keeps changing.
    pub async fn checkpoint(
        &self,
        id: &SessionId,
        name: Option<String>,
        key: Option<ClientKey>,
    ) -> Result<Checkpoint, ChatError> {
        self.limits().check_optional_name("checkpoint name", name.as_deref())?;
        let scope = Scope::new("checkpoint", Some(id), key)?;
        let new_id = CheckpointId::generate(self.ids());
        let key = scope.as_ref().map(|scope| scope.with(new_id.as_str()));
        let decide = |attempt| self.decide_checkpoint(attempt, id, &new_id, name.as_deref(), key.as_ref());
        let receipt = self.commit_decided(scope.as_ref(), decide).await?;
        let made = if receipt.replayed { CheckpointId::from_stored(&receipt.result) } else { new_id };
        self.get_checkpoint(id, &made).await
    }

    async fn decide_checkpoint(
        &self,
        attempt: Attempt,
        id: &SessionId,
        new_id: &CheckpointId,
        name: Option<&str>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let cut = self.get_session(id).await?.cut;
        let change = Change::at(attempt.now)
            .once(key.cloned())
            .require(Requirement::Allows { session: id.clone(), action: Action::Checkpoint })
            .require(Requirement::Sees { session: id.clone(), cut })
            .write(Write::CreateCheckpoint {
                id: new_id.clone(),
                session: id.clone(),
                name: name.map(str::to_owned),
                cut,
            });
        Ok(Decision::Commit(change))
    }

    /// A session's checkpoints, newest first: the named ones and the newest automatic ones.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session.
    pub async fn list_checkpoints(&self, id: &SessionId) -> Result<Vec<Checkpoint>, ChatError> {
        self.get_session(id).await?;
        Ok(self.store().list_checkpoints(id).await?)
    }

    /// Finds the last turn that a checkpoint holds, whatever its session holds now: its totals are what the
    /// checkpoint adds up to. `None` if it holds none, or if the turn is gone.
    pub async fn find_last_turn(&self, checkpoint: &Checkpoint) -> Result<Option<KeptTurn>, ChatError> {
        let turn_count = checkpoint.cut.turn_count;
        let last = turn_count.saturating_sub(1)..turn_count;
        Ok(self.store().load_turns(checkpoint.cut, last).await?.pop())
    }

    /// Deletes a checkpoint, and the turns that nothing holds without it.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session, or it has no such checkpoint.
    pub async fn delete_checkpoint(
        &self,
        id: &SessionId,
        checkpoint_id: &CheckpointId,
    ) -> Result<(), ChatError> {
        let change = Change::at(self.now())
            .require(Requirement::Allows { session: id.clone(), action: Action::Checkpoint })
            .write(Write::DeleteCheckpoint { session: id.clone(), id: checkpoint_id.clone() });
        self.store().commit(change).await?;
        Ok(())
    }

    /// Returns the session to one of its checkpoints, forwards or backwards, and leaves an automatic
    /// checkpoint with which that can be undone. Its evidence is that of the turns it holds then.
    ///
    /// An automatic checkpoint does not keep turns of deleted sessions: then the session returns to
    /// what is left of it, and `missing` says how many turns are not.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session, or it has no such checkpoint.
    /// - [`ChatError::Refused`]: a turn is under way.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the session keeps changing.
    pub async fn restore(
        &self,
        id: &SessionId,
        checkpoint_id: &CheckpointId,
        key: Option<ClientKey>,
    ) -> Result<Restored, ChatError> {
        let scope = Scope::new("restore", Some(id), key)?;
        // What the committed attempt found; a replay has it from the key's result.
        let missing = AtomicU64::new(0);
        let decide = |attempt| self.decide_restore(attempt, id, checkpoint_id, scope.as_ref(), &missing);
        let receipt = self.commit_decided(scope.as_ref(), decide).await?;
        self.runs().forget_ended_of(id);
        let missing = if receipt.replayed {
            receipt.result.parse().map_err(|_| odd_result(&receipt))?
        } else {
            missing.into_inner()
        };
        Ok(Restored { session: self.get_session(id).await?, missing })
    }

    async fn decide_restore(
        &self,
        attempt: Attempt,
        id: &SessionId,
        checkpoint_id: &CheckpointId,
        scope: Option<&Scope>,
        missing: &AtomicU64,
    ) -> Result<Decision, ChatError> {
        self.get_session(id).await?.state.require(id, Action::Restore)?;
        let checkpoint = self.get_checkpoint(id, checkpoint_id).await?;
        let wanted = checkpoint.cut.turn_count;
        let turn_count = attempt.intact.map_or(wanted, |intact| intact.min(wanted));
        let to = Cut { turn_count, ..checkpoint.cut };
        missing.store(wanted - turn_count, Ordering::Relaxed);
        let mut change = Change::at(attempt.now)
            .once(scope.map(|scope| scope.with((wanted - turn_count).to_string())))
            .require(Requirement::Allows { session: id.clone(), action: Action::Restore })
            .require(Requirement::Checkpoint { session: id.clone(), id: checkpoint_id.clone() });
        if checkpoint.kind.is_automatic() {
            change = change.require(Requirement::Intact { cut: to });
        }
        change = change.write(Write::MoveSession {
            session: id.clone(),
            to,
            leave: Leave::automatic(CheckpointId::generate(self.ids()), CheckpointKind::Restore),
        });
        Ok(Decision::Commit(change))
    }

    async fn get_checkpoint(&self, session: &SessionId, id: &CheckpointId) -> Result<Checkpoint, ChatError> {
        let found = self.store().find_checkpoint(session, id).await?;
        found.ok_or_else(|| ChatError::NotFound { subject: Subject::Checkpoint, id: id.to_string() })
    }
}
