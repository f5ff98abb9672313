//! What a power loss leaves, tried on recordings written by hand.
//!
//! Not here: recordings of SQLite.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use membrane_crashtest::image::{Disk, Ending, SECTOR_BYTES};
use membrane_crashtest::recording::{Event, FileId, Log};

const FILE: FileId = FileId::new(0);
const OTHER: FileId = FileId::new(1);

fn created(file: FileId) -> Event {
    Event::Created { file, name: PathBuf::from("a") }
}

fn found(content: &[u8]) -> Event {
    Event::Found { file: FILE, name: PathBuf::from("a"), content: content.to_vec() }
}

fn deleted() -> Event {
    Event::Deleted { name: PathBuf::from("a") }
}

fn written(file: FileId, offset: u64, bytes: &[u8]) -> Event {
    Event::Written { file, offset, bytes: bytes.to_vec() }
}

fn synced(file: FileId, covers: usize) -> Event {
    Event::Synced { file, covers }
}

fn directory_synced(covers: usize) -> Event {
    Event::DirectorySynced { directory: PathBuf::new(), covers }
}

/// What stands under the name `a` after all of `events`.
fn survivor(events: Vec<Event>, ending: Ending) -> Option<Vec<u8>> {
    let log = Log { events };
    Disk::at(&log, log.events.len()).surviving(ending).remove(Path::new("a"))
}

/// Everything that can stand under the name `a` after `events`, as far as many seeds show.
fn survivors(events: &[Event]) -> BTreeSet<Option<Vec<u8>>> {
    (0..2_000).map(|seed| survivor(events.to_vec(), Ending::Torn { seed })).collect()
}

#[test]
fn what_was_not_synced_is_lost() {
    let events = vec![found(b"old"), written(FILE, 0, b"new")];
    assert_eq!(survivor(events.clone(), Ending::Lost).unwrap(), b"old");
    assert_eq!(survivor(events, Ending::Killed).unwrap(), b"new");
}

