//! The floor: bare `rusqlite`, one turn INSERT and one session UPDATE, prepared once, with the same
//! durability and cache as Membrane. No history, no evidence, no contract.

use std::path::Path;

use rusqlite::{Connection, params, params_from_iter};
use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::measure::now_text;

/// No index but the keys: an append pays for nothing that it does not need.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -65536;
    CREATE TABLE IF NOT EXISTS sessions (
        id TEXT PRIMARY KEY, project_id TEXT, branch_name TEXT NOT NULL, turn_count INTEGER NOT NULL,
        last_active TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS turns (
        session_id TEXT NOT NULL, turn_number INTEGER NOT NULL, user_message TEXT NOT NULL,
        assistant_response TEXT NOT NULL, started_at TEXT NOT NULL, completed_at TEXT NOT NULL,
        PRIMARY KEY (session_id, turn_number));
";

/// What the lists need beside that.
const LIST_INDEXES: &str = "
    CREATE INDEX sessions_active_idx ON sessions (last_active, id);
    CREATE INDEX sessions_project_idx ON sessions (project_id, last_active, id);
    CREATE INDEX sessions_branch_idx ON sessions (branch_name, last_active, id);
";

/// A turn of the floor, as its load gives it back.
#[derive(Debug)]
pub(crate) struct FloorTurn {
    pub(crate) number: i64,
    pub(crate) user: String,
    pub(crate) reply: String,
    pub(crate) started_at: String,
    pub(crate) completed_at: String,
}

/// Opens a file with the floor's two tables.
pub(crate) fn open(path: &Path) -> Result<Connection, Failure> {
    let conn = Connection::open(path)?;
    conn.execute_batch(SCHEMA)?;
    Ok(conn)
}

/// Makes the lists fast.
pub(crate) fn index_lists(conn: &Connection) -> Result<(), Failure> {
    Ok(conn.execute_batch(LIST_INDEXES)?)
}

/// Adds an empty session.
pub(crate) fn create(conn: &Connection, id: &str, project: Option<&str>, now: &str) -> Result<(), Failure> {
    create_on_branch(conn, id, project, "main", now)
}

/// Adds an empty session on a branch.
pub(crate) fn create_on_branch(
    conn: &Connection,
    id: &str,
    project: Option<&str>,
    branch: &str,
    now: &str,
) -> Result<(), Failure> {
    conn.prepare_cached(
        "INSERT INTO sessions (id, project_id, branch_name, turn_count, last_active) VALUES (?1, ?2, ?3, 0, ?4)",
    )?
    .execute(params![id, project, branch, now])?;
    Ok(())
}

/// The two statements of an append, inside a transaction of the caller's.
pub(crate) fn append_in_transaction(
    conn: &Connection,
    id: &str,
    number: i64,
    user: &str,
    reply: &str,
    now: &str,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO turns (session_id, turn_number, user_message, assistant_response, started_at, completed_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![id, number, user, reply, now, now])?;
    conn.prepare_cached("UPDATE sessions SET turn_count = turn_count + 1, last_active = ?2 WHERE id = ?1")?
        .execute([id, now])?;
    Ok(())
}

/// One append in a transaction of its own.
pub(crate) fn append(
    conn: &Connection,
    id: &str,
    number: i64,
    user: &str,
    reply: &str,
) -> Result<(), Failure> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    append_in_transaction(conn, id, number, user, reply, &now_text())?;
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Loads a session's turns.
pub(crate) fn load(conn: &Connection, id: &str) -> Result<Vec<FloorTurn>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT turn_number, user_message, assistant_response, started_at, completed_at FROM turns \
         WHERE session_id = ?1 ORDER BY turn_number",
    )?;
    let turns = statement.query_map([id], |row| {
        Ok(FloorTurn {
            number: row.get(0)?,
            user: row.get(1)?,
            reply: row.get(2)?,
            started_at: row.get(3)?,
            completed_at: row.get(4)?,
        })
    })?;
    Ok(turns.collect::<Result<_, _>>()?)
}

/// A session in a list: id, project, branch, turns, activity.
type Listed = (String, Option<String>, String, i64, String);

/// The newest 50 sessions, perhaps those with a value in a column, and how many there are.
pub(crate) fn list(conn: &Connection, filter: Option<(&str, &str)>) -> Result<(Vec<Listed>, i64), Failure> {
    let (condition, values) = match filter {
        Some((column, value)) => (format!("WHERE {column} = ?"), vec![value]),
        None => (String::new(), vec![]),
    };
    let total = conn
        .prepare_cached(&format!("SELECT count(*) FROM sessions {condition}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    let mut newest = conn.prepare_cached(&format!(
        "SELECT id, project_id, branch_name, turn_count, last_active FROM sessions {condition} \
         ORDER BY last_active DESC, id DESC LIMIT 50"
    ))?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let sessions = newest.query_map(params_from_iter(&values), read)?.collect::<Result<_, _>>()?;
    Ok((sessions, total))
}

/// What the group commit can carry out inside a transaction of its own.
pub(crate) trait Write: Send + 'static {
    /// What whoever waits is told.
    type Outcome: Send;

    /// Its statements.
    fn apply(&self, conn: &Connection) -> rusqlite::Result<Self::Outcome>;
}

/// A write on its way to the group commit; `done` is dropped if it failed.
pub(crate) struct Waiting<W: Write> {
    pub(crate) write: W,
    pub(crate) done: oneshot::Sender<W::Outcome>,
}

/// One turn for the group commit.
pub(crate) struct Append {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) user: String,
    pub(crate) reply: String,
    pub(crate) now: String,
}

impl Write for Append {
    type Outcome = ();

    fn apply(&self, conn: &Connection) -> rusqlite::Result<()> {
        append_in_transaction(conn, &self.id, self.number, &self.user, &self.reply, &self.now)
    }
}

/// The group-commit floor: one thread that commits all writes that wait, at most 256 at once, and moves
/// the log at `checkpoint_pages`.
pub(crate) fn group_commit<W: Write>(
    path: &Path,
    checkpoint_pages: u32,
) -> Result<mpsc::Sender<Waiting<W>>, Failure> {
    let conn = open(path)?;
    conn.pragma_update(None, "wal_autocheckpoint", checkpoint_pages)?;
    let (writes, mut inbox) = mpsc::channel::<Waiting<W>>(1024);
    std::thread::spawn(move || {
        let mut batch = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            batch.push(first);
            while batch.len() < 256 {
                match inbox.try_recv() {
                    Ok(write) => batch.push(write),
                    Err(_) => break,
                }
            }
            match commit(&conn, &batch) {
                Ok(outcomes) => {
                    for (waiting, outcome) in batch.drain(..).zip(outcomes) {
                        // Whoever wrote waits; it can only be gone if the benchmark failed.
                        let _ = waiting.done.send(outcome);
                    }
                }
                // Those that wait see that their ends are dropped.
                Err(_) => batch.clear(),
            }
        }
    });
    Ok(writes)
}

fn commit<W: Write>(conn: &Connection, batch: &[Waiting<W>]) -> rusqlite::Result<Vec<W::Outcome>> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let outcomes = batch.iter().map(|waiting| waiting.write.apply(conn)).collect::<Result<_, _>>()?;
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(outcomes)
}
