//! Carrying out a change. Whoever calls takes it back if it fails.

use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::time::Timestamp;

use super::events::Forgetting;
use super::state::State;
use crate::events::ChangeEvents;
use crate::{Change, Receipt, SessionStamp, StoreError, Subject, Write};

/// A change under way.
pub(super) struct Tx<'state> {
    pub(super) state: &'state mut State,
    /// The time of the change.
    pub(super) now: Timestamp,
    /// The time by which leases expire.
    pub(super) lease_clock: Timestamp,
    /// The sessions whose record or state it wrote and that are still there, in the order of the first
    /// writing.
    written: Vec<SessionId>,
    /// Those of them whose version has been raised, or starts with this change.
    raised: Vec<SessionId>,
    /// The sessions that it created.
    pub(super) created: Vec<SessionId>,
    events: ChangeEvents,
    forgetting: Option<Forgetting>,
}

/// Applies a change. On an error the tables are as far as it came.
pub(super) fn apply(
    state: &mut State,
    lease_clock: Timestamp,
    change: Change,
) -> Result<Receipt, StoreError> {
    if let Some(key) = &change.key
        && let Some(receipt) = state.replay(key, change.now)?
    {
        return Ok(receipt);
    }
    let mut tx = Tx {
        state,
        now: change.now,
        lease_clock,
        written: Vec::new(),
        raised: Vec::new(),
        created: Vec::new(),
        events: ChangeEvents::default(),
        forgetting: None,
    };
    for requirement in &change.require {
        tx.require(requirement)?;
    }
    for write in change.writes {
        tx.write(write)?;
    }
    let sessions = tx.stamps()?;
    let mut receipt = Receipt { sessions, result: String::new(), replayed: false };
    if let Some(key) = change.key {
        receipt.result.clone_from(&key.result);
        tx.remember(key, &receipt.sessions);
    }
    tx.keep_events()?;
    Ok(receipt)
}

impl Tx<'_> {
    fn write(&mut self, write: Write) -> Result<(), StoreError> {
        self.note_event(&write)?;
        match write {
            Write::CreateSession { session, origin, created_at } => {
                self.create_session(session, origin, created_at)
            }
            Write::AppendTurns { session, turns } => self.append_turns(&session, turns),
            Write::MoveSession { session, to, leave } => self.move_session(&session, to, leave),
            Write::PatchSession { session, patch } => self.patch_session(&session, patch),
            Write::MarkMerged { session, into } => self.mark_merged(&session, into),
            Write::DeleteSession { session } => self.delete_session(&session),
            Write::CreateCheckpoint { id, session, name, cut } => {
                self.create_checkpoint(id, &session, name, cut)
            }
            Write::DeleteCheckpoint { session, id } => self.delete_checkpoint(&session, &id),
            Write::AddSignal { at, signal } => self.add_signal(at, signal),
            Write::SetPast { session, past } => self.set_past(&session, past),
            Write::KeepOldRow(row) => {
                self.keep_old_row(row);
                Ok(())
            }
            Write::SaveCrystal(crystal) => self.save_crystal(crystal),
            Write::BeginRun { run, lease_for } => self.begin_run(run, lease_for),
            Write::AppendPieces { run, pieces } => self.append_pieces(&run, pieces),
            Write::RenewLease { run, lease_for } => self.renew_lease(&run, lease_for),
            Write::SuspendRun { run } => self.suspend_run(&run),
            Write::ResumeRun { run, lease, lease_for } => self.resume_run(&run, lease, lease_for),
            Write::RequestStop { run } => self.request_stop(&run),
            Write::FinishRun { run, turn, shape } => self.finish_run(&run, *turn, shape),
            Write::ForgetEndedRuns { before } => {
                self.forget_ended_runs(before);
                Ok(())
            }
            Write::ForgetKeys { before } => {
                self.forget_keys(before);
                Ok(())
            }
            Write::ForgetEvents { before, keep } => {
                self.forgetting = Some(Forgetting { before, keep });
                Ok(())
            }
            Write::TakeLead { role, instance, lease_for, dead_leader } => {
                self.take_lead(role, instance, lease_for, dead_leader.as_ref())
            }
            Write::GiveUpLead { role, instance } => {
                self.give_up_lead(role, &instance);
                Ok(())
            }
        }
    }

    /// Notes what a write that is about to be carried out does. If it fails, all of the change does.
    fn note_event(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::DeleteSession { session } => {
                let version = self.state.session(session)?.version;
                self.events.note_deleted(session, version);
            }
            Write::AddSignal { at, .. } => {
                self.state.holders(*at).iter().for_each(|session| self.events.note(write, session));
            }
            Write::SuspendRun { run } | Write::ResumeRun { run, .. } | Write::FinishRun { run, .. } => {
                if let Some(row) = self.state.find_run_row(run) {
                    self.events.note(write, &row.run.session);
                }
            }
            other => {
                if let Some(session) = other.session() {
                    self.events.note(write, session);
                }
            }
        }
        Ok(())
    }

    /// Numbers the events; nothing fails after this.
    fn keep_events(self) -> Result<(), StoreError> {
        let state = self.state;
        let events = self.events.finish(|session| state.session(session).map(|record| record.version))?;
        state.events.add(events, self.now);
        if let Some(forgetting) = self.forgetting {
            state.events.forget(forgetting);
        }
        Ok(())
    }

    /// A session's record, to change in place.
    pub(super) fn edit(&mut self, id: &SessionId) -> Result<&mut Session, StoreError> {
        self.state.sessions.edit(id).ok_or_else(|| StoreError::not_found(Subject::Session, id))
    }

    /// A session's record, to write: its version rises once per change.
    pub(super) fn write_record(&mut self, id: &SessionId) -> Result<&mut Session, StoreError> {
        let is_first = !self.raised.contains(id);
        if is_first {
            self.raised.push(id.clone());
        }
        let record = self.write_state(id)?;
        record.version += u64::from(is_first);
        Ok(record)
    }

    /// A session's record, to write its state alone: its version stays.
    pub(super) fn write_state(&mut self, id: &SessionId) -> Result<&mut Session, StoreError> {
        if !self.written.contains(id) {
            self.written.push(id.clone());
        }
        self.edit(id)
    }

    /// Notes that the session's turns change now; activity never goes back.
    pub(super) fn touch(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let now = self.now;
        let record = self.edit(id)?;
        let before = record.last_active;
        if before < now {
            record.last_active = now;
            self.state.activity_of.remove(&(before, id.clone()));
            self.state.activity_of.put((now, id.clone()), ());
        }
        Ok(())
    }

    /// Notes a session that the change created, at version 1.
    pub(super) fn note_created(&mut self, id: &SessionId) {
        self.written.push(id.clone());
        self.raised.push(id.clone());
        self.created.push(id.clone());
    }

    /// Notes a session that the change deleted.
    pub(super) fn note_deleted(&mut self, id: &SessionId) {
        self.written.retain(|written| written != id);
        self.raised.retain(|raised| raised != id);
        self.created.retain(|created| created != id);
    }

    fn stamps(&self) -> Result<Vec<SessionStamp>, StoreError> {
        let records = self.written.iter().filter_map(|id| self.state.sessions.get(id));
        let stamp = |record| {
            // The record itself does not hold what is derived.
            let session = self.state.view(record)?;
            let standing = session.standing();
            Ok(SessionStamp { id: session.id, version: session.version, cut: session.cut, standing })
        };
        records.map(stamp).collect()
    }
}
