//! A V1 file becomes a keep where it is, in one transaction: until its end, and whatever ends it before, the file is
//! what it was.

use std::path::{Path, PathBuf};

use membrane_core::time::{Clock, SystemClock};
use membrane_store::kgents::{self, LoadError, LoadOptions, Report};
use rusqlite::{Connection, OpenFlags};

use super::sink::UpgradeSink;
use super::source::V1Source;
use super::{Shape, find_hindrances};
use crate::backup::{BackupError, copy_verified};
use crate::connection::{open_to_look, real_path};
use crate::error::{Doing, OpenError, open_error, store_error};
use crate::migrations::{self, Contents};
use crate::options::SqliteOptions;

/// After how many turns the log is told how far an upgrade is.
const TELL_EVERY: u64 = 100_000;

/// What became of a V1 file.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The copy of it as it was.
    pub backup: PathBuf,
    /// What was in it, and what of it was odd.
    pub report: Report,
    /// What of others was in the way, and was overridden.
    pub forced: Option<String>,
}

/// Upgrades the file; `None` if another process has done it meanwhile.
pub(crate) fn upgrade(conn: &Connection, options: &SqliteOptions) -> Result<Option<Upgrade>, OpenError> {
    let doing = "upgrade a kgents V1 file";
    let path = &options.path;
    // A keep's foreign keys would look at the old tables; freed pages must not keep what is deleted later.
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA secure_delete = ON; PRAGMA synchronous = FULL")
        .map_err(|error| open_error(path, doing, error))?;
    conn.pragma_update(None, "cache_size", format!("-{}", options.cache_kib)).doing(doing)?;
    conn.set_prepared_statement_cache_capacity(256);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(|error| open_error(path, doing, error))?;
    let result = upgrade_locked(conn, options);
    let ended = match &result {
        Ok(Some(_)) => conn.execute_batch("COMMIT"),
        // A full disk has ended it already.
        _ if conn.is_autocommit() => Ok(()),
        _ => conn.execute_batch("ROLLBACK"),
    };
    match (result, ended) {
        (Ok(upgrade), Ok(())) => Ok(upgrade),
        (Ok(upgrade), Err(error)) => {
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK").doing(doing)?;
            }
            remove_backup(upgrade.as_ref().map(|upgrade| upgrade.backup.as_path()));
            Err(store_error(doing, error).into())
        }
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(rollback)) => {
            tracing::error!(%rollback, "taking back an upgrade failed; SQLite does it at the next opening");
            Err(error)
        }
    }
}

fn upgrade_locked(conn: &Connection, options: &SqliteOptions) -> Result<Option<Upgrade>, OpenError> {
    let path = &options.path;
    let Contents::V1(shape) = migrations::inspect(conn, path)? else { return Ok(None) };
    let hindrances =
        find_hindrances(conn).map_err(|error| open_error(path, "look for other tables", error))?;
    let hindrance = (!hindrances.is_empty()).then(|| hindrances.join("; and "));
    if let (Some(reason), false) = (&hindrance, options.upgrade.force) {
        return Err(OpenError::UpgradeBlocked { path: path.clone(), reason: reason.clone() });
    }
    let backup = make_backup(options)?;
    match rebuild(conn, options, &shape, &backup) {
        Ok(report) => Ok(Some(Upgrade { backup, report, forced: hindrance })),
        Err(error) => {
            remove_backup(Some(&backup));
            Err(error)
        }
    }
}

/// Copies the file, while the lock is held, to a name of its own beside it. By another connection: SQLite copies
/// nothing for one that may be writing.
fn make_backup(options: &SqliteOptions) -> Result<PathBuf, OpenError> {
    let path = &options.path;
    let file = real_path(path);
    let conn = open_to_look(options, OpenFlags::empty())?;
    let now = SystemClock.now().to_string();
    let stamp: String = now.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let mut name = file.clone().into_os_string();
        name.push(format!(".kgents-v1-{stamp}Z{suffix}.backup"));
        let backup = PathBuf::from(name);
        match copy_verified(&conn, &file, &backup) {
            Ok(()) => {
                tracing::info!(backup = %backup.display(), "copied the kgents V1 file before its upgrade");
                return Ok(backup);
            }
            Err(BackupError::AlreadyThere { .. }) => number += 1,
            Err(BackupError::Store(source)) => return Err(source.into()),
            Err(source) => return Err(OpenError::Backup { path: path.clone(), source }),
        }
    }
}

/// What was not upgraded needs no copy.
fn remove_backup(backup: Option<&Path>) {
    if let Some(backup) = backup
        && let Err(error) = std::fs::remove_file(backup)
    {
        tracing::warn!(backup = %backup.display(), %error, "a backup that is not needed could not be removed");
    }
}

fn rebuild(
    conn: &Connection,
    options: &SqliteOptions,
    shape: &Shape,
    backup: &Path,
) -> Result<Report, OpenError> {
    let path = &options.path;
    let mut source = V1Source::open(backup)?;
    for table in shape.tables() {
        conn.execute_batch(&format!("DROP TABLE {table}"))
            .map_err(|error| open_error(path, "make room for the new tables", error))?;
    }
    migrations::apply_missing(conn, path)?;
    let mut sink = UpgradeSink::new(conn);
    let load = LoadOptions { naive_zone: options.upgrade.naive_zone.clone(), now: SystemClock.now() };
    let mut told = 0;
    let mut watch = |report: &Report| {
        if report.turns_written >= told + TELL_EVERY {
            told = report.turns_written;
            tracing::info!(turns = told, sessions = report.sessions_created, "upgrading");
        }
    };
    let report =
        kgents::load(&mut source, &mut sink, &load, &mut watch).map_err(|source| explain(path, source))?;
    if !report.is_complete() {
        // Never seen; to lose rows in silence would be worse than to refuse.
        let problem = format!("the rows that were read and skipped are not all: {:?}", report.tables);
        return Err(membrane_store::StoreError::inconsistent("(file)", path.display(), problem).into());
    }
    Ok(report)
}

/// A full disk and a held database are what they are everywhere.
fn explain(path: &Path, error: LoadError) -> OpenError {
    use membrane_store::StoreError;
    match error {
        LoadError::Sink {
            source: source @ (StoreError::StorageFull | StoreError::Unavailable { .. }),
            ..
        } => OpenError::Store(source),
        source => OpenError::Upgrade { path: path.to_owned(), source },
    }
}
