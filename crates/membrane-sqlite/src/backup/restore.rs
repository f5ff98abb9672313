//! The way back: a backup takes the place of the present database, which is set aside.
//!
//! The backup is copied beside the database and proved first. The present database is then held so that nobody else
//! can have it open, and its log is moved into it: so it is one file, without anything beside it that could be taken
//! for the new one's. One rename changes the one for the other. Whoever is killed on the way leaves the old one or the
//! new one, whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use membrane_core::time::Timestamp;
use membrane_store::StoreError;
use rusqlite::{Connection, OpenFlags};

use super::contents::{Contents, identify};
use super::copy::{Copy, refuse_taken};
use super::keep::aside_name;
use super::users::list_users;
use super::workshop::{folder_of, sync_folder};
use super::{BackupError, copy_verified};
use crate::connection::{index_path, journal_path, log_path, make_folder, open_to_look, real_path};
use crate::options::SqliteOptions;

/// Between two tries for a database that another process has open for a moment.
const PAUSE: Duration = Duration::from_millis(5);

/// A backup that was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The database.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What is in it.
    pub contents: Contents,
    /// What became of the database that was there.
    pub aside: Option<Aside>,
}

/// A database that made room for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it is now.
    pub path: PathBuf,
    /// Why it could not be verified: it is then the file as it was, with its log beside it if it had one.
    pub damage: Option<String>,
}

/// Puts a backup in the place of a database.
///
/// The backup must be a keep of Membrane's that holds together, or a file of kgents'. The present database is set
/// aside beside its place first, as a verified backup; one that is too damaged for that, as it is.
///
/// # Errors
/// [`BackupError`]; the present database is then as it was.
pub fn restore(file: &Path, options: &SqliteOptions, now: Timestamp) -> Result<Restored, BackupError> {
    let database = real_path(&options.path);
    if real_path(file) == database {
        return Err(BackupError::Itself { path: database });
    }
    let options = SqliteOptions { path: database.clone(), ..options.clone() };
    refuse_users(&options)?;
    make_folder(&options)?;
    let from = open_to_look(&SqliteOptions { path: file.to_owned(), ..options.clone() }, OpenFlags::empty())?;
    // Before the work, which may be long.
    identify(&from, file)?;
    refuse_cut_off(&from, file)?;
    let copy = Copy::make(&from, file, &database)?;
    drop(from);
    let contents = copy.contents(file)?;
    if let Some(first) = contents.findings.first() {
        let count = contents.findings.len();
        return Err(BackupError::Contradicts { path: file.to_owned(), count, first: first.clone() });
    }
    copy.forget_events(now)?;
    let (bytes, _) = copy.measure()?;
    let aside = if database.symlink_metadata().is_ok() {
        // Until the end, so that nobody opens what is about to go.
        let held = hold(&options);
        let aside = match &held {
            Ok(held) => set_aside(held, &database, now)?,
            Err(BackupError::Damaged { problem, .. }) => set_aside_as_it_is(&database, now, problem)?,
            Err(_) => return Err(held.err().unwrap_or_else(|| in_use(&options))),
        };
        copy.workshop.take_owner_of(&database)?;
        copy.workshop.replace(&database)?;
        Some(aside)
    } else {
        refuse_taken(&database)?;
        copy.workshop.place_new(&database)?;
        None
    };
    Ok(Restored { path: database, bytes, contents, aside })
}

/// Refuses a file that ends within a page: SQLite would read nothing but zeros for what is missing. Where there is a
/// log, that page may be in it.
fn refuse_cut_off(from: &Connection, file: &Path) -> Result<(), BackupError> {
    let size: rusqlite::Result<i64> = from.query_row("PRAGMA page_size", [], |row| row.get(0));
    let size = size.map_err(|error| BackupError::sqlite(file, "read its page size", error))?;
    let length = fs::metadata(file).map_err(|error| BackupError::io(file, "measure", error))?.len();
    let beyond = length.checked_rem(size.unsigned_abs()).unwrap_or(0);
    if beyond == 0 || log_path(file).exists() {
        return Ok(());
    }
    let problem = format!("it is cut off: its {length} bytes are no whole number of pages of {size} bytes");
    Err(BackupError::Damaged { path: file.to_owned(), problem })
}

