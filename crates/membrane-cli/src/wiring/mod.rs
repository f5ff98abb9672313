//! The file that names concrete backends (beside `old_source.rs`, for old data): a chosen database becomes a store, a chosen model a
//! responder.

mod cache;
mod models;
mod postgres;

pub(crate) use models::{project_models, responder};
pub(crate) use postgres::{
    check as check_postgres, examine as examine_postgres, trace_session as trace_postgres_session,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use membrane::core::time::Clock;
use membrane::store::kgents::Report;
pub(crate) use membrane::store::kgents::UpgradeOptions;
use membrane::store::memory::MemoryStore;
use membrane::store::transfer::{RowSink, RowSource};
use membrane::{Store, StoreStats, SystemClock};
use membrane_sqlite::backup::{self, Backup, BackupError, Place, Restored};
use membrane_sqlite::check::{CheckError, check_file};
pub(crate) use membrane_sqlite::check::{CheckReport, Theme};
pub(crate) use membrane_sqlite::doctor::{
    Check, Companion, Question, SessionTrace, Status, companions, examine, lock_meaning, trace_session,
};
use membrane_sqlite::migrations;
pub(crate) use membrane_sqlite::migrations::MigrationStatus;
pub(crate) use membrane_sqlite::repair::{RepairError, RepairOptions, Repaired, repair_file as repair};
use membrane_sqlite::transfer::{SqliteSink, SqliteSource};
use membrane_sqlite::{OldFormat, OpenError, SqliteOptions, SqliteStore, Synchronous, detect};

use crate::config::{Database, Settings, SqliteSettings};
use crate::failure::{Exit, Failure};

/// Whether a command may make a database that is not there. A mistyped name should not become a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// What opening a database did to kgents' tables in it.
pub(crate) struct Upgrade {
    pub(crate) backup: Kept,
    pub(crate) report: Report,
    /// What of others was in the way, and was overridden.
    pub(crate) forced: Option<String>,
}

/// Where what was upgraded is kept as it was.
pub(crate) enum Kept {
    /// In a copy of the file.
    File(PathBuf),
    /// In a schema of the same database.
    Schema(String),
}

/// An open database, and what opening it did to an old file.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) upgrade: Option<Upgrade>,
}

/// Opens the database, and brings its schema up to date.
pub(crate) async fn open(
    settings: &Settings,
    missing: Missing,
    old_files: UpgradeOptions,
) -> Result<Opened, Failure> {
    match &settings.database {
        Database::Memory => {
            Ok(Opened { store: Arc::new(MemoryStore::new(Arc::new(SystemClock))), upgrade: None })
        }
        Database::Sqlite(path) => {
            if missing == Missing::Refuse {
                expect_file(path)?;
            }
            let options = SqliteOptions { upgrade: old_files, ..sqlite_options(path, &settings.sqlite) };
            let store = SqliteStore::open(options).await.map_err(open_failure)?;
            let upgrade = store.upgrade().map(|upgrade| Upgrade {
                backup: Kept::File(upgrade.backup.clone()),
                report: upgrade.report.clone(),
                forced: upgrade.forced.clone(),
            });
            Ok(Opened { store: Arc::new(store), upgrade })
        }
        Database::Postgres(url) => postgres::open(url, &settings.postgres, missing, old_files).await,
    }
}

/// Opens the database for a server, which reads the same turns again and again: with a cache before it.
pub(crate) async fn open_to_serve(settings: &Settings, old_files: UpgradeOptions) -> Result<Opened, Failure> {
    let Opened { store, upgrade } = open(settings, Missing::Create, old_files).await?;
    let store = cache::before(store, &settings.database, &settings.cache).await?;
    Ok(Opened { store, upgrade })
}

/// Opens a database that is removed afterwards.
pub(crate) async fn open_throwaway(path: &Path) -> Result<Arc<dyn Store>, Failure> {
    let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::at(path) };
    Ok(Arc::new(SqliteStore::open(options).await.map_err(open_failure)?))
}

/// Refuses a database that is not there.
pub(crate) fn expect_file(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::not_found(format!(
        "there is no database at {}; make one with \"membrane serve\" or \"membrane append --new\", \
         or name another with --database-url",
        Database::Sqlite(path.to_owned()).shown()
    )))
}

/// Checks a file as it is, and says how much it holds.
pub(crate) fn check(path: &Path) -> Result<(CheckReport, Option<StoreStats>), Failure> {
    check_file(path).map_err(|error| match error {
        CheckError::Open(error) => open_failure(error),
        CheckError::Store(error) => error.into(),
        error @ CheckError::NoKeep { .. } => Failure::caused(Exit::Failure, "no_keep", &error),
    })
}

