//! Runs: the unfinished turn, its log and its lease.

use std::time::Duration;

use membrane_core::ids::{RunId, SessionId};
use membrane_core::run::{EndedRun, Lease, Piece, Run, RunPhase, RunShape};
use membrane_core::state::State as SessionState;
use membrane_core::time::Timestamp;
use membrane_core::turn::Turn;

use super::apply::Tx;
use super::state::{RunRow, State};
use crate::{StoreError, Subject};

impl RunRow {
    /// Whether its lease has run out. A run that waits for a tool has none.
    pub(super) fn has_expired(&self, lease_clock: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until <= lease_clock)
    }
}

impl State {
    pub(super) fn find_run_row(&self, id: &RunId) -> Option<&RunRow> {
        self.session_of_run.get(id).and_then(|session| self.runs.get(session))
    }

    /// The number that a run's next piece gets.
    pub(super) fn next_seq(&self, id: &RunId) -> u64 {
        let last = self.pieces.range((id.clone(), 0)..=(id.clone(), u64::MAX)).next_back();
        last.map_or(0, |(key, _)| key.1.saturating_add(1))
    }
}

impl Tx<'_> {
    /// Opens a run; the session becomes `processing`.
    pub(super) fn begin_run(&mut self, run: Run, lease_for: Duration) -> Result<(), StoreError> {
        let session = run.session.clone();
        self.state.session(&session)?;
        if let Some(open) = self.state.runs.get(&session) {
            return Err(StoreError::Busy { session, since: open.run.started_at });
        }
        if self.state.session_of_run.contains(&run.id) {
            return Err(StoreError::already_exists(Subject::Run, &run.id));
        }
        self.state.session_of_run.put(run.id.clone(), session.clone());
        let lease_until = Some(self.lease_clock.plus(lease_for));
        self.set_state(&session, SessionState::Processing)?;
        let version = self.state.session(&session)?.version;
        let run = Run { phase: RunPhase::Running, version, ..run };
        self.state.runs.put(session, RunRow { run, lease_until, is_to_stop: false });
        Ok(())
    }

    /// Adds pieces to the log; their numbers go on without a gap.
    pub(super) fn append_pieces(&mut self, id: &RunId, pieces: Vec<Piece>) -> Result<(), StoreError> {
        self.edit_run(id)?;
        for (seq, piece) in (self.state.next_seq(id)..).zip(pieces) {
            if piece.seq != seq {
                // Somebody else writes this run's log.
                return Err(StoreError::LeaseLost { run: id.clone() });
            }
            self.state.pieces.put((id.clone(), seq), piece.body);
        }
        Ok(())
    }

    /// Lets the lease last from now on.
    pub(super) fn renew_lease(&mut self, id: &RunId, lease_for: Duration) -> Result<(), StoreError> {
        let until = self.lease_clock.plus(lease_for);
        let row = self.edit_run(id)?;
        // A run that waits for a tool holds no lease; there is nothing to renew then.
        row.lease_until = row.lease_until.map(|_| until);
        Ok(())
    }

    /// The run waits for a tool and holds no lease.
    pub(super) fn suspend_run(&mut self, id: &RunId) -> Result<(), StoreError> {
        let row = self.edit_run(id)?;
        row.lease_until = None;
        row.run.phase = RunPhase::AwaitingTool;
        let session = row.run.session.clone();
        self.set_state(&session, SessionState::AwaitingTool)
    }

    /// The run goes on under a new lease.
    pub(super) fn resume_run(
        &mut self,
        id: &RunId,
        lease: Lease,
        lease_for: Duration,
    ) -> Result<(), StoreError> {
        let until = self.lease_clock.plus(lease_for);
        let row = self.edit_run(id)?;
        row.lease_until = Some(until);
        row.run.phase = RunPhase::Running;
        row.run.lease = lease;
        let session = row.run.session.clone();
        self.set_state(&session, SessionState::Processing)
    }

    /// Whoever drives it is to stop.
    pub(super) fn request_stop(&mut self, id: &RunId) -> Result<(), StoreError> {
        self.edit_run(id)?.is_to_stop = true;
        Ok(())
    }

    /// Ends a run: its turn is appended, the run and its log go.
    pub(super) fn finish_run(&mut self, id: &RunId, turn: Turn, shape: RunShape) -> Result<(), StoreError> {
        let Run { session, version, .. } = self.edit_run(id)?.run.clone();
        self.remove_run(&session);
        self.set_state(&session, SessionState::Idle)?;
        let turn_number = self.state.session(&session)?.turn_count();
        let ended = EndedRun { turn_id: turn.id.clone(), turn_number, version, shape, ended_at: self.now };
        self.state.ended_runs.put(session.clone(), ended);
        self.append_turns(&session, vec![turn])
    }

    /// Forgets how runs came that ended before `before`.
    pub(super) fn forget_ended_runs(&mut self, before: Timestamp) {
        let old = self.state.ended_runs.iter().filter(|(_, ended)| ended.ended_at < before);
        let old: Vec<SessionId> = old.map(|(session, _)| session.clone()).collect();
        for session in &old {
            self.state.ended_runs.remove(session);
        }
    }

    /// Removes the run that is open on a session, if there is one, and its log.
    pub(super) fn remove_run(&mut self, session: &SessionId) {
        let Some(RunRow { run, .. }) = self.state.runs.remove(session) else { return };
        self.state.session_of_run.remove(&run.id);
        for seq in 0..self.state.next_seq(&run.id) {
            self.state.pieces.remove(&(run.id.clone(), seq));
        }
    }

    fn edit_run(&mut self, id: &RunId) -> Result<&mut RunRow, StoreError> {
        let missing = || StoreError::not_found(Subject::Run, id);
        let session = self.state.session_of_run.get(id).ok_or_else(missing)?;
        self.state.runs.edit(session).ok_or_else(missing)
    }

    fn set_state(&mut self, session: &SessionId, state: SessionState) -> Result<(), StoreError> {
        self.write_state(session)?.state = state;
        Ok(())
    }
}
