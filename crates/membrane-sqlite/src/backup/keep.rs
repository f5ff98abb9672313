//! Backups of a keep: where they go, what they are called, and which of them go again.

use std::fs;
use std::path::{Path, PathBuf};

use membrane_core::time::Timestamp;
use rusqlite::OpenFlags;

use super::BackupError;
use super::contents::{Contents, identify};
use super::copy::{Copy, refuse_taken};
use super::workshop::folder_of;
use crate::connection::{open_to_look, real_path};
use crate::options::SqliteOptions;

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into this file, which is not there yet.
    File(PathBuf),
    /// Into this folder, made if it is missing, under a name of the time.
    Folder(PathBuf),
}

/// A backup that was made and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hex digits.
    pub sha256: String,
    /// Tables that were compared with those of the database, value by value.
    pub tables: u64,
    /// Rows of these.
    pub rows: u64,
    /// What is in it.
    pub contents: Contents,
}

/// The folder for backups of a database if none is named: `backups` beside it.
pub fn default_folder(database: &Path) -> PathBuf {
    folder_of(&real_path(database)).join("backups")
}

/// Makes a backup of a keep, or of a file of kgents', that others may have open and write to: one snapshot, verified
/// before it has its name ([`BackupError`] says how that may fail). Findings of the keep's own check are told in
/// [`Contents::findings`]: they stand in the database as well, and the backup is kept.
///
/// # Errors
/// [`BackupError`]; nothing is left behind then.
pub fn back_up(options: &SqliteOptions, place: &Place, now: Timestamp) -> Result<Backup, BackupError> {
    let folder = match place {
        Place::File(file) => {
            refuse_taken(file)?;
            folder_of(file)
        }
        Place::Folder(folder) => {
            fs::create_dir_all(folder).map_err(|error| BackupError::io(folder, "make the folder", error))?;
            folder.clone()
        }
    };
    let from = open_to_look(options, OpenFlags::empty())?;
    // Before the work, which may be long.
    identify(&from, &options.path)?;
    let name = backup_name(&options.path, now, 1);
    let copy = Copy::make(&from, &options.path, &folder.join(name))?;
    let contents = copy.contents(&options.path)?;
    let (bytes, sha256) = copy.measure()?;
    let path = match place {
        Place::File(file) => {
            copy.workshop.place_new(file)?;
            file.clone()
        }
        Place::Folder(folder) => {
            copy.place_numbered(|number| folder.join(backup_name(&options.path, now, number)))?
        }
    };
    let (tables, rows) = (copy.content.tables(), copy.content.rows());
    Ok(Backup { path, bytes, sha256, tables, rows, contents })
}

/// Removes the oldest backups of this database from a folder, so that `keep` are left, and says which. It is
/// known by their names which these are: other files stay, those of other databases among them.
///
/// # Errors
/// [`BackupError::Io`].
pub fn remove_old_backups(database: &Path, folder: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let failed = |error| BackupError::io(folder, "list the backups in", error);
    let mut backups = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().map_err(failed)?.is_file();
        if let Some(order) = entry.file_name().to_str().and_then(|name| order_of(database, name))
            && is_file
        {
            backups.push((order, entry.path()));
        }
    }
    backups.sort();
    let old: Vec<_> = backups.iter().rev().skip(keep).rev().map(|(_, path)| path.clone()).collect();
    for path in &old {
        fs::remove_file(path).map_err(|error| BackupError::io(path, "remove the old backup", error))?;
    }
    Ok(old)
}

/// `NAME-20261124T155000Z.db`, then `NAME-20261124T155000Z-2.db`.
fn backup_name(database: &Path, now: Timestamp, number: u32) -> String {
    numbered(&format!("{}-{}", stem(database), compact(now)), number)
}

/// `NAME-before-restore-20261124T155000Z.db`, then with `-2`.
pub(super) fn aside_name(database: &Path, now: Timestamp, number: u32) -> String {
    numbered(&format!("{}-before-restore-{}", stem(database), compact(now)), number)
}

fn numbered(name: &str, number: u32) -> String {
    if number == 1 { format!("{name}.db") } else { format!("{name}-{number}.db") }
}

/// The database's name without `.db`; with any other ending, so that backups of two databases never mix.
fn stem(database: &Path) -> String {
    let name = real_path(database).file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_suffix(".db").map(str::to_owned).unwrap_or(name)
}

/// `20261124T155000Z`.
fn compact(time: Timestamp) -> String {
    let text = time.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

/// When a backup of this database was made, by its name, and which of that second it is. `None` for any other name.
fn order_of(database: &Path, name: &str) -> Option<(String, u32)> {
    let rest = name.strip_prefix(&stem(database))?.strip_prefix('-')?.strip_suffix(".db")?;
    let (time, number) = match rest.split_once('-') {
        None => (rest, 1),
        Some((time, number)) => (time, number.parse().ok().filter(|number| *number > 1)?),
    };
    let is_time = time.len() == 16
        && time.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    (is_time && numbered(&format!("{}-{time}", stem(database)), number) == name)
        .then(|| (time.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_when_its_backup_was_made_and_of_which_database() {
        let now = Timestamp::parse("2026-11-24T15:50:00.999999Z").unwrap();
        let database = Path::new("/x/keep.db");
        assert_eq!(backup_name(database, now, 1), "keep-20261124T155000Z.db");
        assert_eq!(backup_name(database, now, 12), "keep-20261124T155000Z-12.db");
        assert_eq!(backup_name(Path::new("keep.sqlite"), now, 1), "keep.sqlite-20261124T155000Z.db");
        assert_eq!(aside_name(database, now, 2), "keep-before-restore-20261124T155000Z-2.db");
        let order = |name| order_of(database, name);
        assert_eq!(order("keep-20261124T155000Z.db"), Some(("20261124T155000Z".to_owned(), 1)));
        assert_eq!(order("keep-20261124T155000Z-12.db"), Some(("20261124T155000Z".to_owned(), 12)));
        for other in [
            "keep.db",
            "keep-20261124T155000Z.db-wal",
            "keep-20261124T155000.db",
            "keep-20261124T155000Z-1.db",
            "keep-20261124T155000Z-02.db",
            "keep-20261124T155000Z-x.db",
            "keep-x-20261124T155000Z.db",
            "keep-before-restore-20261124T155000Z.db",
            "keep-2026112xT155000Z.db",
            "kee-20261124T155000Z.db",
            "keep-20261124é155000Z.db",
        ] {
            assert_eq!(order(other), None, "{other}");
        }
    }
}
