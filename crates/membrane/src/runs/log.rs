//! A run's signs of life in the store: its pieces go to the log, its lease is renewed. One commit at a time,
//! beside the answer that goes on arriving. What a refusal means for the run is not decided here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::run::Piece;
use membrane_store::{Change, Receipt, Requirement, StoreError, Write};
use tokio::time::{Instant, sleep_until};

use super::live::LiveRun;
use crate::chat::Chat;

/// How many moments in the time between two flushes of a run others are flushed at.
const FLUSHES_APART: u32 = 8;

/// How much longer than otherwise pieces wait that were refused.
const WAIT_FACTOR: u32 = 5;

type Commit = Pin<Box<dyn Future<Output = Result<Receipt, StoreError>> + Send>>;

/// What of a run is in the store.
pub(super) struct RunLog {
    chat: Chat,
    live: Arc<LiveRun>,
    /// How many pieces are there.
    n_logged: usize,
    /// A commit under way, and how many pieces are there once it is done.
    under_way: Option<(Commit, usize)>,
    /// Whether the last commit was refused: what is large may be what the store cannot take.
    is_refused: bool,
    next_flush: Instant,
    next_renewal: Instant,
}

impl RunLog {
    pub(super) fn new(chat: &Chat, live: &Arc<LiveRun>) -> Self {
        let (settings, now) = (chat.run_settings(), Instant::now());
        Self {
            chat: chat.clone(),
            live: Arc::clone(live),
            // What it was made with comes from there.
            n_logged: live.n_pieces(),
            under_way: None,
            is_refused: false,
            next_flush: next_flush(chat, settings.flush_every),
            next_renewal: now + settings.renew_every,
        }
    }

    /// Writes what is due, whenever it is due; returns only when a write was refused for good.
    ///
    /// # Cancel safety
    /// To be called again after it was dropped.
    pub(super) async fn tend(&mut self) -> StoreError {
        loop {
            if let Err(refusal) = self.settle().await {
                return refusal;
            }
            let has_news = self.live.n_pieces() > self.n_logged;
            let due = if has_news { self.next_flush.min(self.next_renewal) } else { self.next_renewal };
            sleep_until(due).await;
            self.begin();
        }
    }

    /// Waits for the commit that is under way, if there is one. Fails only when it was refused for good.
    ///
    /// # Cancel safety
    /// To be called again after it was dropped.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        let Some((commit, n_logged)) = &mut self.under_way else { return Ok(()) };
        let (result, n_logged) = (commit.await, *n_logged);
        self.under_way = None;
        match result {
            Ok(_) => {
                // A renewal alone says nothing of the pieces.
                self.is_refused &= n_logged == self.n_logged;
                self.n_logged = n_logged;
            }
            Err(error) if is_final(&error) => return Err(error),
            // The pieces stay, and are written with the next ones. So is the sign of life that was perhaps among it.
            Err(error) => {
                self.is_refused = true;
                let soon = next_flush(&self.chat, self.chat.run_settings().flush_every * WAIT_FACTOR);
                self.next_renewal = self.next_renewal.min(soon);
                tracing::warn!(%error, run.id = %self.live.run().id, "a run's log could not be written");
            }
        }
        Ok(())
    }

    /// How many pieces are in the log.
    pub(super) fn n_logged(&self) -> usize {
        self.n_logged
    }

    fn begin(&mut self) {
        let (settings, now) = (self.chat.run_settings(), Instant::now());
        let is_renewal_due = now >= self.next_renewal;
        let is_renewal_alone = self.is_refused && is_renewal_due;
        let mut news = self.live.pieces_from(self.n_logged);
        if is_renewal_alone {
            news.clear();
        }
        let n_logged = self.n_logged + news.len();
        let run = self.live.run();
        let mut change = Change::at(self.chat.now())
            .require(Requirement::Lease { run: run.id.clone(), token: run.lease.token });
        if is_renewal_due {
            change = change.write(Write::RenewLease { run: run.id.clone(), lease_for: settings.lease_for });
        }
        if !news.is_empty() {
            let pieces = news.iter().map(|piece| Piece::clone(piece)).collect();
            change = change.write(Write::AppendPieces { run: run.id.clone(), pieces });
        }
        let wait = if self.is_refused { WAIT_FACTOR } else { 1 };
        self.next_flush = next_flush(&self.chat, settings.flush_every * wait);
        if is_renewal_due {
            self.next_renewal = now + settings.renew_every;
        }
        let chat = self.chat.clone();
        let commit = Box::pin(async move { chat.store().commit(change).await });
        self.under_way = Some((commit, n_logged));
    }
}

/// When what has arrived by then is to be written: `every` from now, or up to an eighth of it earlier, when other runs of the
/// process are flushed, too: what is written together costs the disk one write.
fn next_flush(chat: &Chat, every: Duration) -> Instant {
    let began = chat.runs().began();
    let due = (Instant::now() + every).duration_since(began).as_nanos();
    let grid = (every / FLUSHES_APART).as_nanos().max(1);
    began + Duration::from_nanos(u64::try_from(due - due % grid).unwrap_or(u64::MAX))
}

/// Whether a write was refused for good: trying again cannot help.
pub(super) fn is_final(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable { .. } | StoreError::StorageFull | StoreError::Backend { .. })
}