fn refuse_users(options: &SqliteOptions) -> Result<(), BackupError> {
    let users = list_users(options);
    if users.is_empty() {
        return Ok(());
    }
    Err(BackupError::InUse { path: options.path.clone(), users: users.join(", ") })
}

fn in_use(options: &SqliteOptions) -> BackupError {
    let users = list_users(options);
    let users = if users.is_empty() { "another process".to_owned() } else { users.join(", ") };
    BackupError::InUse { path: options.path.clone(), users }
}

/// Moves the log into the main file, and keeps everybody else out of that for as long as the connection lives.
fn hold(options: &SqliteOptions) -> Result<Connection, BackupError> {
    let until = Instant::now() + options.busy_timeout;
    let conn = open_to_look(options, OpenFlags::empty())?;
    loop {
        match try_hold(&conn, &options.path) {
            Ok(true) => return Ok(conn),
            Ok(false) | Err(BackupError::Store(StoreError::Unavailable { .. })) if Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Ok(false) | Err(BackupError::Store(StoreError::Unavailable { .. })) => {
                return Err(in_use(options));
            }
            Err(error) => return Err(error),
        }
    }
}

/// `false` if somebody came between the two steps. With a write-ahead log, whoever has the database open holds a
/// lock on it, so that leaving that mode is refused; without one, the lock of this connection keeps all others out.
fn try_hold(conn: &Connection, path: &Path) -> Result<bool, BackupError> {
    let failed = |error| BackupError::sqlite(path, "hold the database", error);
    let mode = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(failed);
    mode("PRAGMA locking_mode = NORMAL")?;
    if mode("PRAGMA journal_mode = DELETE")? != "delete" {
        return Ok(false);
    }
    mode("PRAGMA locking_mode = EXCLUSIVE")?;
    conn.execute_batch("BEGIN EXCLUSIVE; COMMIT").map_err(failed)?;
    Ok(mode("PRAGMA journal_mode")? == "delete")
}

fn set_aside(held: &Connection, database: &Path, now: Timestamp) -> Result<Aside, BackupError> {
    let folder = folder_of(database);
    let mut number = 1;
    loop {
        let path = folder.join(aside_name(database, now, number));
        number += 1;
        match copy_verified(held, database, &path) {
            Ok(()) => return Ok(Aside { path, damage: None }),
            Err(BackupError::AlreadyThere { .. } | BackupError::StrayLog { .. }) => {}
            Err(BackupError::Damaged { problem, .. }) => return set_aside_as_it_is(database, now, &problem),
            Err(error) => return Err(error),
        }
    }
}

/// Gives the file another name, under which it stays when the new one takes its place, and its log too.
fn set_aside_as_it_is(database: &Path, now: Timestamp, damage: &str) -> Result<Aside, BackupError> {
    let folder = folder_of(database);
    let beside = [log_path(database), journal_path(database)];
    let mut number = 1;
    let path = loop {
        let path = folder.join(aside_name(database, now, number));
        number += 1;
        if matches!(refuse_taken(&path), Err(BackupError::AlreadyThere { .. } | BackupError::StrayLog { .. }))
        {
            continue;
        }
        match link(database, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => {
                break linked
                    .map(|()| path)
                    .map_err(|error| BackupError::io(database, "set aside", error))?;
            }
        }
    };
    for (from, to) in beside.iter().zip([log_path(&path), journal_path(&path)]) {
        match link(from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io(from, "set aside", error));
            }
            _ => {}
        }
    }
    sync_folder(&folder)?;
    for gone in [log_path(database), journal_path(database), index_path(database)] {
        match fs::remove_file(&gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io(&gone, "remove", error));
            }
            _ => {}
        }
    }
    sync_folder(&folder)?;
    Ok(Aside { path, damage: Some(damage.to_owned()) })
}

/// A second name, or where there is no such thing a copy.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
            fs::copy(from, to)?;
            fs::File::open(to)?.sync_all()
        }
        linked => linked,
    }
}
