//! How many sessions and turns there are, without counting them at each look: counted at opening, and then gone on with
//! what each commit of this store has added and removed.
//!
//! What others write is not told to anybody here, so all is counted again now and then, but not for more than a hundredth
//! of the time. A count and the commits beside it are kept apart by a lock that is held for as long as a COMMIT, or the
//! beginning of a count, is on its way.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future;
use membrane_store::StoreError;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::db::Db;
use crate::error::Doing;
use crate::rows::unsigned;
use crate::tally::Tally;

/// The shortest time between two counts, and how many times longer than a count the time to the next is.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 100;

/// How long commits may be held up for a count to begin. If it cannot by then, the next one may.
const PATIENCE: Duration = Duration::from_millis(10);

/// The numbers of one store.
#[derive(Debug)]
pub(crate) struct Counts {
    /// A commit holds it shared, from before it is sent until its tally was added.
    gate: RwLock<()>,
    sessions: AtomicI64,
    turns: AtomicI64,
    /// When the next count may begin; nobody counts while it is far ahead.
    not_before: Mutex<Instant>,
}

/// A commit on its way.
#[derive(Debug)]
pub(crate) struct Committing<'a> {
    counts: &'a Counts,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Committing<'_> {
    /// It was committed.
    pub(crate) fn keep(self, tally: Tally) {
        self.counts.sessions.fetch_add(tally.sessions, Ordering::Relaxed);
        self.counts.turns.fetch_add(tally.turns, Ordering::Relaxed);
    }
}

impl Counts {
    /// Counts all, before the first commit.
    pub(crate) async fn start(db: Db<'_>) -> Result<Self, StoreError> {
        let counts = Self {
            gate: RwLock::new(()),
            sessions: AtomicI64::new(0),
            turns: AtomicI64::new(0),
            not_before: Mutex::new(Instant::now()),
        };
        counts.count(db).await?;
        Ok(counts)
    }

    /// To be called before a COMMIT, or a statement that commits by itself, is sent.
    pub(crate) async fn committing(&self) -> Committing<'_> {
        Committing { counts: self, _gate: self.gate.read().await }
    }

    /// Sessions, and turns as they are stored.
    pub(crate) fn get(&self) -> (u64, u64) {
        let get = |count: &AtomicI64| unsigned(count.load(Ordering::Relaxed));
        (get(&self.sessions), get(&self.turns))
    }

    /// Whether it is time to count again. If so, nobody else is told the same soon.
    pub(crate) fn is_due(&self) -> bool {
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = now >= *not_before;
        if is_due {
            // Also if it fails, or is never heard of again.
            *not_before = now + PAUSE * PAUSE_FACTOR;
        }
        is_due
    }

    /// Counts all sessions and turns.
    pub(crate) async fn count(&self, db: Db<'_>) -> Result<(), StoreError> {
        let doing = "count rows";
        let begun = Instant::now();
        let Ok(gate) = tokio::time::timeout(PATIENCE, self.gate.write()).await else {
            self.pause(PAUSE);
            return Ok(());
        };
        let (began, snapshot) = future::join(db.begin_long_snapshot(), db.query("SELECT 1", &[])).await;
        // Which commits the count sees is settled from here on.
        let (sessions, turns) = (self.sessions.load(Ordering::Relaxed), self.turns.load(Ordering::Relaxed));
        drop(gate);
        began.doing(doing)?;
        snapshot.doing(doing)?;
        let sql = "SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM turns)";
        let counted = db.query(sql, &[]).await.doing(doing)?;
        db.batch("COMMIT").await.doing(doing)?;
        let Some(row) = counted.first() else { return Ok(()) };
        let (now_sessions, now_turns): (i64, i64) =
            (row.try_get(0).doing(doing)?, row.try_get(1).doing(doing)?);
        self.sessions.fetch_add(now_sessions - sessions, Ordering::Relaxed);
        self.turns.fetch_add(now_turns - turns, Ordering::Relaxed);
        self.pause(PAUSE.max(begun.elapsed().saturating_mul(PAUSE_FACTOR)));
        Ok(())
    }

    fn pause(&self, pause: Duration) {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + pause;
    }
}