#[test]
fn what_was_synced_is_kept_whatever_the_ending() {
    let events = vec![found(b"old"), written(FILE, 0, b"new"), synced(FILE, 2)];
    assert_eq!(survivor(events.clone(), Ending::Lost).unwrap(), b"new");
    assert_eq!(survivors(&events), BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn a_write_made_while_a_sync_ran_is_not_safe() {
    let events = vec![found(b"old"), written(FILE, 0, b"1"), written(FILE, 1, b"2"), synced(FILE, 2)];
    assert_eq!(survivor(events, Ending::Lost).unwrap(), b"1ld");
}

#[test]
fn a_sync_of_one_file_does_nothing_for_another() {
    let events = vec![found(b"old"), written(FILE, 0, b"new"), synced(OTHER, 2)];
    assert_eq!(survivor(events, Ending::Lost).unwrap(), b"old");
}

#[test]
fn a_truncation_is_safe_only_when_synced() {
    let events = vec![found(b"old"), Event::Truncated { file: FILE, n_bytes: 1 }];
    assert_eq!(survivor(events.clone(), Ending::Lost).unwrap(), b"old");
    let with_sync = [events, vec![synced(FILE, 2)]].concat();
    assert_eq!(survivor(with_sync, Ending::Lost).unwrap(), b"o");
}

#[test]
fn a_new_file_is_there_only_when_its_directory_was_synced() {
    let events = vec![created(FILE), written(FILE, 0, b"new"), synced(FILE, 2)];
    assert_eq!(survivor(events.clone(), Ending::Lost), None);
    let with_sync = [events, vec![directory_synced(2)]].concat();
    assert_eq!(survivor(with_sync, Ending::Lost).unwrap(), b"new");
}

#[test]
fn a_removed_file_comes_back_until_its_directory_is_synced() {
    let events = vec![found(b"old"), deleted()];
    assert_eq!(survivor(events.clone(), Ending::Lost).unwrap(), b"old");
    assert_eq!(survivors(&events), BTreeSet::from([None, Some(b"old".to_vec())]));
    let with_sync = [events, vec![directory_synced(2)]].concat();
    assert_eq!(survivor(with_sync, Ending::Killed), None);
}

#[test]
fn a_name_made_again_stands_for_the_old_file_until_its_directory_is_synced() {
    let events = vec![found(b"old"), deleted(), created(OTHER), written(OTHER, 0, b"new"), synced(OTHER, 4)];
    assert_eq!(survivor(events.clone(), Ending::Lost).unwrap(), b"old");
    let possible = BTreeSet::from([None, Some(b"old".to_vec()), Some(b"new".to_vec())]);
    assert_eq!(survivors(&events), possible);
    let with_sync = [events, vec![directory_synced(3)]].concat();
    assert_eq!(survivor(with_sync, Ending::Lost).unwrap(), b"new");
}

#[test]
fn unsynced_writes_survive_in_any_combination_and_in_their_order_where_they_overlap() {
    let events = vec![found(b"00"), written(FILE, 0, b"1"), written(FILE, 1, b"1"), written(FILE, 0, b"2")];
    let possible: BTreeSet<_> =
        [b"00", b"01", b"10", b"11", b"20", b"21"].into_iter().map(|bytes| Some(bytes.to_vec())).collect();
    assert_eq!(survivors(&events), possible);
}

#[test]
fn a_write_is_torn_between_sectors_and_never_inside_one() {
    // From the middle of one sector to the middle of the fourth: four pieces.
    let old = vec![b'o'; 4 * SECTOR_BYTES];
    let offset = SECTOR_BYTES / 2;
    let events = [found(&old), written(FILE, offset as u64, &vec![b'n'; 3 * SECTOR_BYTES])];
    let survivors = survivors(&events);
    for content in survivors.iter().flatten() {
        assert_eq!(content.len(), old.len());
        let (before, rest) = content.split_at(offset);
        let (written, after) = rest.split_at(3 * SECTOR_BYTES);
        assert!(before.iter().chain(after).all(|byte| *byte == b'o'), "bytes beside a write are unharmed");
        let (first, others) = written.split_at(SECTOR_BYTES - offset);
        for sector in std::iter::once(first).chain(others.chunks(SECTOR_BYTES)) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is old or new");
        }
    }
    assert_eq!(survivors.len(), 16, "each of the four sectors is old or new by itself");
}

#[test]
fn beyond_the_safe_end_of_a_file_junk_may_stand() {
    let events = [found(b""), written(FILE, 0, &[b'n'; SECTOR_BYTES])];
    let survivors = survivors(&events);
    let is_junk =
        |content: &Vec<u8>| content.len() == SECTOR_BYTES && content.iter().any(|byte| *byte != b'n');
    assert!(survivors.iter().flatten().any(Vec::is_empty));
    assert!(survivors.iter().flatten().any(is_junk));
    assert!(survivors.iter().flatten().any(|content| *content == [b'n'; SECTOR_BYTES]));
}

#[test]
fn the_same_seed_tears_the_same_way() {
    let events = vec![found(&[0; 4096]), written(FILE, 0, &[1; 4096])];
    for seed in 0..50 {
        let ending = Ending::Torn { seed };
        assert_eq!(survivor(events.clone(), ending), survivor(events.clone(), ending));
    }
}

#[test]
fn walking_in_steps_gives_what_one_walk_gives() {
    let log = Log {
        events: vec![
            created(FILE),
            written(FILE, 0, b"1"),
            synced(FILE, 2),
            directory_synced(2),
            written(FILE, 1, b"2"),
            deleted(),
            created(OTHER),
            written(OTHER, 0, b"3"),
            synced(OTHER, 8),
        ],
    };
    let mut stepping = Disk::new(&log);
    for cut in 0..=log.events.len() {
        stepping.advance_to(cut).unwrap();
        let walking = Disk::at(&log, cut);
        for ending in [Ending::Lost, Ending::Torn { seed: 5 }, Ending::Killed] {
            assert_eq!(stepping.surviving(ending), walking.surviving(ending), "cut at {cut}, {ending:?}");
        }
    }
}

#[test]
fn a_disk_does_not_walk_backwards() {
    let log = Log { events: vec![created(FILE), synced(FILE, 1)] };
    let mut disk = Disk::at(&log, 2);
    let message = disk.advance_to(1).unwrap_err().to_string();
    assert_eq!(message, "the disk stands at 2 and cannot go back to 1; take the cuts in ascending order");
}
