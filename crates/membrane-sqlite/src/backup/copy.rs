//! One database as one new file, compared with it before it gets its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use membrane_core::event::EventSeq;
use membrane_core::time::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

use super::BackupError;
use super::contents::Contents;
use super::verify::{Content, check_integrity};
use super::workshop::Workshop;
use crate::connection::{index_path, journal_path, log_path};
use crate::error::held;

/// All that are left.
const ALL_PAGES: i32 = -1;

/// A copy that was compared with what it was made of, and has no name yet.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) workshop: Workshop,
    pub(super) content: Content,
}

/// Copies a database that may be in use to a new file: one snapshot of it, page by page, compared value by value with
/// that same snapshot, and synced, before the file has its name. Whatever fails leaves nothing behind, and a file that
/// is there is never overwritten.
///
/// Any SQLite database will do. `from` reads `from_path`; if it has a transaction open, that is the snapshot, and it
/// may have written nothing in it. Others may write meanwhile: with a write-ahead log as they like, with a rollback
/// journal they wait when they commit. Another connection may hold the write lock.
///
/// The copy needs no file beside it: its journal mode is `DELETE`. It has the permissions of what was copied.
///
/// # Errors
/// [`BackupError::AlreadyThere`], [`BackupError::StrayLog`] (a log has the name that the copy's would have, and would
/// be taken for it), [`BackupError::Damaged`], [`BackupError::Differs`], [`BackupError::Io`], or
/// [`BackupError::Store`] with `StorageFull`, or with `Unavailable` when another holds the database.
pub(crate) fn copy_verified(from: &Connection, from_path: &Path, to: &Path) -> Result<(), BackupError> {
    refuse_taken(to)?;
    Copy::make(from, from_path, to)?.workshop.place_new(to)
}

/// Refuses a name that something has.
pub(super) fn refuse_taken(to: &Path) -> Result<(), BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::AlreadyThere { path: to.to_owned() });
    }
    for beside in [log_path(to), journal_path(to), index_path(to)] {
        if beside.symlink_metadata().is_ok() {
            return Err(BackupError::StrayLog { path: beside });
        }
    }
    Ok(())
}

impl Copy {
    /// Copies and compares, in a workshop beside `target`.
    pub(super) fn make(from: &Connection, from_path: &Path, target: &Path) -> Result<Self, BackupError> {
        let workshop = Workshop::beside(target)?;
        let file = workshop.file();
        let own_snapshot = from.is_autocommit();
        if own_snapshot {
            begin(from).map_err(|error| BackupError::sqlite(from_path, "begin to read", error))?;
        }
        let copied = copy_pages(from, from_path, &file).and_then(|()| Content::read(from, from_path));
        if own_snapshot {
            // It wrote nothing: however this ends, nothing is lost, and the copy is judged by what it holds.
            drop(from.execute_batch("ROLLBACK"));
        }
        let content = copied?;
        let copy = open_copy(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        check_integrity(&copy, from_path)?;
        let copied = Content::read(&copy, &file)?;
        if let Some(difference) = content.find_difference(&copied) {
            return Err(BackupError::Differs { path: from_path.to_owned(), difference });
        }
        close(copy, &file)?;
        let permissions = std::fs::metadata(from_path).map(|metadata| metadata.permissions());
        permissions
            .and_then(|permissions| std::fs::set_permissions(&file, permissions))
            .map_err(|error| BackupError::io(from_path, "give the copy the permissions of", error))?;
        Ok(Self { workshop, content })
    }

    /// What is in it; `path` is what was copied.
    pub(super) fn contents(&self, path: &Path) -> Result<Contents, BackupError> {
        let file = self.workshop.file();
        let copy = open_copy(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let contents = Contents::read(&copy, path)?;
        close(copy, &file)?;
        Ok(contents)
    }

    /// Its length, and its SHA-256 in hex digits.
    pub(super) fn measure(&self) -> Result<(u64, String), BackupError> {
        let path = self.workshop.file();
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut read = || -> io::Result<()> {
            let mut file = File::open(&path)?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = file.read(&mut buffer)?;
                let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { return Ok(()) };
                hash.update(part);
                bytes += u64::try_from(count).unwrap_or(u64::MAX);
            }
        };
        read().map_err(|error| BackupError::io(&path, "read the copy", error))?;
        let mut digits = String::with_capacity(64);
        for byte in hash.finalize() {
            let halves = [byte >> 4, byte & 15].into_iter();
            digits.extend(halves.filter_map(|half| char::from_digit(half.into(), 16)));
        }
        Ok((bytes, digits))
    }

    /// Forgets its events, and numbers those to come above all that the database which it takes the place of can have
    /// given out: a reader's place there would else be taken for a place here. A copy of a kgents file has none.
    pub(super) fn forget_events(&self, now: Timestamp) -> Result<(), BackupError> {
        let file = self.workshop.file();
        let failed = |error| BackupError::sqlite(&file, "number its events anew", error);
        let copy = open_copy(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let has_events: bool = copy
            .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'events')", [], |row| {
                row.get(0)
            })
            .map_err(failed)?;
        if has_events {
            // The next second's: the database that goes may have been made in this one.
            let base = EventSeq::base(now).0.saturating_add(EventSeq::PER_SECOND);
            let base = i64::try_from(base).unwrap_or(i64::MAX);
            let newest: i64 = copy
                .query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))
                .map_err(failed)?;
            copy.execute_batch(&format!(
                "BEGIN IMMEDIATE; DELETE FROM events; \
                 INSERT INTO events (seq, kind, session_id, version, at) VALUES ({}, 'mark', '', 0, 0); COMMIT",
                base.max(newest.saturating_add(1))
            ))
            .map_err(failed)?;
        }
        close(copy, &file)
    }

    /// Gives it the first of these names, counted from 1, that is free, and says which.
    pub(super) fn place_numbered(&self, name: impl Fn(u32) -> PathBuf) -> Result<PathBuf, BackupError> {
        let mut number = 1;
        loop {
            let path = name(number);
            number += 1;
            match refuse_taken(&path).and_then(|()| self.workshop.place_new(&path)) {
                Err(BackupError::AlreadyThere { .. } | BackupError::StrayLog { .. }) => {}
                placed => return placed.map(|()| path),
            }
        }
    }
}

