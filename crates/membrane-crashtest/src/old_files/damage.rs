//! Damage to the bytes of a file, and strange files beside it.
//!
//! Not here: odd contents of a file that is sound ([`super::v1`]).

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::campaign::Failure;
use crate::seed::Choices;

/// How many kinds there are.
pub const N_KINDS: usize = 13;

/// The name of a file beside a database.
pub fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Damages the file in the `kind`-th way. `other` is another file of the same program, from which things may be
/// taken. Says what was done.
pub fn inflict(kind: usize, file: &Path, other: &Path, choices: &mut Choices) -> Result<String, Failure> {
    let mut bytes = fs::read(file)?;
    let page = page_size(&bytes);
    let n_pages = (bytes.len() / page).max(1);
    let done = match kind % N_KINDS {
        0 => flip(&mut bytes, 0..100, 1 + choices.below(4), choices),
        1 => flip_all(&mut bytes, 1 + choices.below(100), choices),
        2 => flip_all(&mut bytes, 1, choices),
        3 => {
            let at = choices.below(n_pages) * page;
            flip(&mut bytes, at..(at + 16), 1 + choices.below(8), choices)
        }
        4 => {
            let lengths = [
                0,
                1,
                15,
                16,
                99,
                100,
                512,
                page / 2,
                page,
                page + 1,
                page * (n_pages / 2),
                page * n_pages / 2,
            ];
            let length = lengths.get(choices.below(lengths.len())).copied().unwrap_or(0);
            bytes.truncate(length);
            format!("cut off at {length}")
        }
        5 => {
            let length = choices.below(bytes.len());
            bytes.truncate(length);
            format!("cut off at {length}")
        }
        6 => {
            let at = choices.below(n_pages);
            bytes.iter_mut().skip(at * page).take(page).for_each(|byte| *byte = 0);
            format!("page {} zeroed", at + 1)
        }
        7 => swap_pages(&mut bytes, page, choices),
        8 => {
            bytes.extend((0..=choices.below(3 * page)).map(|_| choices.next_number().to_le_bytes()[0]));
            "garbage at the end".to_owned()
        }
        9 => return foreign_log(file, other),
        10 => return hot_journal(file),
        11 => return garbage_beside(file, choices),
        _ => return own_log(file, choices),
    };
    fs::write(file, bytes)?;
    Ok(done)
}

/// The page size that the header tells, or the usual one.
fn page_size(bytes: &[u8]) -> usize {
    let told = match bytes.get(16..18) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 4096,
    };
    if told == 1 { 65_536 } else { told.max(512) }
}

fn flip(bytes: &mut [u8], range: std::ops::Range<usize>, n_bits: usize, choices: &mut Choices) -> String {
    let mut places = Vec::new();
    for _ in 0..n_bits {
        let at = range.start + choices.below(range.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << choices.below(8);
            places.push(at);
        }
    }
    match places.as_slice() {
        [first, .., last] if places.len() > 8 => {
            format!("{} bits flipped, the first at {first}, the last at {last}", places.len())
        }
        few => format!("bits flipped at {few:?}"),
    }
}

fn flip_all(bytes: &mut [u8], n_bits: usize, choices: &mut Choices) -> String {
    let range = 0..bytes.len();
    flip(bytes, range, n_bits, choices)
}

fn swap_pages(bytes: &mut [u8], page: usize, choices: &mut Choices) -> String {
    let n_pages = bytes.len() / page;
    let (a, b) = (choices.below(n_pages), choices.below(n_pages));
    for offset in 0..page {
        if a * page + offset < bytes.len() && b * page + offset < bytes.len() {
            bytes.swap(a * page + offset, b * page + offset);
        }
    }
    format!("pages {} and {} swapped", a + 1, b + 1)
}

/// A write-ahead log that belongs to another file.
fn foreign_log(file: &Path, other: &Path) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("other.db");
    fs::copy(other, &copy)?;
    let conn = Connection::open(&copy)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE of_another_file (x);
         INSERT INTO of_another_file VALUES (zeroblob(9000))",
    )?;
    fs::copy(beside(&copy, "-wal"), beside(file, "-wal"))?;
    Ok("a write-ahead log of another file beside".to_owned())
}

/// A log of its own that was not moved into the file: the writer was killed.
fn own_log(file: &Path, choices: &mut Choices) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("own.db");
    fs::copy(file, &copy)?;
    let conn = Connection::open(&copy)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = OFF;
         UPDATE chat_sessions SET branch_name = branch_name || ' ' WHERE typeof(branch_name) = 'text'",
    )?;
    conn.execute_batch("UPDATE chat_turns SET completed_at = started_at WHERE id % 2 = 0")?;
    let mut log = fs::read(beside(&copy, "-wal"))?;
    let is_torn = choices.one_in(2);
    if is_torn {
        let length = choices.below(log.len());
        log.truncate(length);
    }
    fs::copy(&copy, file)?;
    fs::write(beside(file, "-wal"), log)?;
    Ok(format!("a write-ahead log of its own beside{}", if is_torn { ", torn" } else { "" }))
}

/// A journal that must be rolled back: the writer was killed in the middle of a transaction.
fn hot_journal(file: &Path) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("hot.db");
    fs::copy(file, &copy)?;
    let conn = Connection::open(&copy)?;
    // With a cache of a few pages, changed ones go into the file before the transaction ends.
    conn.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 2; PRAGMA cache_spill = 1; PRAGMA foreign_keys = OFF;
         BEGIN; CREATE TABLE never_committed (x);
         INSERT INTO never_committed SELECT zeroblob(3000) FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9));
         DELETE FROM chat_turns",
    )?;
    fs::copy(&copy, file)?;
    fs::copy(beside(&copy, "-journal"), beside(file, "-journal"))?;
    Ok("a hot journal beside".to_owned())
}

fn garbage_beside(file: &Path, choices: &mut Choices) -> Result<String, Failure> {
    let endings = ["-wal", "-journal", "-shm"];
    let ending = endings.get(choices.below(endings.len())).copied().unwrap_or("-wal");
    let bytes: Vec<u8> = (0..choices.below(9000)).map(|_| choices.next_number().to_le_bytes()[0]).collect();
    fs::write(beside(file, ending), &bytes)?;
    Ok(format!("{} bytes of garbage in {ending}", bytes.len()))
}
