//! Runs whose process is gone are closed with what had arrived of their answers; idempotency keys and
//! events that have had their time are forgotten. To be called at the start and from time to time.

use membrane_core::ids::{InstanceId, SessionId};
use membrane_core::run::{Run, RunEnd, RunPhase, RunShape};
use membrane_store::change::KEY_LIFETIME;
use membrane_store::{Change, Requirement, StoreError, Write};

use std::sync::atomic::{AtomicU64, Ordering};

use crate::chat::Chat;
use crate::error::ChatError;

/// How many runs are looked for at once.
const BATCH: u32 = 256;

/// What became of runs whose process was gone.
#[derive(Debug, Default)]
pub(crate) struct Recoveries {
    n_closed: AtomicU64,
    n_left: AtomicU64,
}

/// Runs whose process is gone, as far as this process has seen to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryGauges {
    /// How many it has closed in all.
    pub closed: u64,
    /// How many it found the last time that it looked for them and could not close.
    pub left: u64,
}

impl Chat {
    /// What became of runs whose process was gone, without looking for any.
    pub fn recovery_gauges(&self) -> RecoveryGauges {
        let Recoveries { n_closed, n_left } = &self.shared.recoveries;
        RecoveryGauges { closed: n_closed.load(Ordering::Relaxed), left: n_left.load(Ordering::Relaxed) }
    }

    /// Closes the runs of processes that are known to be dead and those whose lease has expired: each becomes
    /// an interrupted turn with the text that had arrived. Gives how many were closed. Safe to call in
    /// several processes at once. Makes this process known as alive first.
    ///
    /// # Errors
    /// Why the first of those that could not be closed could not, after all others were.
    pub async fn recover_runs(&self) -> Result<usize, ChatError> {
        self.instance().await?;
        let (mut n_closed, mut trouble) = (0, None);
        loop {
            let owners = self.store().list_lease_owners().await?;
            let dead = self.store().list_dead_instances(&owners).await?;
            let stale = self.store().list_stale_runs(&dead, BATCH).await?;
            let (mut n_now, mut n_left) = (0, 0);
            for run in stale.iter().filter(|run| !self.drives(run)) {
                match self.recover_run(run, &dead).await {
                    Ok(is_closed) => n_now += usize::from(is_closed),
                    Err(error) => {
                        n_left += 1;
                        trouble = trouble.or(Some(error));
                    }
                }
            }
            n_closed += n_now;
            self.shared.recoveries.n_left.store(n_left, Ordering::Relaxed);
            // Those that are left are somebody's after all.
            if n_now == 0 || stale.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return trouble.map_or(Ok(n_closed), Err);
            }
        }
    }

    /// Closes a session's run if its process is gone; whether there was one to close. Who finds a session busy
    /// need not wait for the next round.
    pub(super) async fn recover_session(&self, id: &SessionId) -> Result<bool, ChatError> {
        let Some(run) = self.store().find_run(id).await? else { return Ok(false) };
        if run.phase != RunPhase::Running || self.drives(&run) {
            return Ok(false);
        }
        let dead = self.store().list_dead_instances(std::slice::from_ref(&run.lease.owner)).await?;
        self.recover_run(&run, &dead).await
    }

    /// Forgets what has had its time: ended runs, idempotency keys and events.
    pub async fn sweep(&self) -> Result<(), ChatError> {
        self.runs().forget_ended(self.run_settings().keep_ended_for);
        let now = self.now();
        let change = Change::at(now)
            .write(Write::ForgetKeys { before: now.minus(KEY_LIFETIME) })
            .write(Write::ForgetEndedRuns { before: now.minus(self.run_settings().keep_ended_for) });
        self.store().commit(change).await?;
        self.forget_events().await
    }

    /// Whether this process is still at it, even if the store could not be told for a while.
    fn drives(&self, run: &Run) -> bool {
        self.runs().is_open(&run.id)
    }

    async fn recover_run(&self, run: &Run, dead: &[InstanceId]) -> Result<bool, ChatError> {
        let owner = dead.contains(&run.lease.owner).then(|| run.lease.owner.clone());
        let message = "the server stopped while the turn was under way; what had arrived is kept";
        match self.close_run(run, owner, RunEnd::interrupted("server_stopped", message)).await {
            Ok(()) => {
                self.shared.recoveries.n_closed.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            // It ended, was closed by another, was deleted, or showed a sign of life in the meantime.
            Err(
                ChatError::NotFound { .. }
                | ChatError::Store(StoreError::LeaseLost { .. } | StoreError::LeaseHeld { .. }),
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a run that nobody drives, with what is in its log.
    pub(super) async fn close_run(
        &self,
        run: &Run,
        dead_owner: Option<InstanceId>,
        end: RunEnd,
    ) -> Result<(), ChatError> {
        let pieces = self.store().list_pieces(&run.id, 0).await?;
        let now = self.now();
        let turn = run.finish(&pieces, end, now);
        let shape = RunShape::of(pieces.iter().map(|piece| &piece.body));
        let change = Change::at(now)
            .require(Requirement::Abandoned { run: run.id.clone(), dead_owner })
            .write(Write::FinishRun { run: run.id.clone(), turn: Box::new(turn), shape });
        self.store().commit(change).await?;
        Ok(())
    }
}
