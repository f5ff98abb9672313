//! The recording sees everything that SQLite does to the files, in an order that can be trusted.
//!
//! Not here: what follows from it for a power loss.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use membrane_crashtest::campaign::{DATABASE, Failure, Target};
use membrane_crashtest::entry::Entry;
use membrane_crashtest::image::{Disk, Ending};
use membrane_crashtest::recording::{Event, Log, Recording, RecordingError};
use rusqlite::Connection;

use crate::bare::Bare;

/// The files of a directory, without SQLite's shared memory, which no recording holds.
fn files_in(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Failure> {
    let mut files = BTreeMap::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = PathBuf::from(file.file_name());
        if !name.to_string_lossy().ends_with("-shm") {
            files.insert(name, fs::read(file.path())?);
        }
    }
    Ok(files)
}

fn replayed(log: &Log) -> BTreeMap<PathBuf, Vec<u8>> {
    Disk::at(log, log.events.len()).surviving(Ending::Killed)
}

fn append(target: Bare, root: &Path, vfs: &str, n_entries: u64) -> Result<<Bare as Target>::Open, Failure> {
    let open = target.open(&root.join(DATABASE), vfs, 2)?;
    for number in 1..=n_entries {
        target.append(&open, Entry { writer: 0, number })?;
        target.append(&open, Entry { writer: 1, number })?;
    }
    Ok(open)
}

#[test]
fn a_replayed_recording_gives_the_very_files_on_disk_while_they_are_open() {
    let root = tempfile::tempdir().unwrap();
    let recording = Recording::start("replay-open", root.path()).unwrap();
    let open = append(Bare::SOUND, root.path(), recording.vfs_name(), 60).unwrap();
    let log = recording.finish().unwrap();
    let on_disk = files_in(root.path()).unwrap();
    assert_eq!(on_disk.len(), 2, "the database and its WAL: {:?}", on_disk.keys());
    assert!(replayed(&log) == on_disk);
    drop(open);
}

#[test]
fn a_replayed_recording_gives_the_very_files_on_disk_after_closing() {
    for target in [
        Bare::SOUND,
        Bare { journal_mode: "DELETE", ..Bare::SOUND },
        Bare { journal_mode: "TRUNCATE", ..Bare::SOUND },
    ] {
        let root = tempfile::tempdir().unwrap();
        let vfs = format!("replay-closed-{}", target.journal_mode);
        let recording = Recording::start(&vfs, root.path()).unwrap();
        drop(append(target, root.path(), recording.vfs_name(), 60).unwrap());
        let log = recording.finish().unwrap();
        assert!(replayed(&log) == files_in(root.path()).unwrap(), "{target:?}");
    }
}

#[test]
fn truncations_and_vacuums_are_recorded() {
    let root = tempfile::tempdir().unwrap();
    let recording = Recording::start("vacuum", root.path()).unwrap();
    let open = append(Bare::SOUND, root.path(), recording.vfs_name(), 60).unwrap();
    {
        let connection = open[0].lock().unwrap();
        connection.execute("DELETE FROM entries WHERE position % 3 > 0", []).unwrap();
        connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    }
    drop(open);
    let log = recording.finish().unwrap();
    let database = |event: &Event| matches!(event, Event::Truncated { n_bytes, .. } if *n_bytes > 0);
    assert!(log.events.iter().any(database), "the vacuum must have shortened the database");
    assert!(replayed(&log) == files_in(root.path()).unwrap());
}

#[test]
fn a_database_from_before_the_recording_is_safe_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let database = root.path().join(DATABASE);
    Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE old (value); INSERT INTO old VALUES (1)")
        .unwrap();
    let before = files_in(root.path()).unwrap();

    let recording = Recording::start("found", root.path()).unwrap();
    drop(append(Bare::SOUND, root.path(), recording.vfs_name(), 5).unwrap());
    let log = recording.finish().unwrap();

    let first_write = log.events.iter().position(|event| matches!(event, Event::Written { .. })).unwrap();
    assert!(Disk::at(&log, first_write).surviving(Ending::Lost) == before);
    assert!(replayed(&log) == files_in(root.path()).unwrap());
}

#[test]
fn a_sync_stands_in_the_recording_after_what_it_covers() {
    let root = tempfile::tempdir().unwrap();
    let recording = Recording::start("sync-order", root.path()).unwrap();
    drop(append(Bare::SOUND, root.path(), recording.vfs_name(), 10).unwrap());
    let log = recording.finish().unwrap();
    assert!(log.n_syncs() >= 20, "FULL syncs every commit: {}", log.n_syncs());
    for (position, event) in log.events.iter().enumerate() {
        if let Event::Synced { covers, .. } | Event::DirectorySynced { covers, .. } = event {
            assert!(*covers <= position);
        }
    }
}

#[test]
fn a_name_can_be_registered_only_once() {
    let root = tempfile::tempdir().unwrap();
    let _recording = Recording::start("once", root.path()).unwrap();
    let error = Recording::start("once", root.path()).unwrap_err();
    assert!(matches!(error, RecordingError::NameTaken { ref name } if name == "once"), "{error}");
}

#[test]
fn a_file_outside_the_recorded_directory_is_a_gap() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let recording = Recording::start("outside", root.path()).unwrap();
    drop(append(Bare::SOUND, elsewhere.path(), recording.vfs_name(), 1).unwrap());
    let error = recording.finish().unwrap_err();
    assert!(matches!(error, RecordingError::Gaps { ref gaps } if !gaps.is_empty()), "{error}");
}

#[test]
fn a_finished_recording_lets_its_connections_go_on() {
    let root = tempfile::tempdir().unwrap();
    let recording = Recording::start("goes-on", root.path()).unwrap();
    let open = append(Bare::SOUND, root.path(), recording.vfs_name(), 1).unwrap();
    recording.finish().unwrap();
    Bare::SOUND.append(&open, Entry { writer: 0, number: 2 }).unwrap();
    drop(open);
    assert_eq!(Bare::SOUND.survivors(&root.path().join(DATABASE)).unwrap().len(), 3);
}
