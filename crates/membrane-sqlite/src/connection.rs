//! Opening connections: flags, pragmas, and waiting for other processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use membrane_store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Doing, FILE, OpenError, open_error};
use crate::options::SqliteOptions;

/// How many prepared statements a connection keeps; more than there are.
const STATEMENTS: usize = 256;

/// The shortest and the spread of the pauses between two tries for a lock. Short ones, because another
/// process leaves only a gap of microseconds between two of its commits.
const PAUSE: Duration = Duration::from_micros(100);
const PAUSE_SPREAD_MICROS: u64 = 700;

/// Makes the folder of the file if it is missing.
pub(crate) fn make_folder(options: &SqliteOptions) -> Result<(), OpenError> {
    match options.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|source| OpenError::Io { path: folder.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Opens a connection to look at a file that may be another's, or may not be there yet if `flags` say so.
/// As long as it only reads, the file and what lies beside it are the same after it was closed: it may
/// write, because one that may not would leave a log behind that it made; and a log that was there before
/// it does not move into the file.
pub(crate) fn open_to_look(options: &SqliteOptions, flags: OpenFlags) -> Result<Connection, OpenError> {
    let had_log = log_path(&options.path).exists();
    let mut conn = open(options, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    wait_politely(&mut conn, options.busy_timeout)?;
    keep_log_on_close(&conn, had_log)?;
    Ok(conn)
}

/// Refuses a file that may only be read, which SQLite opens all the same.
pub(crate) fn refuse_read_only(conn: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    if conn.is_readonly("main").doing("ask whether the file may be written")? {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        return Err(OpenError::Io { path: options.path.clone(), source });
    }
    Ok(())
}

/// Makes a connection that looked at the file the one that writes.
pub(crate) fn make_writer(conn: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    keep_log_on_close(conn, false)?;
    use_write_ahead_log(conn, options)?;
    set(conn, options, "synchronous", options.synchronous.as_str())?;
    set(conn, options, "foreign_keys", "ON")?;
    set(conn, options, "secure_delete", "ON")?;
    set(conn, options, "wal_autocheckpoint", "0")?;
    set(conn, options, "temp_store", "MEMORY")?;
    set(conn, options, "cache_size", &format!("-{}", options.cache_kib))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// The file's write-ahead log; beside the file itself, wherever links led to it.
pub(crate) fn log_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// The index of the log.
pub(crate) fn index_path(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// What a transaction without a write-ahead log leaves behind when it is cut off.
pub(crate) fn journal_path(path: &Path) -> PathBuf {
    beside(path, "-journal")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = real_path(path).into_os_string();
    name.push(suffix);
    name.into()
}

/// The file itself, wherever links led to it. What belongs to it lies beside it.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(options: &SqliteOptions) -> Result<Connection, OpenError> {
    let mut conn = open(options, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    wait_politely(&mut conn, options.busy_timeout)?;
    set(&conn, options, "query_only", "ON")?;
    set(&conn, options, "temp_store", "MEMORY")?;
    set(&conn, options, "cache_size", &format!("-{}", options.cache_kib))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

fn open(options: &SqliteOptions, flags: OpenFlags) -> Result<Connection, OpenError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let opened = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(&options.path, flags, vfs.as_str()),
        None => Connection::open_with_flags(&options.path, flags),
    };
    let conn = opened.map_err(|error| open_error(&options.path, "open the file", error))?;
    // Plans must not depend on bound values: SQLite would prepare some statements again at each use.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).doing("configure a connection")?;
    Ok(conn)
}

fn keep_log_on_close(conn: &Connection, keep: bool) -> Result<(), StoreError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
        .map(|_| ())
        .doing("configure a connection")
}

fn set(conn: &Connection, options: &SqliteOptions, pragma: &str, value: &str) -> Result<(), OpenError> {
    // Some pragmas answer with a row, some do not; both are fine.
    conn.pragma_update_and_check(None, pragma, value, |_| Ok(()))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            other => Err(other),
        })
        .map_err(|error| open_error(&options.path, "configure a connection", error))
}

/// How long a connection waits for locks; may be changed while it is open.
#[derive(Debug, Clone)]
pub(crate) struct Patience(Arc<AtomicU64>);

impl Patience {
    fn new(timeout: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(micros(timeout))))
    }

    /// From now on it waits this long.
    pub(crate) fn set(&self, timeout: Duration) {
        self.0.store(micros(timeout), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn micros(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)
}

/// Waits for locks in short, uneven steps until `timeout` is over.
pub(crate) fn wait_politely(conn: &mut Connection, timeout: Duration) -> Result<Patience, StoreError> {
    let patience = Patience::new(timeout);
    let shown = patience.clone();
    let mut since = Instant::now();
    let mut noise = u64::from(std::process::id()) | 1;
    conn.busy_handler(Some(move |tries: i32| {
        if tries == 0 {
            since = Instant::now();
        }
        if since.elapsed() >= patience.get() {
            return false;
        }
        // Xorshift; two processes that poll in step would keep missing the same gap.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        std::thread::sleep(PAUSE + Duration::from_micros(noise % PAUSE_SPREAD_MICROS));
        true
    }))
    .doing("configure a connection")?;
    Ok(shown)
}

/// Switches to the write-ahead log. SQLite does not call the busy handler here, so two processes that
/// open a new file at the same moment are told to wait by us.
fn use_write_ahead_log(conn: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    let until = Instant::now() + options.busy_timeout;
    loop {
        let switched: rusqlite::Result<String> =
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::inconsistent(
                    FILE,
                    options.path.display(),
                    format_args!("journal mode stays {mode}; the file system must support shared memory"),
                )
                .into());
            }
            Err(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                    if Instant::now() < until =>
                {
                    std::thread::sleep(PAUSE);
                }
                _ => return Err(open_error(&options.path, "switch to the write-ahead log", error)),
            },
        }
    }
}
