//! Creating, renaming and deleting sessions.

use membrane_core::branches::Tombstone;
use membrane_core::evidence::LegacyTotals;
use membrane_core::history::{Cut, History, Slice};
use membrane_core::ids::{SegmentId, SessionId};
use membrane_core::session::{NewSession, Session, SessionPatch};
use membrane_core::state::State as SessionState;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;

use super::apply::Tx;
use super::purge::Doomed;
use super::state::{User, listed};
use crate::change::Origin;
use crate::{StoreError, Subject};

impl Tx<'_> {
    /// Creates a session, with a history of its own unless it points at another's.
    pub(super) fn create_session(
        &mut self,
        new: NewSession,
        origin: Origin,
        created_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        if self.state.sessions.contains(&new.id) {
            return Err(StoreError::already_exists(Subject::Session, &new.id));
        }
        let cut = match origin {
            Origin::Cut(cut) => cut,
            Origin::Empty { legacy } => {
                let segment = self.add_segment(&new.id);
                let open = Slice { start: 0, stop: None, segment, offset: 0, base: Totals::ZERO };
                Cut { history: self.add_history(History { slices: vec![open], legacy }), turn_count: 0 }
            }
            Origin::Slices { slices, legacy } => {
                let turn_count = slices.last().and_then(|slice| slice.stop).unwrap_or(0);
                Cut { history: self.add_history(History { slices, legacy }), turn_count }
            }
        };
        self.state.standing(cut)?;
        let at = created_at.unwrap_or(self.now);
        let (id, state) = (new.id.clone(), &mut *self.state);
        if let Some(tombstone) = state.tombstones.remove(&id) {
            state.graves_of.remove(&(tombstone.family, id.clone()));
        }
        state.users_of.put((cut.history, User::Session(id.clone())), ());
        state.activity_of.put((at, id.clone()), ());
        state.members_of.put((new.family.clone(), id.clone()), ());
        state.sessions.put(id.clone(), record(new, cut, at));
        self.note_created(&id);
        Ok(())
    }

    /// Changes names and flags.
    pub(super) fn patch_session(&mut self, id: &SessionId, patch: SessionPatch) -> Result<(), StoreError> {
        if patch.is_empty() {
            return self.state.session(id).map(|_| ());
        }
        patch.apply(self.write_record(id)?);
        Ok(())
    }

    /// Marks a session as gone into a merge.
    pub(super) fn mark_merged(&mut self, id: &SessionId, into: SessionId) -> Result<(), StoreError> {
        let record = self.write_record(id)?;
        record.is_merged = true;
        record.merged_into = Some(into);
        Ok(())
    }

    /// Deletes a session and every turn that nothing else reaches.
    pub(super) fn delete_session(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let session = self.state.session(id)?.clone();
        let mut doomed = Doomed::default();
        doomed.add_cut(self.state, session.cut);
        self.state.checkpoints(id).for_each(|checkpoint| doomed.add_cut(self.state, checkpoint.cut));
        let owned: Vec<SegmentId> =
            listed(&self.state.segments_of, id, SegmentId(i64::MIN)).copied().collect();
        for segment in owned {
            doomed.add_segment(segment);
            self.state.segments_of.remove(&(id.clone(), segment));
            if let Some(row) = self.state.segments.edit(&segment) {
                row.owner = None;
            }
        }
        self.remove_checkpoints(id);
        self.state.crystals.remove(id);
        self.remove_old_rows(id);
        self.remove_run(id);
        self.state.ended_runs.remove(id);
        self.forget_keys_of(id);
        let state = &mut *self.state;
        state.users_of.remove(&(session.cut.history, User::Session(id.clone())));
        state.activity_of.remove(&(session.last_active, id.clone()));
        state.members_of.remove(&(session.family.clone(), id.clone()));
        state.sessions.remove(id);
        self.note_deleted(id);
        self.bury(session);
        self.purge(doomed);
        Ok(())
    }

    /// Leaves a tombstone while others of the family live; else removes the family's tombstones.
    fn bury(&mut self, session: Session) {
        let state = &mut *self.state;
        let Session { id, family, parent_id, fork_point, .. } = session;
        if state.members(&family).next().is_some() {
            state.graves_of.put((family.clone(), id.clone()), ());
            let tombstone = Tombstone { id: id.clone(), family, parent_id, fork_point, deleted_at: self.now };
            state.tombstones.put(id, tombstone);
            return;
        }
        let graves: Vec<SessionId> = state.graves(&family).cloned().collect();
        for grave in graves {
            state.tombstones.remove(&grave);
            state.graves_of.remove(&(family.clone(), grave));
        }
    }
}

fn record(new: NewSession, cut: Cut, at: Timestamp) -> Session {
    Session {
        id: new.id,
        family: new.family,
        project_id: new.project_id,
        parent_id: new.parent_id,
        fork_point: new.fork_point,
        branch_name: new.branch_name,
        title: new.title,
        tags: new.tags,
        pinned: false,
        archived: false,
        trailing: false,
        metadata: new.metadata,
        state: SessionState::Idle,
        is_merged: false,
        merged_into: None,
        version: 1,
        cut,
        totals: Totals::ZERO,
        flipped: 0,
        legacy: LegacyTotals::default(),
        created_at: at,
        last_active: at,
    }
}
