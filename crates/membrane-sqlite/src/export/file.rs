//! The file that comes to be: another name until it is whole, then the one that was asked for, in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf, is_separator};
use std::sync::atomic::{AtomicU64, Ordering};

use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::evidence::{Evidence, LegacySet};
use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::turn::KeptTurn;
use membrane_store::kgents::extras;
use membrane_store::{StoreError, codec};
use rusqlite::{Connection, OpenFlags, params};

use super::context::Context;
use super::error::ExportError;
use super::plan;
use super::rows::{self as v1, Walk};
use super::times::LocalTimes;
use super::verify::{self, Written};
use crate::error::{Doing, FileDoing};
use crate::rows::signed;

const SCHEMA: &str = include_str!("v1.sql");

/// Until it has its name nobody else reads it, and if it fails it is thrown away: neither a journal nor a sync before
/// the end is of use.
const PRAGMAS: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
     PRAGMA foreign_keys = ON; PRAGMA temp_store = FILE; PRAGMA cache_size = -16384;";

/// What SQLite would take for a part of the database beside it.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file on the disk that goes unless it is kept.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone already if it got its name; and there is nobody to tell otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

/// A V1 file that is being written. Goes with its value unless [`Self::finish`] succeeds.
#[derive(Debug)]
pub(super) struct OutFile {
    conn: Connection,
    written: Written,
    times: LocalTimes,
    // After the connection: an open file cannot be removed everywhere.
    partial: Partial,
    out: PathBuf,
}

/// A session whose turns are being written.
#[derive(Debug)]
pub(super) struct Started {
    session: Session,
    walk: Walk,
    n_turns: u64,
    /// What there was before it.
    before: Written,
    /// Whether its parent's id had to be left out.
    pub(super) lost_parent: bool,
}