/// Takes the snapshot at once; SQLite would wait for the first read.
fn begin(from: &Connection) -> rusqlite::Result<()> {
    from.execute_batch("BEGIN")?;
    let read = from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    if read.is_err() {
        from.execute_batch("ROLLBACK")?;
    }
    read
}

fn copy_pages(from: &Connection, from_path: &Path, file: &Path) -> Result<(), BackupError> {
    let failed = |error| BackupError::sqlite(from_path, "copy its pages", error);
    let mut to = open_copy(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Until it is complete it is worth nothing, and then it is synced.
    to.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(failed)?;
    let backup = Backup::new(from, &mut to).map_err(failed)?;
    // The snapshot is held, so nothing makes SQLite begin again, and steps would let nobody in who is kept out.
    match backup.step(ALL_PAGES).map_err(failed)? {
        StepResult::Done => {}
        _ => return Err(held().into()),
    }
    drop(backup);
    close(to, file)?;
    let to = open_copy(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    to.execute_batch("PRAGMA journal_mode = DELETE").map_err(failed)?;
    close(to, file)
}

fn open_copy(file: &Path, flags: OpenFlags) -> Result<Connection, BackupError> {
    Connection::open_with_flags(
        file,
        flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )
    .map_err(|error| BackupError::sqlite(file, "open the copy", error))
}

fn close(conn: Connection, file: &Path) -> Result<(), BackupError> {
    conn.close().map_err(|(_, error)| BackupError::sqlite(file, "close the copy", error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    /// A database with tables of every kind of key.
    const TABLES: &str = "CREATE TABLE plain (a, b TEXT, c AS (a + 1));
        CREATE TABLE \"odd \"\"name\" (rowid TEXT, \"x\"\"y\" BLOB);
        CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
        CREATE INDEX plain_idx ON plain (b);
        CREATE VIEW both AS SELECT a FROM plain;
        INSERT INTO plain VALUES (1, 'eins'), (2.5, NULL), (x'00ff', 'zwei' || char(0));
        INSERT INTO \"odd \"\"name\" VALUES ('z', zeroblob(70000)), ('a', 'text');
        INSERT INTO keyed VALUES ('b', 1), ('a', 2)";

    struct Case {
        folder: TempDir,
        from: Connection,
        other: Connection,
    }

    fn case(mode: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("from.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch(&format!("PRAGMA journal_mode = {mode}; {TABLES}")).unwrap();
        let from = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        Case { folder, from, other }
    }

    impl Case {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn copy(&self) -> Result<(), BackupError> {
            copy_verified(&self.from, &self.path("from.db"), &self.path("to.db"))
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| !name.starts_with("from.db"));
            names.sort();
            names
        }
    }

    #[test]
    fn a_copy_holds_what_the_database_holds_in_one_plain_file() {
        for mode in ["DELETE", "TRUNCATE", "PERSIST", "WAL"] {
            let case = case(mode);
            case.copy().unwrap();
            assert_eq!(case.names(), ["to.db"], "{mode}");
            let copy = Connection::open(case.path("to.db")).unwrap();
            let [source, copied] =
                [&case.other, &copy].map(|conn| Content::read(conn, Path::new("x")).unwrap());
            assert_eq!(source, copied, "{mode}");
            assert_eq!((source.tables(), source.rows()), (3, 7));
            let kept: String = copy.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, "delete", "{mode}");
        }
    }

    #[test]
    fn a_copy_is_made_while_another_connection_holds_the_write_lock() {
        for mode in ["DELETE", "WAL"] {
            let case = case(mode);
            case.other.execute_batch("BEGIN IMMEDIATE; INSERT INTO keyed VALUES ('c', 3)").unwrap();
            case.copy().unwrap();
            case.other.execute_batch("COMMIT").unwrap();
            let copy = Connection::open(case.path("to.db")).unwrap();
            let rows: i64 = copy.query_row("SELECT count(*) FROM keyed", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 2, "{mode}: what is not committed is in no copy");
        }
    }

    #[test]
    fn a_copy_is_of_the_snapshot_that_its_reader_holds() {
        let case = case("WAL");
        case.from.execute_batch("BEGIN; SELECT count(*) FROM keyed").unwrap();
        case.other.execute_batch("INSERT INTO keyed VALUES ('c', 3)").unwrap();
        case.copy().unwrap();
        assert!(!case.from.is_autocommit(), "the snapshot is its reader's");
        let copy = Connection::open(case.path("to.db")).unwrap();
        let rows: i64 = copy.query_row("SELECT count(*) FROM keyed", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_database_that_another_is_writing_out_is_unavailable() {
        let case = case("DELETE");
        case.from.busy_timeout(std::time::Duration::ZERO).unwrap();
        case.other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let error = case.copy().unwrap_err();
        assert!(
            matches!(error, BackupError::Store(membrane_store::StoreError::Unavailable { .. })),
            "{error:?}"
        );
        assert!(case.names().is_empty());
    }

    #[test]
    fn nothing_is_overwritten_and_no_log_of_anothers_is_adopted() {
        let case = case("WAL");
        for (name, is_taken) in
            [("to.db", true), ("to.db-wal", false), ("to.db-journal", false), ("to.db-shm", false)]
        {
            std::fs::write(case.path(name), "mine").unwrap();
            let error = case.copy().unwrap_err();
            assert_eq!(matches!(error, BackupError::AlreadyThere { .. }), is_taken, "{error:?}");
            assert_eq!(matches!(error, BackupError::StrayLog { .. }), !is_taken, "{error:?}");
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(std::fs::read(case.path(name)).unwrap(), b"mine");
            assert_eq!(case.names(), [name]);
            std::fs::remove_file(case.path(name)).unwrap();
        }
    }

    #[test]
    fn a_name_that_is_taken_while_the_copy_is_made_stays_with_its_file() {
        let case = case("WAL");
        let target = case.path("to.db");
        let copy = Copy::make(&case.from, &case.path("from.db"), &target).unwrap();
        std::fs::write(&target, "mine").unwrap();
        let error = copy.workshop.place_new(&target).unwrap_err();
        drop(copy);
        assert!(matches!(error, BackupError::AlreadyThere { .. }), "{error:?}");
        assert_eq!(
            (std::fs::read(&target).unwrap(), case.names()),
            (b"mine".to_vec(), vec!["to.db".to_owned()])
        );
    }

    #[test]
    fn a_damaged_database_leaves_no_copy_and_is_named() {
        let case = case("DELETE");
        let path = case.path("from.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let page = bytes.len() / 2;
        bytes[page..page + 64].fill(0xa5);
        bytes[4096..4160].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let error = case.copy().unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("from.db is damaged"), "{error}");
        assert!(case.names().is_empty());
    }

    #[test]
    fn a_copy_with_another_value_is_told_by_its_table() {
        let (one, other) = (case("WAL"), case("WAL"));
        other.other.execute_batch("UPDATE keyed SET v = 3 WHERE k = 'a'").unwrap();
        let [one, two] = [&one.other, &other.other].map(|conn| Content::read(conn, Path::new("x")).unwrap());
        assert_eq!(one.find_difference(&two).unwrap(), "table \"keyed\" has other values in its 2 rows");
        other.other.execute_batch("DELETE FROM plain WHERE a = 1").unwrap();
        let two = Content::read(&other.other, Path::new("x")).unwrap();
        assert_eq!(one.find_difference(&two).unwrap(), "table \"keyed\" has other values in its 2 rows");
        other.other.execute_batch("UPDATE keyed SET v = 2 WHERE k = 'a'").unwrap();
        let two = Content::read(&other.other, Path::new("x")).unwrap();
        assert_eq!(one.find_difference(&two).unwrap(), "table \"plain\" has 2 rows instead of 3");
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_what_a_live_one_holds_stays() {
        let case = case("WAL");
        let left = case.path(".membrane-copy-1-0");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("lock"), "").unwrap();
        std::fs::write(left.join("copy.db"), "half").unwrap();
        std::fs::create_dir(case.path(".membrane-copy-2-0")).unwrap();
        let live = Workshop::beside(&case.path("to.db")).unwrap();
        std::fs::write(live.file(), "half").unwrap();
        case.copy().unwrap();
        assert_eq!(case.names().len(), 2, "{:?}", case.names());
        assert!(live.file().exists());
        drop(live);
        assert_eq!(case.names(), ["to.db"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_copy_is_as_private_as_its_source() {
        use std::os::unix::fs::PermissionsExt;

        let case = case("WAL");
        for mode in [0o600, 0o640] {
            std::fs::set_permissions(case.path("from.db"), std::fs::Permissions::from_mode(mode)).unwrap();
            case.copy().unwrap();
            let copied = std::fs::metadata(case.path("to.db")).unwrap().permissions().mode();
            assert_eq!(copied & 0o777, mode);
            std::fs::remove_file(case.path("to.db")).unwrap();
        }
    }
}
