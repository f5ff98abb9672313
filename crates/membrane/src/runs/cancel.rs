//! Stopping a turn under way, on whichever process it is.

use std::time::Duration;

use membrane_core::ids::SessionId;
use membrane_core::run::{Run, RunEnd, RunPhase};
use membrane_core::state::{Action, State};
use membrane_store::{Change, StoreError, Write};
use tokio::time::{Instant, sleep, timeout};

use super::live::Stop;
use super::reader::RunReader;
use crate::chat::Chat;
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};

/// How long a cancel waits for the turn to be kept before it answers all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether another process has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often a process that drives runs looks whether others want one to stop.
const WATCH_EVERY: Duration = Duration::from_millis(500);

impl Chat {
    /// Stops the turn that is under way on a session, whichever process drives it. It is kept with what had arrived.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: nothing is under way.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn cancel(&self, id: &SessionId, key: Option<ClientKey>) -> Result<(), ChatError> {
        let scope = Scope::new("cancel", Some(id), key)?;
        let (chat, id) = (self.clone(), id.clone());
        // In a task of its own: whoever called may be gone before the turn has ended.
        let task = tokio::spawn(async move { chat.cancel_once(&id, scope).await });
        task.await.unwrap_or(Err(ChatError::Closed))
    }

    async fn cancel_once(&self, id: &SessionId, scope: Option<Scope>) -> Result<(), ChatError> {
        let Some(scope) = scope else { return self.stop_turn(id).await };
        if self.find_receipt(&scope).await?.is_some() {
            return Ok(());
        }
        self.stop_turn(id).await?;
        let done = Change::at(self.now()).once(Some(scope.with("")));
        self.store().commit(done).await?;
        Ok(())
    }

    async fn stop_turn(&self, id: &SessionId) -> Result<(), ChatError> {
        let session = self.get_session(id).await?;
        if session.state == State::Processing
            && let Some(run) = self.store().find_run(id).await?
        {
            self.runs().has_begun(&run.turn_id).await;
        }
        // One whose turn is kept is over, though its task may still be putting its things away.
        if let Some(live) = self.runs().find_open(id).filter(|live| !live.is_kept()) {
            live.stop(Stop::Cancelled);
            let mut reader = RunReader::new(live, None);
            let ended = async { while reader.next().await.is_some() {} };
            // A store that is slow to take the turn does not make the cancel any less of one.
            let _ = timeout(PATIENCE, ended).await;
        } else {
            session.state.require(id, Action::Cancel)?;
        }
        let Some(run) = self.store().find_run(id).await? else { return Ok(()) };
        if self.runs().is_open(&run.id) {
            return Ok(());
        }
        self.stop_elsewhere(run).await
    }

    /// Closes a run that nobody drives, or asks whoever does to stop it, and waits until that is done.
    async fn stop_elsewhere(&self, run: Run) -> Result<(), ChatError> {
        if self.close_cancelled(&run).await? {
            return Ok(());
        }
        let ask = Change::at(self.now()).write(Write::RequestStop { run: run.id.clone() });
        match self.store().commit(ask).await {
            // It has ended in the meantime.
            Err(StoreError::NotFound { .. }) => return Ok(()),
            result => result?,
        };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            sleep(LOOK_EVERY).await;
            match self.store().find_run(&run.session).await? {
                Some(now) if now.id == run.id && now.phase == RunPhase::AwaitingTool => {
                    // It came to wait for a tool before it was looked at.
                    return self.close_cancelled(&now).await.map(|_| ());
                }
                Some(now) if now.id == run.id => {}
                _ => return Ok(()),
            }
        }
        // Whoever drives it does not look; when its lease ends, the turn does.
        Ok(())
    }

    /// Whether the run is closed: nobody drove it, or it has ended.
    async fn close_cancelled(&self, run: &Run) -> Result<bool, ChatError> {
        let end = RunEnd::interrupted("cancelled", "stopped by the user; what had arrived is kept");
        let owner = run.lease.owner.clone();
        let is_dead = !self.store().list_dead_instances(std::slice::from_ref(&owner)).await?.is_empty();
        match self.close_run(run, is_dead.then_some(owner), end).await {
            Ok(()) | Err(ChatError::NotFound { .. } | ChatError::Store(StoreError::LeaseLost { .. })) => {
                Ok(true)
            }
            Err(ChatError::Store(StoreError::LeaseHeld { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that as long as this process drives runs it looks whether others want one to stop.
    pub(super) fn watch_stops(&self) {
        let Some(watch) = self.runs().begin_watch() else { return };
        let chat = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(WATCH_EVERY).await;
                if !chat.runs().goes_on(&watch) {
                    return;
                }
                match chat.list_stop_requests().await {
                    Ok(runs) => runs.iter().for_each(|run| chat.runs().stop(run, Stop::Cancelled)),
                    Err(error) => tracing::debug!(%error, "requests to stop could not be read"),
                }
            }
        });
    }

    async fn list_stop_requests(&self) -> Result<Vec<membrane_core::ids::RunId>, ChatError> {
        let owner = self.instance().await?;
        Ok(self.store().list_stop_requests(&owner).await?)
    }
}