impl OutFile {
    /// Makes an empty one that is to become `out`.
    pub(super) fn create(out: &Path, times: LocalTimes) -> Result<Self, ExportError> {
        refuse_taken(out)?;
        let partial = make_partial(out)?;
        let failed = |error| ExportError::write(out, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let conn = Connection::open_with_flags(&partial.0, flags).doing("open the export").map_err(failed)?;
        conn.execute_batch(PRAGMAS).doing("configure a connection").map_err(failed)?;
        conn.execute_batch("BEGIN").doing("begin the export").map_err(failed)?;
        conn.execute_batch(SCHEMA).doing("make the export's tables").map_err(failed)?;
        plan::prepare(&conn).map_err(failed)?;
        Ok(Self { conn, written: Written::default(), times, partial, out: out.to_owned() })
    }

    /// The connection, for the plan.
    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Writes a session's row; its turns follow.
    pub(super) fn start_session(
        &mut self,
        session: Session,
        legacy: Vec<LegacySet>,
    ) -> Result<Started, StoreError> {
        let doing = "write a session";
        let parent = match &session.parent_id {
            Some(parent) if *parent != session.id && self.holds(parent)? => Some(parent.as_str()),
            _ => None,
        };
        let lost_parent = parent.is_none() && session.parent_id.is_some();
        let walk = Walk::with(&legacy);
        let evidence = self.session_evidence(&session, &session.evidence(), legacy, !lost_parent)?;
        let (created_at, last_active) =
            (self.times.text(session.created_at), self.times.text(session.last_active));
        self.conn
            .prepare_cached(
                "INSERT INTO chat_sessions (id, project_id, parent_id, fork_point, branch_name, state, turn_count, \
                 context_size, evidence_json, metadata_json, is_merged, merged_into, created_at, last_active) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 'idle', ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    session.id.as_str(),
                    session.project_id,
                    parent,
                    session.fork_point.map(signed),
                    session.branch_name,
                    signed(session.turn_count()),
                    session.totals.tokens,
                    evidence,
                    session.metadata.as_str(),
                    session.is_merged,
                    session.merged_into.as_ref().map(SessionId::as_str),
                    created_at,
                    last_active,
                ])
            })
            .doing(doing)?;
        let before = self.written;
        self.written.sessions += 1;
        Ok(Started { session, walk, n_turns: 0, before, lost_parent })
    }

    /// Writes more of its turns.
    pub(super) fn write_turns(
        &mut self,
        started: &mut Started,
        turns: &[KeptTurn],
    ) -> Result<(), StoreError> {
        let doing = "write a turn";
        let mut statement = self
            .conn
            .prepare_cached(
                "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, \
                 user_linearity, assistant_linearity, tools_json, evidence_delta_json, confidence, started_at, \
                 completed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )
            .doing(doing)?;
        for kept in turns {
            let step = started.walk.step(kept);
            let (tools, delta) = v1::turn_texts(kept, step)?;
            let turn = &kept.turn;
            statement
                .execute(params![
                    started.session.id.as_str(),
                    signed(started.n_turns),
                    turn.user.content,
                    turn.assistant.content,
                    turn.user.linearity.as_str(),
                    turn.assistant.linearity.as_str(),
                    tools,
                    delta,
                    step.confidence,
                    self.times.text(turn.started_at),
                    self.times.text(turn.completed_at),
                ])
                .doing(doing)?;
            started.n_turns += 1;
            self.written.turns += 1;
        }
        Ok(())
    }

    /// Ends a session after its last turn: its evidence is what its turns in the file add up to.
    pub(super) fn end_session(
        &mut self,
        started: &Started,
        legacy: Vec<LegacySet>,
    ) -> Result<(), StoreError> {
        let (session, evidence) = (&started.session, started.walk.evidence());
        if evidence == session.evidence() {
            return Ok(());
        }
        let evidence = self.session_evidence(session, &evidence, legacy, !started.lost_parent)?;
        self.conn
            .execute(
                "UPDATE chat_sessions SET evidence_json = ?2 WHERE id = ?1",
                params![session.id.as_str(), evidence],
            )
            .map(|_| ())
            .doing("write a session's evidence")
    }

    /// Takes the last session out again, with all that is its own.
    pub(super) fn take_back(&mut self, started: &Started) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM chat_sessions WHERE id = ?1", [started.session.id.as_str()])
            .doing("take back a session")?;
        self.written = started.before;
        Ok(())
    }

    /// Adds turns to a checkpoint's context.
    pub(super) fn push_turns(&mut self, context: &mut Context, turns: &[KeptTurn]) -> Result<(), StoreError> {
        turns.iter().try_for_each(|kept| Ok(context.push(kept, &mut self.times)?))
    }

    /// Writes a checkpoint with the turns that its context has.
    pub(super) fn write_checkpoint(
        &mut self,
        session: &Session,
        checkpoint: Checkpoint,
        context: Context,
    ) -> Result<(), StoreError> {
        let doing = "write a checkpoint";
        let n_turns = context.n_turns();
        let evidence = context.walk().evidence();
        let evidence = v1::evidence_json(session, checkpoint.created_at, &evidence, n_turns, &mut self.times);
        let created_at = self.times.text(checkpoint.created_at);
        let context = context.finish(checkpoint.name, checkpoint.kind)?;
        let mut statement = self
            .conn
            .prepare(
                "INSERT INTO chat_checkpoints (id, session_id, turn_count, context_json, evidence_json, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .doing(doing)?;
        // SQLite copies what it is given: the context may be long, and need not be there three times.
        statement
            .raw_bind_parameter(1, checkpoint.id.as_str())
            .and_then(|()| statement.raw_bind_parameter(2, session.id.as_str()))
            .and_then(|()| statement.raw_bind_parameter(3, signed(n_turns)))
            .and_then(|()| statement.raw_bind_parameter(4, context))
            .and_then(|()| statement.raw_bind_parameter(5, evidence))
            .and_then(|()| statement.raw_bind_parameter(6, created_at))
            .and_then(|()| statement.raw_execute())
            .doing(doing)?;
        self.written.checkpoints += 1;
        Ok(())
    }

    /// Writes a crystal.
    pub(super) fn write_crystal(&mut self, crystal: &Crystal) -> Result<(), StoreError> {
        let (decisions, artifacts) =
            (codec::encode_list(&crystal.key_decisions)?, codec::encode_list(&crystal.artifacts)?);
        let created_at = self.times.text(crystal.created_at);
        self.conn
            .prepare_cached(
                "INSERT INTO chat_crystals (session_id, title, summary, key_decisions_json, artifacts_json, \
                 final_evidence_json, final_turn_count, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    crystal.session.as_str(),
                    crystal.title,
                    crystal.summary,
                    decisions,
                    artifacts,
                    crystal.final_evidence.as_str(),
                    signed(crystal.final_turn_count),
                    created_at,
                ])
            })
            .doing("write a crystal")?;
        self.written.crystals += 1;
        Ok(())
    }

    /// Closes the file, brings it onto the disk, reads it again, and gives it its name. Says what is in it, how many
    /// times have an offset, and how long it is.
    pub(super) fn finish(self) -> Result<(Written, u64, u64), ExportError> {
        let Self { conn, written, times, partial, out } = self;
        let failed = |error| ExportError::write(&out, error);
        conn.execute_batch("COMMIT").doing("commit the export").map_err(failed)?;
        conn.close().map_err(|(_, error)| error).doing("close the export").map_err(failed)?;
        let file = OpenOptions::new().write(true).open(&partial.0).doing("open the export", &out);
        let file = file.map_err(failed)?;
        file.sync_all().doing("sync the export", &out).map_err(failed)?;
        let bytes = file.metadata().doing("measure the export", &out).map_err(failed)?.len();
        verify::verify(&partial.0, &out, written)?;
        give_name(&partial.0, &out)?;
        sync_folder(&out).doing("sync the export's folder", &out).map_err(failed)?;
        Ok((written, times.with_offset(), bytes))
    }

    fn holds(&self, id: &SessionId) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM chat_sessions WHERE id = ?1)")
            .and_then(|mut statement| statement.query_row([id.as_str()], |row| row.get(0)))
            .doing("look for a parent")
    }

    fn session_evidence(
        &mut self,
        session: &Session,
        evidence: &Evidence,
        legacy: Vec<LegacySet>,
        is_parent_there: bool,
    ) -> Result<String, StoreError> {
        let json =
            v1::evidence_json(session, session.last_active, evidence, session.turn_count(), &mut self.times);
        let extras = v1::session_extras(session, legacy, is_parent_there).encode()?;
        Ok(extras::insert(&json, &extras))
    }
}

