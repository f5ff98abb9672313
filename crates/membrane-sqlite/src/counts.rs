//! How many sessions and turns there are, without counting them: the writer counts at opening, and goes on
//! with what each of its transactions has added and removed.
//!
//! What another process writes shows in the connection's data version; then all is counted again, but not
//! for more than a hundredth of the time. Who asks is in `store.rs`.

use std::cell::Cell;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use membrane_store::StoreError;
use rusqlite::Connection;

use crate::error::Doing;
use crate::rows::unsigned;

/// The shortest time between two counts, and how many times longer than a count the time to the next is.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 100;

/// Rows that were added, less those that were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: i64,
    pub(crate) turns: i64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.sessions += more.sessions;
        self.turns += more.turns;
    }
}

/// What anybody may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    sessions: AtomicI64,
    turns: AtomicI64,
}

impl Totals {
    /// Sessions, and turns as they are stored.
    pub(crate) fn get(&self) -> (u64, u64) {
        let get = |count: &AtomicI64| unsigned(count.load(Ordering::Relaxed));
        (get(&self.sessions), get(&self.turns))
    }

    fn set(&self, counted: Tally) {
        self.sessions.store(counted.sessions, Ordering::Relaxed);
        self.turns.store(counted.turns, Ordering::Relaxed);
    }

    fn add(&self, tally: Tally) {
        self.sessions.fetch_add(tally.sessions, Ordering::Relaxed);
        self.turns.fetch_add(tally.turns, Ordering::Relaxed);
    }
}

/// The writer's side of it.
#[derive(Debug)]
pub(crate) struct Counts {
    totals: Arc<Totals>,
    /// What the transaction under way has added.
    pending: Cell<Tally>,
    /// The data version up to which others' writes were noticed.
    seen: Cell<i64>,
    /// Whether others have written what was not counted yet.
    is_behind: Cell<bool>,
    not_before: Cell<Instant>,
}

impl Counts {
    /// Counts all, outside of a transaction.
    pub(crate) fn start(conn: &Connection) -> Result<Self, StoreError> {
        let counts = Self {
            totals: Arc::default(),
            pending: Cell::default(),
            seen: Cell::new(0),
            is_behind: Cell::new(false),
            not_before: Cell::new(Instant::now()),
        };
        let snapshot = conn.unchecked_transaction().doing("count rows")?;
        counts.seen.set(data_version(conn)?);
        counts.count(conn)?;
        snapshot.commit().doing("count rows")?;
        Ok(counts)
    }

    pub(crate) fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Whether the next transaction begins with counting, which takes its time.
    pub(crate) fn is_due(&self) -> bool {
        self.is_behind.get() && Instant::now() >= self.not_before.get()
    }

    /// Begins a transaction, which has not written yet: counts if that is due, and notices whether others
    /// have written since the last one.
    pub(crate) fn begin(&self, conn: &Connection) -> Result<(), StoreError> {
        self.pending.take();
        let is_due = self.is_due();
        let version = data_version(conn)?;
        if self.seen.replace(version) != version {
            self.is_behind.set(true);
        }
        if !is_due {
            return Ok(());
        }
        match self.count(conn) {
            // A keep whose rows cannot be counted may still be written to.
            Err(error) if !conn.is_autocommit() => {
                tracing::warn!(%error, "sessions and turns could not be counted");
                Ok(())
            }
            counted => counted,
        }
    }

    /// Notes what a change of the transaction under way has added.
    pub(crate) fn add(&self, tally: Tally) {
        let mut pending = self.pending.get();
        pending += tally;
        self.pending.set(pending);
    }

    /// The transaction has been committed.
    pub(crate) fn keep(&self) {
        self.totals.add(self.pending.take());
    }

    fn count(&self, conn: &Connection) -> Result<(), StoreError> {
        let begun = Instant::now();
        // Also after one that failed.
        self.not_before.set(begun + PAUSE);
        let count = |sql| {
            conn.prepare_cached(sql)
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .doing("count rows")
        };
        let sessions = count("SELECT count(*) FROM chat_sessions")?;
        let turns = count("SELECT count(*) FROM turns")?;
        self.totals.set(Tally { sessions, turns });
        self.is_behind.set(false);
        let now = Instant::now();
        self.not_before.set(now + PAUSE.max((now - begun).saturating_mul(PAUSE_FACTOR)));
        Ok(())
    }
}

/// A number that changes when another connection, of whatever process, has written.
fn data_version(conn: &Connection) -> Result<i64, StoreError> {
    conn.prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("look for others' writes")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn open(path: &Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        let make = "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS chat_sessions (id); \
                    CREATE TABLE IF NOT EXISTS turns (id);";
        conn.execute_batch(make).unwrap();
        conn
    }

    /// One transaction that adds a session and two turns.
    fn add(conn: &Connection, counts: &Counts, commits: bool) {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        counts.begin(conn).unwrap();
        let rows = "INSERT INTO chat_sessions VALUES (1); INSERT INTO turns VALUES (1), (2);";
        conn.execute_batch(rows).unwrap();
        counts.add(Tally { sessions: 1, turns: 0 });
        counts.add(Tally { sessions: 0, turns: 2 });
        if commits {
            conn.execute_batch("COMMIT").unwrap();
            counts.keep();
        } else {
            conn.execute_batch("ROLLBACK").unwrap();
        }
    }

    #[test]
    fn only_what_was_committed_counts() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open(&folder.path().join("x.db"));
        conn.execute_batch("INSERT INTO turns VALUES (0)").unwrap();
        let counts = Counts::start(&conn).unwrap();
        assert_eq!(counts.totals().get(), (0, 1));
        add(&conn, &counts, false);
        assert_eq!(counts.totals().get(), (0, 1));
        add(&conn, &counts, true);
        assert_eq!(counts.totals().get(), (1, 3));
        assert!(!counts.is_behind.get(), "its own writes are no others'");
    }

    #[test]
    fn what_others_wrote_is_counted_once_the_last_count_is_long_enough_ago() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (conn, other) = (open(&path), open(&path));
        let counts = Counts::start(&conn).unwrap();
        assert!(counts.not_before.get() > Instant::now(), "it has just counted");
        counts.not_before.set(Instant::now() + HOUR);
        other.execute_batch("INSERT INTO chat_sessions VALUES (1); INSERT INTO turns VALUES (1)").unwrap();
        add(&conn, &counts, true);
        add(&conn, &counts, true);
        assert_eq!(counts.totals().get(), (2, 4), "not yet");
        assert!(!counts.is_due());
        counts.not_before.set(Instant::now());
        assert!(counts.is_due());
        add(&conn, &counts, true);
        assert_eq!(counts.totals().get(), (4, 7), "theirs and all of its own");
        assert!(counts.not_before.get() > Instant::now() && !counts.is_due());
        // Nobody else has written, so there is nothing to count.
        conn.execute_batch("DELETE FROM turns").unwrap();
        counts.not_before.set(Instant::now());
        add(&conn, &counts, true);
        assert_eq!(counts.totals().get(), (5, 9));
    }

    #[test]
    fn rows_that_cannot_be_counted_stop_no_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (conn, other) = (open(&path), open(&path));
        let counts = Counts::start(&conn).unwrap();
        other.execute_batch("ALTER TABLE turns RENAME TO gone").unwrap();
        counts.is_behind.set(true);
        counts.not_before.set(Instant::now());
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        counts.begin(&conn).unwrap();
        assert!(!counts.is_due(), "nor is it tried again at once");
        conn.execute_batch("INSERT INTO chat_sessions VALUES (1); COMMIT").unwrap();
        counts.keep();
    }
}
