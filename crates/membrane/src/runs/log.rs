//! A run's signs of life in the store: its pieces go to the log, its lease is renewed. One commit at a time,
//! beside the answer that goes on arriving.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use membrane_core::run::Piece;
use membrane_store::{Change, Receipt, Requirement, StoreError, Write};
use tokio::time::{Instant, sleep_until};

use super::live::{LiveRun, RunOutcome};
use crate::chat::Chat;

type Commit = Pin<Box<dyn Future<Output = Result<Receipt, StoreError>> + Send>>;

/// What of a run is in the store.
pub(super) struct RunLog {
    chat: Chat,
    live: Arc<LiveRun>,
    /// How many pieces are there.
    n_logged: usize,
    /// A commit under way, and how many pieces are there once it is done.
    under_way: Option<(Commit, usize)>,
    next_flush: Instant,
    next_renewal: Instant,
}

impl RunLog {
    pub(super) fn new(chat: &Chat, live: &Arc<LiveRun>) -> Self {
        let (settings, now) = (chat.run_settings(), Instant::now());
        Self {
            chat: chat.clone(),
            live: Arc::clone(live),
            n_logged: 0,
            under_way: None,
            next_flush: now + settings.flush_every,
            next_renewal: now + settings.renew_every,
        }
    }

    /// Writes what is due, whenever it is due; returns only when the run is no longer this process's.
    ///
    /// # Cancel safety
    /// To be called again after it was dropped.
    pub(super) async fn tend(&mut self) -> RunOutcome {
        loop {
            if let Err(lost) = self.settle().await {
                return lost;
            }
            let has_news = !self.live.pieces_from(self.n_logged).is_empty();
            let due = if has_news { self.next_flush.min(self.next_renewal) } else { self.next_renewal };
            sleep_until(due).await;
            self.begin();
        }
    }

    /// Waits for the commit that is under way, if there is one.
    ///
    /// # Cancel safety
    /// To be called again after it was dropped.
    pub(super) async fn settle(&mut self) -> Result<(), RunOutcome> {
        let Some((commit, n_logged)) = &mut self.under_way else { return Ok(()) };
        let (result, n_logged) = (commit.await, *n_logged);
        self.under_way = None;
        let Err(error) = result else {
            self.n_logged = n_logged;
            return Ok(());
        };
        if let Some(lost) = lost(&error) {
            return Err(lost);
        }
        // The pieces stay, and are written with the next ones.
        tracing::warn!(%error, run.id = %self.live.run().id, "a run's log could not be written");
        Ok(())
    }

    fn begin(&mut self) {
        let (settings, now) = (self.chat.run_settings(), Instant::now());
        let run = self.live.run();
        let news = self.live.pieces_from(self.n_logged);
        let n_logged = self.n_logged + news.len();
        let mut change = Change::at(self.chat.now())
            .require(Requirement::Lease { run: run.id.clone(), token: run.lease.token })
            .write(Write::RenewLease { run: run.id.clone(), lease_for: settings.lease_for });
        if !news.is_empty() {
            let pieces = news.iter().map(|piece| Piece::clone(piece)).collect();
            change = change.write(Write::AppendPieces { run: run.id.clone(), pieces });
        }
        self.next_flush = now + settings.flush_every;
        self.next_renewal = now + settings.renew_every;
        let chat = self.chat.clone();
        let commit = Box::pin(async move { chat.store().commit(change).await });
        self.under_way = Some((commit, n_logged));
    }
}

/// How a run ends whose write was refused for good; `None` if trying again may help.
pub(super) fn lost(error: &StoreError) -> Option<RunOutcome> {
    let (code, message) = match error {
        StoreError::Unavailable { .. } | StoreError::StorageFull | StoreError::Backend { .. } => return None,
        StoreError::NotFound { .. } => {
            ("not_found", "the session was deleted while its turn was under way".to_owned())
        }
        StoreError::LeaseLost { .. } => {
            ("lease_lost", "another server has closed this turn; load the session to see it".to_owned())
        }
        StoreError::Closed => ("unavailable", "the server is stopping; send again".to_owned()),
        other => {
            tracing::error!(error = other as &dyn std::error::Error, "a run's write was refused");
            ("internal", "the turn could not be kept; what the user said is".to_owned())
        }
    };
    Some(RunOutcome::Lost { code, message })
}
