//! What the floor keeps: a message in one commit, its finished turn in a second one, both in groups; and readers.

use std::path::Path;
use std::sync::Arc;

use membrane_sqlite::SqliteOptions;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use crate::floor::{FloorTurn, Waiting, Write, group_commit, load};
use crate::{Failure, floor};

/// What the floor of the appends does not need: a session's state, and the message that is being answered.
const SCHEMA: &str = "
    ALTER TABLE sessions ADD COLUMN state TEXT NOT NULL DEFAULT 'idle';
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, session_id TEXT NOT NULL UNIQUE, user_message TEXT NOT NULL, owner TEXT NOT NULL,
        token INTEGER NOT NULL, lease_until TEXT NOT NULL);
";

/// How many threads read, as in Membrane.
const N_READERS: usize = 2;

/// Makes a file.
pub(crate) fn create(path: &Path) -> Result<Connection, Failure> {
    let conn = floor::open(path)?;
    conn.execute_batch(SCHEMA)?;
    Ok(conn)
}

/// How many turns are kept and told by their sessions, if none is under way.
pub(crate) fn n_turns(conn: &Connection) -> Result<i64, Failure> {
    let (kept, told, runs) = conn.query_row(
        "SELECT (SELECT count(*) FROM turns), (SELECT sum(turn_count) FROM sessions WHERE state = 'idle'), \
         (SELECT count(*) FROM runs)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)),
    )?;
    if (kept, runs) == (told, 0) {
        Ok(kept)
    } else {
        Err(format!("the floor has {kept} turns, tells of {told}, and {runs} are under way").into())
    }
}

/// A message that is to be answered, or its answer.
pub(super) enum Step {
    Begin(Begin),
    Finish(Finish),
}

/// The first commit. Its outcome is the turn's number.
pub(super) struct Begin {
    pub(super) run: String,
    pub(super) session: String,
    pub(super) message: String,
    pub(super) owner: &'static str,
    pub(super) token: i64,
    pub(super) lease_until: String,
}

/// The second one. Its outcome is how many turns the session has.
pub(super) struct Finish {
    pub(super) run: String,
    pub(super) token: i64,
    pub(super) session: String,
    pub(super) turn: Arc<FloorTurn>,
}

impl Write for Step {
    type Outcome = i64;

    fn apply(&self, conn: &Connection) -> rusqlite::Result<i64> {
        match self {
            Self::Begin(begin) => begin.apply(conn),
            Self::Finish(finish) => finish.apply(conn),
        }
    }
}

impl Begin {
    fn apply(&self, conn: &Connection) -> rusqlite::Result<i64> {
        let Self { run, session, message, owner, token, lease_until } = self;
        conn.prepare_cached(
            "INSERT INTO runs (id, session_id, user_message, owner, token, lease_until) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![run, session, message, owner, token, lease_until])?;
        conn.prepare_cached("UPDATE sessions SET state = 'processing' WHERE id = ?1 RETURNING turn_count")?
            .query_row([session], |row| row.get(0))
    }
}

impl Finish {
    fn apply(&self, conn: &Connection) -> rusqlite::Result<i64> {
        let Self { run, token, session, turn } = self;
        conn.prepare_cached("DELETE FROM runs WHERE id = ?1 AND token = ?2")?.execute(params![run, token])?;
        conn.prepare_cached(
            "INSERT INTO turns (session_id, turn_number, user_message, assistant_response, started_at, completed_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            session,
            turn.number,
            turn.user,
            turn.reply,
            turn.started_at,
            turn.completed_at
        ])?;
        conn.prepare_cached(
            "UPDATE sessions SET turn_count = turn_count + 1, last_active = ?2, state = 'idle' WHERE id = ?1 \
             RETURNING turn_count",
        )?
        .query_row([session, &turn.completed_at], |row| row.get(0))
    }
}

/// What a session's row and turns hold.
pub(super) struct Loaded {
    pub(super) id: String,
    pub(super) project: Option<String>,
    pub(super) branch: String,
    pub(super) turn_count: i64,
    pub(super) last_active: String,
    pub(super) state: String,
    pub(super) turns: Vec<FloorTurn>,
}

struct Load {
    id: String,
    done: oneshot::Sender<Loaded>,
}

/// A file on which requests are served.
#[derive(Clone)]
pub(super) struct Keep {
    writes: mpsc::Sender<Waiting<Step>>,
    loads: crossbeam_channel::Sender<Load>,
}

impl Keep {
    /// Starts the writer and the readers.
    pub(super) fn start(path: &Path) -> Result<Self, Failure> {
        let writes = group_commit(path, SqliteOptions::at(path).checkpoint_pages)?;
        let (loads, inbox) = crossbeam_channel::unbounded();
        for _ in 0..N_READERS {
            let (conn, inbox) = (floor::open(path)?, inbox.clone());
            std::thread::spawn(move || read(&conn, &inbox));
        }
        Ok(Self { writes, loads })
    }

    /// Carries a step out; `None` if it could not be.
    pub(super) async fn write(&self, write: Step) -> Option<i64> {
        let (done, is_done) = oneshot::channel();
        self.writes.send(Waiting { write, done }).await.ok()?;
        is_done.await.ok()
    }

    /// A session with its turns; `None` if there is none.
    pub(super) async fn load(&self, id: String) -> Option<Loaded> {
        let (done, is_done) = oneshot::channel();
        self.loads.send(Load { id, done }).ok()?;
        is_done.await.ok()
    }
}

fn read(conn: &Connection, inbox: &crossbeam_channel::Receiver<Load>) {
    while let Ok(Load { id, done }) = inbox.recv() {
        // Whoever waits for one that failed sees that its end is dropped.
        if let Ok(loaded) = read_one(conn, id) {
            let _ = done.send(loaded);
        }
    }
}

fn read_one(conn: &Connection, id: String) -> Result<Loaded, Failure> {
    let turns = load(conn, &id)?;
    let mut session = conn.prepare_cached(
        "SELECT project_id, branch_name, turn_count, last_active, state FROM sessions WHERE id = ?1",
    )?;
    let (project, branch, turn_count, last_active, state) = session
        .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    Ok(Loaded { id, project, branch, turn_count, last_active, state, turns })
}
