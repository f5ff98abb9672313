//! The queue before the writer: many callers become one batch; a caller that is alone is served at once.
//!
//! Handing a change to another thread and waking up again costs about half as much as the commit itself. Who
//! finds nobody else, while commits are short, therefore uses the writer on the spot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use membrane_store::events::EventBell;
use membrane_store::{StoreError, StoreGauges};
use tokio::sync::{mpsc, oneshot};

use crate::apply::Prepared;
use crate::counts::Totals;
use crate::error::{OpenError, crowded};
use crate::options::SqliteOptions;
use crate::pace::Pace;
use crate::telemetry::Meters;
use crate::v1::Upgrade;
use crate::writer::{Outcome, Writer};

/// The longest commit, on the average of the last few, that may run on a caller's thread: what an
/// asynchronous runtime does not notice.
const MAX_ON_THE_SPOT: Duration = Duration::from_micros(500);

/// What the writer is asked to do.
enum Request {
    /// Commit a change and say how it went.
    Commit { change: Box<Prepared>, reply: oneshot::Sender<Outcome> },
    /// Move the log, which has become long.
    MoveLog,
    /// Stop after everything that was asked before.
    Close { reply: oneshot::Sender<Result<(), StoreError>> },
}

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    upgrade: Option<Upgrade>,
    requests: mpsc::Sender<Request>,
    desk: Arc<Desk>,
    patience: Duration,
}

/// What the thread and the callers share.
#[derive(Debug)]
struct Desk {
    /// Gone once the store is closed.
    writer: Mutex<Option<Writer>>,
    /// How much there is.
    totals: Arc<Totals>,
    /// Whether the last batch was a single change.
    was_alone: AtomicBool,
    /// How long a commit of a single change takes.
    pace: Pace,
}

impl Desk {
    /// Whoever panicked with the lock may have left a transaction open; the writer rolls it back.
    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_batch(&self, n_changes: usize, took: Duration) {
        self.was_alone.store(n_changes == 1, Ordering::Relaxed);
        if n_changes == 1 {
            self.pace.note(took);
        }
    }

    fn is_on_the_spot_worth_it(&self) -> bool {
        self.was_alone.load(Ordering::Relaxed) && self.pace.is_within(MAX_ON_THE_SPOT)
    }
}

impl WriteQueue {
    /// Starts the writer's thread; it opens and migrates the file before this returns.
    pub(crate) async fn start(
        options: &SqliteOptions,
        meters: &Meters,
        bell: Arc<EventBell>,
    ) -> Result<Self, OpenError> {
        let (requests, inbox) = mpsc::channel(options.queue_len.max(1));
        let (opened, is_open) = oneshot::channel();
        let patience = options.busy_timeout;
        let (options, meters) = (options.clone(), meters.clone());
        std::thread::Builder::new()
            .name("membrane-writer".to_owned())
            .spawn(move || match Writer::open(&options, meters, bell) {
                Ok(mut writer) => {
                    let upgrade = writer.take_upgrade();
                    let max_batch = writer.max_batch();
                    let desk = Arc::new(Desk {
                        totals: writer.totals(),
                        writer: Mutex::new(Some(writer)),
                        was_alone: AtomicBool::new(false),
                        pace: Pace::default(),
                    });
                    if opened.send(Ok((Arc::clone(&desk), upgrade))).is_ok() {
                        serve(&desk, inbox, max_batch);
                    }
                }
                Err(error) => {
                    let error = error.of(&options.path);
                    // Nobody listens only if the opening was given up.
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(OpenError::Thread)?;
        let (desk, upgrade) = is_open.await.unwrap_or(Err(OpenError::Store(StoreError::Closed)))?;
        Ok(Self { upgrade, requests, desk, patience })
    }

    /// What opening the file did to an old one.
    pub(crate) fn upgrade(&self) -> Option<&Upgrade> {
        self.upgrade.as_ref()
    }

    /// Commits a change, together with those that wait at the same moment.
    pub(crate) async fn commit(&self, change: Prepared) -> Outcome {
        if let Some(outcome) = self.commit_on_the_spot(&change) {
            return outcome;
        }
        self.ask(|reply| Request::Commit { change: Box::new(change), reply }).await
    }

    /// How much there is, bytes aside, and how many changes wait.
    pub(crate) fn gauges(&self) -> Result<StoreGauges, StoreError> {
        if self.requests.is_closed() {
            return Err(StoreError::Closed);
        }
        let (sessions, turns) = self.desk.totals.get();
        let count = |places: usize| u64::try_from(places).unwrap_or(u64::MAX);
        let places = self.requests.max_capacity();
        let queued = count(places.saturating_sub(self.requests.capacity()));
        Ok(StoreGauges { sessions, turns, queued, queue_capacity: count(places), ..StoreGauges::default() })
    }

    /// Closes the file after everything that was asked before.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.ask(|reply| Request::Close { reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send_timeout(request(reply), self.patience).await {
            Ok(()) => answer.await.unwrap_or(Err(StoreError::Closed)),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(crowded()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(StoreError::Closed),
        }
    }

    /// `None` if somebody else is there, commits take long, or another process holds the database: then it
    /// is a matter for the queue.
    fn commit_on_the_spot(&self, change: &Prepared) -> Option<Outcome> {
        if self.requests.capacity() < self.requests.max_capacity() || !self.desk.is_on_the_spot_worth_it() {
            return None;
        }
        let mut writer = match self.desk.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => return None,
        };
        let start = Instant::now();
        let writer = writer.as_mut()?;
        let outcome = writer.commit_if_free(change);
        match &outcome {
            Some(_) => self.desk.note_batch(1, start.elapsed()),
            None => self.desk.was_alone.store(false, Ordering::Relaxed),
        }
        if writer.is_log_long() {
            // The next change waits its turn behind this, else the log would never get to move. A full queue has
            // others in it, and the log moves after their batch.
            let _ = self.requests.try_send(Request::MoveLog);
            self.desk.was_alone.store(false, Ordering::Relaxed);
        }
        outcome
    }
}

fn serve(desk: &Desk, mut inbox: mpsc::Receiver<Request>, max_batch: usize) {
    let mut changes = Vec::new();
    let mut replies = Vec::new();
    while let Some(first) = inbox.blocking_recv() {
        let mut desk_writer = desk.writer();
        let Some(writer) = desk_writer.as_mut() else { return };
        let mut closing = None;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit { change, reply } => {
                    changes.push(*change);
                    replies.push(reply);
                }
                Request::MoveLog => {}
                Request::Close { reply } => closing = Some(reply),
            }
            let go_on = closing.is_none() && changes.len() < max_batch;
            next = if go_on { inbox.try_recv().ok() } else { None };
        }
        if !changes.is_empty() {
            let start = Instant::now();
            let outcomes = writer.commit_all(&changes);
            desk.note_batch(changes.len(), start.elapsed());
            changes.clear();
            for (reply, outcome) in replies.drain(..).zip(outcomes) {
                // A caller that went away does not want to know.
                let _ = reply.send(outcome);
            }
        }
        writer.move_log_if_long();
        if let Some(reply) = closing {
            inbox.close();
            let closed = desk_writer.take().map_or(Ok(()), Writer::close);
            let _ = reply.send(closed);
            return;
        }
    }
}
