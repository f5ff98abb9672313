//! The copy that is made before anything is changed: page by page, so that it holds the damage, too, and is exactly
//! what there was.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use membrane_core::time::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::report::RepairError;
use crate::backup::{BackupError, copy_verified};
use crate::connection::real_path;
use crate::integrity::{Depth, find_damage};

/// How many pages are copied between two looks.
const PAGES: i32 = 4096;

/// How long another process may be in the way, and how soon that is looked at again.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Copies the database beside its file and compares the copy with it. Where the file itself is damaged, which no
/// backup may be, the copy must say the same as it, damage included.
pub(super) fn copy_beside(conn: &Connection, path: &Path, now: Timestamp) -> Result<PathBuf, RepairError> {
    let to = free_name(path, now);
    match copy_verified(conn, path, &to) {
        Ok(()) => return Ok(to),
        Err(BackupError::Damaged { .. }) => {}
        Err(BackupError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(RepairError::Copy { problem: in_words(&error), path: to }),
    }
    let made = copy(conn, &to).and_then(|()| {
        sync(path, &to).map_err(|error| error.to_string())?;
        compare(conn, &to)
    });
    match made {
        Ok(()) => Ok(to),
        Err(problem) => {
            // What is left of it is of no use to anybody, and the failure is told.
            let _ = fs::remove_file(&to);
            Err(RepairError::Copy { path: to, problem })
        }
    }
}

fn in_words(error: &BackupError) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A name that nothing has yet.
fn free_name(path: &Path, now: Timestamp) -> PathBuf {
    let stamp: String = now.to_string().chars().take(19).filter(|char| !"-:".contains(*char)).collect();
    let mut number = 1_u32;
    loop {
        let mut name = real_path(path).into_os_string();
        name.push(format!(".before-repair-{stamp}Z"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let name = PathBuf::from(name);
        if name.symlink_metadata().is_err() {
            return name;
        }
        number += 1;
    }
}

fn copy(from: &Connection, to: &Path) -> Result<(), String> {
    // Nobody takes the name meanwhile, and nobody else may read it.
    private(to).map_err(|error| error.to_string())?;
    let mut target = Connection::open(to).map_err(|error| error.to_string())?;
    let backup = Backup::new(from, &mut target).map_err(|error| error.to_string())?;
    let mut until = Instant::now() + PATIENCE;
    loop {
        match backup.step(PAGES).map_err(|error| error.to_string())? {
            StepResult::Done => return Ok(()),
            StepResult::More => until = Instant::now() + PATIENCE,
            _ if Instant::now() < until => std::thread::sleep(PAUSE),
            _ => {
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "another process has the database locked for {seconds} s; stop it first"
                ));
            }
        }
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

/// Makes the copy safe, with the permissions of what was copied.
fn sync(from: &Path, path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::metadata(from)?.permissions())?;
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Whether the copy says the same as what it was made of: SQLite's own check, the schema, and the rows of every table.
fn compare(original: &Connection, path: &Path) -> Result<(), String> {
    let copy = Connection::open_with_flags(
        path,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| error.to_string())?;
    let (there, here) = (describe(original), describe(&copy));
    match (there, here) {
        (Ok(there), Ok(here)) if there == here => Ok(()),
        (Err(there), Err(here)) if there == here => Ok(()),
        (_, Err(error)) => Err(error),
        _ => Err("it is not the same as what it was made of".to_owned()),
    }
}

fn describe(conn: &Connection) -> Result<Vec<String>, String> {
    let described = (|| -> rusqlite::Result<Vec<String>> {
        let all = |sql: &str| -> rusqlite::Result<Vec<String>> {
            let mut statement = conn.prepare(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        let mut lines = Vec::new();
        find_damage(conn, Depth::Whole, &mut |line| lines.push(line))?;
        lines.extend(all("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY rowid")?);
        for table in all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")? {
            let sql = format!("SELECT count(*) || ' rows' FROM \"{}\"", table.replace('"', "\"\""));
            lines.extend(all(&sql)?);
        }
        Ok(lines)
    })();
    described.map_err(|error| error.to_string())
}
