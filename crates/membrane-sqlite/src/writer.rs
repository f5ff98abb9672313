//! The writer: one connection, one transaction for all changes that are waiting. Who may use it when is in
//! `queue.rs`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use membrane_core::event::EventSeq;
use membrane_store::events::EventBell;
use membrane_store::{Receipt, StoreError};
use rusqlite::{Connection, OpenFlags};

use crate::apply::{self, Prepared, Telling};
use crate::connection::{Patience, make_folder, make_writer, open_to_look, refuse_read_only, wait_politely};
use crate::counts::{Counts, Totals};
use crate::error::{Doing, OpenError, ends_transaction, held};
use crate::migrations::{Contents, inspect_in_snapshot, migrate};
use crate::options::SqliteOptions;
use crate::telemetry::Meters;
use crate::v1::{self, Upgrade};

/// How many times the threshold the log may grow while readers keep it from being reset, before the
/// writer waits for them.
const RESTART_FACTOR: u32 = 8;

/// How long it waits for them. Membrane's own readers take milliseconds; another program may hold a
/// snapshot for ever, and must not stop every commit.
const RESTART_PATIENCE: Duration = Duration::from_secs(1);

/// Into how many parts the threshold is divided between two tries while readers keep the log from being
/// reset: each try syncs two files.
const RETRY_FRACTION: u32 = 8;

/// How a change went.
pub(crate) type Outcome = Result<Receipt, StoreError>;

/// What is taken back when a change is refused after it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// The whole transaction.
    Transaction,
    /// That change.
    Savepoint,
}

/// Why a transaction was taken back.
#[derive(Debug)]
enum Failure {
    /// A change was refused after it had written.
    Torn(StoreError),
    /// The database failed.
    Whole(StoreError),
}

impl Failure {
    fn into_error(self) -> StoreError {
        match self {
            Self::Torn(error) | Self::Whole(error) => error,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Whole(error)
    }
}

/// The one connection that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    /// Pages in the write-ahead log after the newest commit.
    log_pages: Arc<AtomicU32>,
    checkpoint_pages: u32,
    /// The length of the log, in pages, from which on its content moves; later than the threshold after a
    /// move that readers kept from resetting the log.
    move_at: u32,
    /// The length from which on the writer waits for readers.
    wait_at: u32,
    max_batch: usize,
    busy_timeout: Duration,
    /// How long the connection waits for another process.
    patience: Patience,
    counts: Counts,
    /// The newest event of the transaction under way.
    newest_event: Cell<Option<EventSeq>>,
    bell: Arc<EventBell>,
    meters: Meters,
    /// What opening it did to an old file.
    upgrade: Option<Upgrade>,
}

