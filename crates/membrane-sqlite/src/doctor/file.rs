//! What is at the database's path, by its first bytes alone.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::verdict::{Check, size};

const NAME: &str = "file";

/// What an SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The bytes that tell how it is written: 1 for a rollback journal, 2 for a write-ahead log.
const WRITE_VERSION: usize = 18;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that can be opened.
    Nothing,
    /// An SQLite database.
    Database {
        /// Whether it has a write-ahead log.
        is_wal: bool,
    },
}

/// Looks at the path.
pub(super) fn look(path: &Path) -> (Check, Kind) {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return (missing(path), Kind::Nothing),
        Err(error) => {
            let check = Check::problem(
                NAME,
                format!("{shown} cannot be reached: {error}"),
                format!("look at the permissions of every folder on the way: namei -l {shown}"),
            );
            return (check, Kind::Nothing);
        }
    };
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a folder" } else { "is no plain file" };
        let remedy = "name the file itself: membrane --database-url PATH doctor";
        return (Check::problem(NAME, format!("{shown} {what}"), remedy), Kind::Nothing);
    }
    let mut head = Vec::with_capacity(100);
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut head));
    if let Err(error) = read {
        let found = format!("{shown} cannot be read: {error}");
        return (
            Check::problem(NAME, found, format!("ls -l {shown}; become its owner, or ask them")),
            Kind::Nothing,
        );
    }
    if head.is_empty() {
        let found = format!("{shown} is empty: nothing was ever kept in it");
        return (Check::problem(NAME, found, "make it a keep: membrane migrate"), Kind::Nothing);
    }
    if !head.starts_with(MAGIC) {
        let found = format!("{shown} is no SQLite database: it begins with {}", begins_with(&head));
        let remedy = "name another file with --database-url, or bring back a backup: membrane restore FILE";
        return (Check::problem(NAME, found, remedy), Kind::Nothing);
    }
    let is_wal = head.get(WRITE_VERSION) == Some(&2);
    let journal = if is_wal { "a write-ahead log" } else { "a rollback journal" };
    let found = format!("{shown} is an SQLite database of {} with {journal}", size(metadata.len()));
    (Check::ok(NAME, found), Kind::Database { is_wal })
}

fn missing(path: &Path) -> Check {
    let shown = path.display();
    let is_link = path.symlink_metadata().is_ok();
    if is_link {
        let remedy = format!("make what it points at, or remove the link: ls -l {shown}");
        return Check::problem(NAME, format!("{shown} is a link to nothing"), remedy);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let what = match folder {
        Some(folder) if !folder.exists() => {
            format!("not initialised: there is no folder {}", folder.display())
        }
        _ => format!("not initialised: there is no file {shown}"),
    };
    Check::problem(
        NAME,
        what,
        "make a keep with \"membrane migrate\" or \"membrane serve\", or name another file with --database-url",
    )
}

fn begins_with(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head.get(..16).unwrap_or(head)).into_owned();
    format!("{text:?}")
}
