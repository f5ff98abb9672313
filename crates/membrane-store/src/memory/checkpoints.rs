//! Checkpoints and crystals.

use membrane_core::checkpoint::{Checkpoint, CheckpointKind, MAX_AUTOMATIC};
use membrane_core::crystal::Crystal;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};

use super::apply::Tx;
use super::purge::Doomed;
use super::state::{CheckpointRow, State, User};
use crate::{StoreError, Subject};

impl State {
    /// A checkpoint, if it is this session's.
    pub(super) fn checkpoint(&self, session: &SessionId, id: &CheckpointId) -> Option<&Checkpoint> {
        self.checkpoints.get(id).map(|row| &row.checkpoint).filter(|held| held.session == *session)
    }
}

impl Tx<'_> {
    /// Makes a named checkpoint.
    pub(super) fn create_checkpoint(
        &mut self,
        id: CheckpointId,
        session: &SessionId,
        name: Option<String>,
        cut: Cut,
    ) -> Result<(), StoreError> {
        self.state.session(session)?;
        self.state.standing(cut)?;
        self.add_checkpoint(id, session, name, CheckpointKind::Named, cut)
    }

    pub(super) fn add_checkpoint(
        &mut self,
        id: CheckpointId,
        session: &SessionId,
        name: Option<String>,
        kind: CheckpointKind,
        cut: Cut,
    ) -> Result<(), StoreError> {
        if self.state.checkpoints.contains(&id) {
            return Err(StoreError::already_exists(Subject::Checkpoint, &id));
        }
        let number = self.state.next_number().unsigned_abs();
        let (session, created_at) = (session.clone(), self.now);
        let state = &mut *self.state;
        state.users_of.put((cut.history, User::Checkpoint(id.clone())), ());
        state.checkpoints_of.put((session.clone(), number), id.clone());
        let checkpoint = Checkpoint { id: id.clone(), session, cut, name, kind, created_at };
        state.checkpoints.put(id, CheckpointRow { checkpoint, number });
        Ok(())
    }

    /// Deletes a checkpoint and what nothing reaches without it.
    pub(super) fn delete_checkpoint(
        &mut self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<(), StoreError> {
        self.state.session(session)?;
        let held = self.state.checkpoint(session, id);
        let cut = held.ok_or_else(|| StoreError::not_found(Subject::Checkpoint, id))?.cut;
        self.remove_checkpoint(id);
        let mut doomed = Doomed::default();
        doomed.add_cut(self.state, cut);
        self.purge(doomed);
        Ok(())
    }

    /// Removes the oldest automatic checkpoints beyond those that are kept.
    pub(super) fn prune_checkpoints(&mut self, session: &SessionId) -> Result<(), StoreError> {
        self.state.session(session)?;
        let automatic = self.state.checkpoints(session).rev().filter(|held| held.kind.is_automatic());
        let old: Vec<(CheckpointId, Cut)> =
            automatic.skip(MAX_AUTOMATIC).map(|held| (held.id.clone(), held.cut)).collect();
        let mut doomed = Doomed::default();
        for (id, cut) in old {
            self.remove_checkpoint(&id);
            doomed.add_cut(self.state, cut);
        }
        self.purge(doomed);
        Ok(())
    }

    /// Removes all of a session's checkpoints; what they saw is the caller's to purge.
    pub(super) fn remove_checkpoints(&mut self, session: &SessionId) {
        let ids: Vec<CheckpointId> = self.state.checkpoints(session).map(|held| held.id.clone()).collect();
        for id in &ids {
            self.remove_checkpoint(id);
        }
    }

    fn remove_checkpoint(&mut self, id: &CheckpointId) {
        if let Some(CheckpointRow { checkpoint, number }) = self.state.checkpoints.remove(id) {
            self.state.checkpoints_of.remove(&(checkpoint.session, number));
            self.state.users_of.remove(&(checkpoint.cut.history, User::Checkpoint(id.clone())));
        }
    }

    /// Writes or replaces a session's crystal.
    pub(super) fn save_crystal(&mut self, crystal: Crystal) -> Result<(), StoreError> {
        self.state.session(&crystal.session)?;
        self.state.crystals.put(crystal.session.clone(), crystal);
        Ok(())
    }
}