impl Writer {
    /// Opens and migrates the file.
    pub(crate) fn open(
        options: &SqliteOptions,
        meters: Meters,
        bell: Arc<EventBell>,
    ) -> Result<Self, OpenError> {
        make_folder(options)?;
        let mut conn = open_to_look(options, OpenFlags::SQLITE_OPEN_CREATE)?;
        let contents = inspect_in_snapshot(&conn, &options.path)?;
        refuse_read_only(&conn, options)?;
        let upgrade = match contents {
            Contents::V1(_) => v1::upgrade(&conn, options)?,
            Contents::Keep => None,
        };
        make_writer(&conn, options)?;
        migrate(&mut conn, &options.path)?;
        let patience = wait_politely(&mut conn, options.busy_timeout)?;
        let counts = Counts::start(&conn)?;
        let checkpoint_pages = options.checkpoint_pages.max(1);
        let log_pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&log_pages);
        // SQLite calls this after each commit; moving the log's content waits until answers are given.
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            seen.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
        .doing("watch the write-ahead log")?;
        Ok(Self {
            conn,
            log_pages,
            checkpoint_pages,
            move_at: checkpoint_pages,
            wait_at: checkpoint_pages.saturating_mul(RESTART_FACTOR),
            max_batch: options.max_batch.max(1),
            busy_timeout: options.busy_timeout,
            patience,
            counts,
            newest_event: Cell::new(None),
            bell,
            meters,
            upgrade,
        })
    }

    /// What opening it did to an old file; once.
    pub(crate) fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// How many changes may share one transaction.
    pub(crate) fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// How much there is, for anybody to read.
    pub(crate) fn totals(&self) -> Arc<Totals> {
        self.counts.totals()
    }

    /// Closes the file.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.conn.close().map_err(|(_, error)| error).doing("close the database")
    }

    /// Commits one change, unless another process holds the database, or it is time to count: then the answer
    /// is `None` at once.
    pub(crate) fn commit_if_free(&mut self, change: &Prepared) -> Option<Outcome> {
        if self.counts.is_due() {
            return None;
        }
        self.patience.set(Duration::ZERO);
        let outcome = self.try_together(std::slice::from_ref(change), Undo::Transaction);
        self.patience.set(self.busy_timeout);
        match outcome {
            Ok(mut outcomes) => outcomes.pop(),
            Err(Failure::Whole(StoreError::Unavailable { .. })) => None,
            Err(failure) => Some(Err(failure.into_error())),
        }
    }

    /// Commits changes in one transaction. First without savepoints, which cost a tenth of the throughput:
    /// most changes that are refused have written nothing yet. If one has, the transaction is done again
    /// with a savepoint for each; if the transaction as a whole fails (a full disk, for one), its changes
    /// are done one by one. So each gets its own outcome, and nothing of a refused one stays.
    pub(crate) fn commit_all(&mut self, changes: &[Prepared]) -> Vec<Outcome> {
        let together = match self.try_together(changes, Undo::Transaction) {
            Err(Failure::Torn(_)) if changes.len() > 1 => self.try_together(changes, Undo::Savepoint),
            together => together,
        };
        match together {
            Ok(outcomes) => outcomes,
            Err(failure) if changes.len() == 1 => vec![Err(failure.into_error())],
            Err(failure) => {
                let error = failure.into_error();
                tracing::warn!(%error, changes = changes.len(), "a batch failed; its changes are done one by one");
                let mut is_held = matches!(error, StoreError::Unavailable { .. });
                let mut alone = |change| {
                    if is_held {
                        // All of them have waited; that each waits once more would keep the last for minutes.
                        return Err(held());
                    }
                    let outcome = self
                        .try_together(std::slice::from_ref(change), Undo::Transaction)
                        .map_err(Failure::into_error)
                        .and_then(|mut outcomes| outcomes.pop().unwrap_or(Err(StoreError::Closed)));
                    is_held = matches!(outcome, Err(StoreError::Unavailable { .. }));
                    outcome
                };
                changes.iter().map(&mut alone).collect()
            }
        }
    }

    /// `Err` means that nothing of it was committed.
    fn try_together(&self, changes: &[Prepared], undo: Undo) -> Result<Vec<Outcome>, Failure> {
        if !self.conn.is_autocommit() {
            // Whoever used the connection before has panicked in the middle.
            execute(&self.conn, "ROLLBACK")?;
        }
        execute(&self.conn, "BEGIN IMMEDIATE")?;
        self.newest_event.set(None);
        let begun = self.counts.begin(&self.conn).map_err(Failure::from);
        let done = begun.and_then(|()| {
            changes.iter().map(|change| self.apply(change, undo)).collect::<Result<Vec<_>, _>>()
        });
        let done = done.and_then(|outcomes| {
            execute(&self.conn, "COMMIT")?;
            self.counts.keep();
            if let Some(newest) = self.newest_event.get() {
                self.bell.ring(newest);
            }
            self.meters.note_batch(changes.len());
            Ok(outcomes)
        });
        if done.is_err() && !self.conn.is_autocommit() {
            // Some failures have rolled back already, and then there is nothing left to do.
            execute(&self.conn, "ROLLBACK")?;
        }
        if matches!(done, Err(Failure::Whole(StoreError::StorageFull | StoreError::Backend { .. }))) {
            self.erase_refused_commit();
        }
        done
    }

    /// A commit that was written but not synced, or that found room in the log and none for the log's
    /// index, is refused and yet stands whole in the log: a process that opens the file after a kill would
    /// take it for a commit. The smallest commit there is takes its place; one that fails for the same reason
    /// has overwritten it all the same, and one that finds no room in the log has nothing to overwrite.
    fn erase_refused_commit(&self) {
        let rewritten = self
            .conn
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            .and_then(|version| self.conn.pragma_update(None, "user_version", version));
        if let Err(error) = rewritten {
            tracing::debug!(%error, "no room to commit anything");
        }
    }

    /// Applies one change; `Err` means that the whole transaction must be taken back.
    fn apply(&self, change: &Prepared, undo: Undo) -> Result<Outcome, Failure> {
        if undo == Undo::Savepoint {
            execute(&self.conn, "SAVEPOINT change")?;
        }
        let changes_before = self.conn.total_changes();
        let outcome = apply::apply(&self.conn, change, Telling::Events).map(|applied| {
            self.counts.add(applied.tally);
            if applied.newest_event.is_some() {
                self.newest_event.set(applied.newest_event);
            }
            applied.receipt
        });
        match (outcome, undo) {
            (Err(error), _) if ends_transaction(&error) => Err(Failure::Whole(error)),
            (Err(error), Undo::Transaction) if self.conn.total_changes() != changes_before => {
                Err(Failure::Torn(error))
            }
            (Err(error), Undo::Savepoint) => {
                execute(&self.conn, "ROLLBACK TO change")?;
                execute(&self.conn, "RELEASE change")?;
                Ok(Err(error))
            }
            (outcome, Undo::Savepoint) => {
                execute(&self.conn, "RELEASE change")?;
                Ok(outcome)
            }
            (outcome, Undo::Transaction) => Ok(outcome),
        }
    }

    /// Whether moving the log is due.
    pub(crate) fn is_log_long(&self) -> bool {
        self.log_pages.load(Ordering::Relaxed) >= self.move_at
    }

    /// Moves the log's content into the main file once it is long. Reading transactions may keep the log
    /// from starting over; once it is far too long, wait for them, but not for ever and not each time.
    pub(crate) fn move_log_if_long(&mut self) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < self.checkpoint_pages {
            // It has started over.
            self.move_at = self.checkpoint_pages;
            self.wait_at = self.checkpoint_pages.saturating_mul(RESTART_FACTOR);
        }
        if pages < self.move_at {
            return;
        }
        self.move_at =
            pages.saturating_add(self.checkpoint_pages / RETRY_FRACTION).max(self.checkpoint_pages);
        let moved = if pages < self.wait_at {
            self.move_log("PRAGMA wal_checkpoint(PASSIVE)")
        } else {
            self.wait_at = pages.saturating_mul(2);
            self.move_log_after_readers()
        };
        if let Err(error) = moved {
            // Every commit is safe in the log; a later one tries again.
            tracing::warn!(%error, log.pages = pages, "the write-ahead log could not be moved into the main file");
        }
    }

    fn move_log_after_readers(&mut self) -> Result<(), StoreError> {
        self.patience.set(RESTART_PATIENCE.min(self.busy_timeout));
        let moved = self.move_log("PRAGMA wal_checkpoint(RESTART)");
        self.patience.set(self.busy_timeout);
        moved
    }

    /// Whether all of it was moved is seen by its length after the next commit.
    fn move_log(&self, pragma: &'static str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(pragma)
            .and_then(|mut statement| statement.query_row([], |_| Ok(())))
            .doing("move the write-ahead log into the main file")
    }
}

fn execute(conn: &Connection, sql: &'static str) -> Result<(), StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(|_| ()).doing(sql)
}
