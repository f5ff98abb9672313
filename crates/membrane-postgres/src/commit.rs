//! Who carries a change out: appends go the short way (`batch.rs`); all else, and what did not fit there, is a transaction of
//! its own on a connection of its own, in a task, so that a caller who goes away leaves all of it or nothing.

use std::sync::Arc;
use std::time::Duration;

use membrane_store::{Change, Receipt, StoreError, Write};
use tokio::time::Instant;

use crate::apply::{Failure, Numbers, Prepared, transact};
use crate::batch::{self, Batches};
use crate::error::slow;
use crate::options::PostgresOptions;
use crate::records::Records;
use crate::store::{Call, Shared};

/// How many sessions' records are kept.
const MAX_RECORDS: usize = 100_000;

/// How often a change is tried whose connection was lost before anything was done.
const MAX_TRIES: u32 = 10;

/// How much longer each pause before the next try is, and the longest.
const BACK_OFF: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// What a store's changes have in common.
pub(crate) struct Commits {
    pub(crate) numbers: Numbers,
    pub(crate) records: Records,
    pub(crate) batches: Batches,
}

impl Commits {
    pub(crate) fn new(options: &PostgresOptions) -> Self {
        Self {
            numbers: Numbers::default(),
            records: Records::new(MAX_RECORDS),
            batches: Batches::new(options),
        }
    }

    /// How many changes wait, and how many may.
    pub(crate) fn gauges(&self) -> (u64, u64) {
        self.batches.gauges()
    }
}

/// Commits a change.
pub(crate) async fn commit(shared: &Arc<Shared>, call: Call, change: Change) -> Result<Receipt, StoreError> {
    let deadline = Instant::now() + shared.options.timeout;
    let prepared = Prepared::new(change)?;
    if batch::is_append(&prepared.change) {
        return batch::commit(shared, call, prepared, deadline).await;
    }
    commit_alone(shared, call, prepared, deadline).await
}

/// Commits a change by a transaction of its own, in a task of its own.
pub(crate) async fn commit_alone(
    shared: &Arc<Shared>,
    call: Call,
    prepared: Prepared,
    deadline: Instant,
) -> Result<Receipt, StoreError> {
    let shared = Arc::clone(shared);
    let task = tokio::spawn(async move {
        let done = transaction(&shared, &prepared, deadline).await;
        drop(call);
        done
    });
    // It fails only when the runtime is going.
    task.await.unwrap_or(Err(StoreError::Closed))
}

/// Commits a change by a transaction, and notes what became of its sessions.
pub(crate) async fn transaction(
    shared: &Shared,
    prepared: &Prepared,
    deadline: Instant,
) -> Result<Receipt, StoreError> {
    let commits = &shared.commits;
    let (mut n_contended, mut n_lost) = (0, 0);
    loop {
        let conn = shared.pool.get_until(deadline).await?;
        let db = conn.db()?;
        let mut is_lost = false;
        let work = async {
            match transact(db, &commits.numbers, &shared.counts, prepared).await {
                Ok(applied) => Ok(Ok(applied)),
                Err(Failure::Contention(error)) => Ok(Err(error)),
                Err(Failure::Lost(error)) => {
                    is_lost = true;
                    Err(error)
                }
                Err(Failure::Store(error)) => Err(error),
            }
        };
        let done = conn.within(work).await;
        drop(conn);
        let error = match done {
            Ok(Ok(applied)) => {
                shared.meters.note_batch(1);
                applied.records.into_iter().for_each(|record| commits.records.put(record));
                forget_deleted(commits, &prepared.change);
                return Ok(applied.receipt);
            }
            Err(error) if !is_lost => return Err(error),
            Ok(Err(error)) | Err(error) => error,
        };
        n_lost += u32::from(is_lost);
        n_contended += u32::from(!is_lost);
        if n_lost >= MAX_TRIES {
            return Err(error);
        }
        // Whoever was in the way has got on: each of them is there once, and this one's turn comes.
        let pause = LONGEST_PAUSE.min(BACK_OFF * (n_contended + n_lost));
        if Instant::now() + pause >= deadline {
            return Err(if is_lost { slow() } else { error });
        }
        tokio::time::sleep(pause).await;
    }
}

fn forget_deleted(commits: &Commits, change: &Change) {
    for write in &change.writes {
        if let Write::DeleteSession { session } = write {
            commits.records.take(session);
        }
    }
}