/// Says what the backends measure.
pub(crate) fn describe_metrics() {
    membrane_sqlite::telemetry::describe();
    membrane_postgres::telemetry::describe();
    membrane_cache::telemetry::describe();
    models::describe_metrics();
}

/// Which steps of the schema the database holds. Changes nothing.
pub(crate) async fn migration_status(settings: &Settings) -> Result<Vec<MigrationStatus>, Failure> {
    match &settings.database {
        Database::Memory => Err(Failure::usage("memory: has no schema; name a file with --database-url")),
        Database::Sqlite(path) => SqliteStore::migration_status(path).map_err(open_failure),
        Database::Postgres(url) => postgres::migration_status(url, &settings.postgres).await,
    }
}

/// Copies the database into a file or a folder, and removes older copies from that beyond `keep`.
pub(crate) fn back_up(
    settings: &Settings,
    to: Option<&Path>,
    keep: Option<u32>,
) -> Result<BackedUp, Failure> {
    let path = sqlite_path(settings, "backed up", "pg_dump --format=custom --file=FILE --dbname=URL")?;
    if !path.exists() {
        return Err(Failure::not_found(format!(
            "there is no database at {}; name another with --database-url",
            settings.database.shown()
        )));
    }
    let place = match to {
        None => Place::Folder(backup::default_folder(path)),
        Some(to) if to.is_dir() || to.to_string_lossy().ends_with(std::path::is_separator) => {
            Place::Folder(to.to_owned())
        }
        Some(to) => Place::File(to.to_owned()),
    };
    if let (Place::File(file), Some(keep)) = (&place, keep) {
        return Err(Failure::usage(format!(
            "--keep {keep} is about the backups in a folder, and {} is none; end a new folder's name in /",
            file.display()
        )));
    }
    let options = sqlite_options(path, &settings.sqlite);
    let made = backup::back_up(&options, &place, SystemClock.now()).map_err(backup_failure)?;
    let removed = match (&place, keep) {
        // Older ones may be the last that hold together.
        (Place::Folder(folder), Some(keep)) if made.contents.findings.is_empty() => {
            let keep = usize::try_from(keep).unwrap_or(usize::MAX);
            backup::remove_old_backups(path, folder, keep)
                .map_err(|error| backup_failure(error).after(&format!("{} was made", made.path.display())))?
        }
        _ => Vec::new(),
    };
    Ok(BackedUp { made, removed })
}

/// Puts a backup in the place of the database.
pub(crate) fn restore(settings: &Settings, file: &Path) -> Result<Restored, Failure> {
    let path = sqlite_path(settings, "restored", "pg_restore --clean --if-exists --dbname=URL FILE")?;
    if file.is_dir() {
        return Err(Failure::usage(format!("{} is a folder; name one of the backups in it", file.display())));
    }
    let options = sqlite_options(path, &settings.sqlite);
    backup::restore(file, &options, SystemClock.now()).map_err(backup_failure)
}

/// What `membrane backup` did.
pub(crate) struct BackedUp {
    pub(crate) made: Backup,
    pub(crate) removed: Vec<PathBuf>,
}

fn sqlite_path<'a>(settings: &'a Settings, done: &str, instead: &str) -> Result<&'a Path, Failure> {
    match &settings.database {
        Database::Sqlite(path) => Ok(path),
        Database::Postgres(url) => Err(Failure::usage(format!(
            "{url} is no file that could be {done} here; use PostgreSQL's own: {instead}"
        ))),
        Database::Memory => Err(Failure::usage(format!(
            "memory: cannot be {done}: it goes with its process; name a file with --database-url"
        ))),
    }
}

/// Opens the keep that is copied, and the database that is copied into, in which nothing is changed yet. Refuses to copy a
/// database onto itself.
pub(crate) async fn open_copy(
    from: &Database,
    to: &Database,
    settings: &Settings,
) -> Result<(Box<dyn RowSource>, Box<dyn RowSink>), Failure> {
    let refuse_same = |is_same: bool| {
        if !is_same {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--from and --to name the same database, {}; name another one with --to",
            from.shown()
        )))
    };
    if let (Database::Sqlite(from), Database::Sqlite(to)) = (from, to) {
        let names = (from.canonicalize(), to.canonicalize());
        refuse_same(from == to || matches!(names, (Ok(from), Ok(to)) if from == to))?;
    }
    if let (Database::Postgres(from), Database::Postgres(to)) = (from, to) {
        let source = postgres::open_copy_source(from, &settings.postgres).await?;
        let target = postgres::open_copy_target(to, &settings.postgres).await?;
        refuse_same(source.identity() == target.identity())?;
        return Ok((Box::new(source), Box::new(target)));
    }
    Ok((open_copy_source(from, settings).await?, open_copy_target(to, settings).await?))
}