/// Refuses a name that is none of a file, or taken, by a link that leads nowhere too.
fn refuse_taken(out: &Path) -> Result<(), ExportError> {
    let is_folder =
        out.as_os_str().as_encoded_bytes().last().is_some_and(|last| is_separator(char::from(*last)));
    if is_folder || out.file_name().is_none() {
        let source = io::Error::new(ErrorKind::InvalidInput, "it is no name of a file");
        return Err(ExportError::Folder { path: out.to_owned(), source });
    }
    let beside = COMPANIONS.map(|suffix| {
        let mut name = out.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    for path in std::iter::once(out.to_owned()).chain(beside) {
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(ExportError::Exists { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(ExportError::Folder { path: out.to_owned(), source }),
        }
    }
    Ok(())
}

/// A new file in the folder of `out`.
fn make_partial(out: &Path) -> Result<Partial, ExportError> {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder_of(out).join(format!(".membrane-export-{}-{number}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return Ok(Partial(path)),
            // Left behind by a process that was killed and had the same number.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                return Err(ExportError::write(out, StoreError::StorageFull));
            }
            Err(source) => return Err(ExportError::Folder { path: out.to_owned(), source }),
        }
    }
}

/// Gives the file its name, unless somebody else has it by now.
fn give_name(partial: &Path, out: &Path) -> Result<(), ExportError> {
    let linked = match fs::hard_link(partial, out) {
        Ok(()) => fs::remove_file(partial),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(ExportError::Exists { path: out.to_owned() });
        }
        // A file system without links, where a name cannot be taken on condition that it is free.
        Err(_) => {
            refuse_taken(out)?;
            fs::rename(partial, out)
        }
    };
    linked.doing("name the export", out).map_err(|error| ExportError::write(out, error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Folders cannot be opened here, and their entries are written with the file.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