async fn open_copy_source(database: &Database, settings: &Settings) -> Result<Box<dyn RowSource>, Failure> {
    let path = match database {
        Database::Postgres(url) => {
            return Ok(Box::new(postgres::open_copy_source(url, &settings.postgres).await?));
        }
        Database::Sqlite(path) => path,
        Database::Memory => return Err(memory_failure("--from")),
    };
    if !path.exists() {
        return Err(Failure::not_found(format!(
            "there is no database at {}; name another with --from",
            database.shown()
        )));
    }
    match detect(path).map_err(open_failure)? {
        OldFormat::Membrane | OldFormat::V1 => {}
        OldFormat::Universe => {
            return Err(Failure::usage(format!(
                "{} is a database of kgents' Universe; take it in with \"membrane import kgents {}\"",
                path.display(),
                path.display()
            )));
        }
        OldFormat::Unknown { .. } | OldFormat::NotSqlite => {
            return Err(Failure::usage(format!(
                "{} holds no keep; name another database with --from",
                path.display()
            )));
        }
    }
    let source = SqliteSource::open(&sqlite_options(path, &settings.sqlite)).map_err(open_failure)?;
    Ok(Box::new(source))
}

async fn open_copy_target(database: &Database, settings: &Settings) -> Result<Box<dyn RowSink>, Failure> {
    match database {
        Database::Postgres(url) => Ok(Box::new(postgres::open_copy_target(url, &settings.postgres).await?)),
        Database::Sqlite(path) => {
            let options = sqlite_options(path, &settings.sqlite);
            Ok(Box::new(SqliteSink::open(options).map_err(open_failure)?))
        }
        Database::Memory => Err(memory_failure("--to")),
    }
}

/// How a copy that was interrupted knows its source again, without a password.
pub(crate) fn name_of_copied(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => {
            Database::Sqlite(path.canonicalize().unwrap_or_else(|_| path.clone())).shown()
        }
        Database::Memory | Database::Postgres(_) => database.shown(),
    }
}

fn memory_failure(flag: &str) -> Failure {
    Failure::usage(format!("{flag}: memory: cannot be copied: it goes with its process; name a file"))
}

/// The whole schema.
pub(crate) fn schema_sql() -> String {
    migrations::sql()
}

fn sqlite_options(path: &Path, settings: &SqliteSettings) -> SqliteOptions {
    SqliteOptions {
        busy_timeout: settings.busy_timeout,
        queue_len: settings.queue_len,
        max_batch: settings.max_batch,
        readers: settings.readers,
        cache_kib: settings.cache_kib,
        checkpoint_pages: settings.checkpoint_pages,
        // How a commit is synced is the promise itself, and not to be set.
        ..SqliteOptions::at(path)
    }
}

fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::Store(error) => error.into(),
        error @ OpenError::UnfinishedCopy { .. } => {
            Failure::caused(Exit::Conflict, "unfinished_copy", &error)
        }
        error => Failure::caused(Exit::Failure, "failed", &error),
    }
}

fn backup_failure(error: BackupError) -> Failure {
    let (exit, code) = match error {
        BackupError::Store(error) => return error.into(),
        BackupError::Open(error) => return open_failure(*error),
        BackupError::AlreadyThere { .. } | BackupError::StrayLog { .. } => (Exit::Conflict, "already_there"),
        BackupError::InUse { .. } => (Exit::Unavailable, "in_use"),
        BackupError::Itself { .. } => (Exit::Usage, "invalid_argument"),
        BackupError::Damaged { .. } | BackupError::Differs { .. } => (Exit::Failure, "damaged"),
        BackupError::Contradicts { .. } => (Exit::Failure, "inconsistent"),
        BackupError::NoKeep { .. } => (Exit::Failure, "no_keep"),
        BackupError::Io { .. } => (Exit::Failure, "failed"),
    };
    Failure::caused(exit, code, &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_settings;

    #[test]
    fn what_is_not_set_is_as_the_store_has_it() {
        let ours = sqlite_options(Path::new("a.db"), &default_settings().sqlite);
        assert_eq!(format!("{ours:?}"), format!("{:?}", SqliteOptions::at("a.db")));
    }
}
