//! The copy itself: a merge of both sides in the order of keys, table by table.
//!
//! First, unless the target is new, what is in it and is not the source's goes, dependent rows before those that they
//! refer to: what then stands there equals its row in the source, and refers only to what the source has, too. Then what
//! is missing comes, parents first. Then everything is read back.

use std::cmp::Ordering;

use membrane_core::time::Timestamp;

use super::cursor::{Cursor, key_of};
use super::digest::Digest;
use super::error::TransferError;
use super::tables::{TABLES, Table};
use super::value::{Row, Value, bytes_of, compare, shown};
use super::{Batch, Begun, Mark, ROOM, RowSink, RowSource};

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It compares what an interrupted copy left.
    Comparing,
    /// It writes.
    Copying,
    /// It reads back.
    Verifying,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// With which table.
    pub table: &'static str,
    /// How many rows of all tables this phase has passed.
    pub rows: u64,
    /// How many there are in the source.
    pub of: u64,
}

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCopy {
    /// Its name.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// SHA-256 of its rows in the order of their keys, the same of the source and of the target, as 64 hex digits.
    pub sha256: String,
}

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// All tables.
    pub tables: Vec<TableCopy>,
    /// Whether it went on where an earlier one was interrupted.
    pub resumed: bool,
    /// Rows written now, those that were written anew included.
    pub written: u64,
    /// Rows of an earlier try that were removed or replaced, because the source has changed since.
    pub outdated: u64,
}

impl CopyReport {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// How many rows a table has.
    pub fn rows_of(&self, name: &str) -> u64 {
        self.tables.iter().filter(|table| table.name == name).map(|table| table.rows).sum()
    }
}

/// Copies a keep: all of it, and verified, or it stays marked as unfinished.
///
/// `from` is the source's name, by which a copy that was interrupted is recognised; it is shown, and holds no password.
///
/// # Errors
/// [`TransferError`]. What was written is kept, and copying again goes on from there.
///
/// # Cancel safety
/// Dropping the future leaves an unfinished copy, with each batch whole or not there.
pub async fn copy(
    source: &mut dyn RowSource,
    target: &mut dyn RowSink,
    from: &str,
    now: Timestamp,
    watch: &mut (dyn FnMut(Progress) + Send),
) -> Result<CopyReport, TransferError> {
    let mut of = 0;
    for table in &TABLES {
        of += source.count(table).await.map_err(TransferError::Source)?;
    }
    let begun = target.begin(&Mark { source: from.to_owned(), started_at: now }).await?;
    let mut work = Work { source, target, watch, of, written: 0, outdated: 0 };
    let mut walks: Vec<Walk> = TABLES.iter().map(Walk::new).collect();
    if begun == Begun::Again {
        work.remove_outdated(&mut walks).await?;
    }
    work.write_missing(&mut walks).await?;
    let tables = work.verify(walks).await?;
    let Work { source, target, written, outdated, .. } = work;
    let numbers = source.numbers().await.map_err(TransferError::Source)?;
    target.finish(numbers).await?;
    Ok(CopyReport { tables, resumed: begun == Begun::Again, written, outdated })
}

/// How far a table is known to be the same on both sides, from its first row on.
struct Walk {
    table: &'static Table,
    after: Option<Row>,
    digest: Digest,
}

impl Walk {
    fn new(table: &'static Table) -> Self {
        Self { table, after: None, digest: Digest::default() }
    }

    fn pass(&mut self, row: &[Value]) {
        self.digest.add(row);
        self.after = Some(key_of(self.table, row).to_vec());
    }
}

struct Work<'a> {
    source: &'a mut dyn RowSource,
    target: &'a mut dyn RowSink,
    watch: &'a mut (dyn FnMut(Progress) + Send),
    of: u64,
    written: u64,
    outdated: u64,
}

impl Work<'_> {
    /// Removes from the target what differs from the source, or is not there any more.
    async fn remove_outdated(&mut self, walks: &mut [Walk]) -> Result<(), TransferError> {
        let mut took_dependents = false;
        let mut passed = 0;
        for walk in walks.iter_mut().rev() {
            let outdated = self.compare(walk, &mut passed).await?;
            took_dependents |= outdated > 0 && walk.table.has_dependents;
            self.outdated += outdated;
        }
        if took_dependents {
            // Rows that had been compared before went with them.
            for walk in walks {
                *walk = Walk::new(walk.table);
            }
        }
        Ok(())
    }

    /// Compares what the target has of one table. Answers with how many rows were not as they should be.
    async fn compare(&mut self, walk: &mut Walk, passed: &mut u64) -> Result<u64, TransferError> {
        let table = walk.table;
        let (mut ours, mut theirs) = (Cursor::after(table, None), Cursor::after(table, None));
        let (mut pending, mut outdated) = (Pending::default(), 0);
        // Whether no row of the source was missing so far.
        let mut is_whole = true;
        while theirs.peek(self.target).await?.is_some() {
            let Some(there) = theirs.take() else { break };
            let key = key_of(table, &there);
            let order = loop {
                let row = ours.peek(self.source).await.map_err(TransferError::Source)?;
                let order = row.map_or(Ordering::Greater, |row| compare(key_of(table, row), key));
                if order != Ordering::Less {
                    break order;
                }
                ours.take();
                is_whole = false;
            };
            let row = if order == Ordering::Equal { ours.take() } else { None };
            match row {
                Some(row) if row == there => {
                    if is_whole {
                        walk.pass(&row);
                    }
                }
                Some(row) if table.is_referenced => {
                    if is_whole {
                        walk.pass(&row);
                    }
                    outdated += 1;
                    pending.update(row);
                }
                found => {
                    is_whole &= found.is_none();
                    outdated += 1;
                    pending.delete(key.to_vec());
                }
            }
            *passed += 1;
            if pending.is_full() {
                self.write(table, &mut pending).await?;
            }
            self.say(Phase::Comparing, table, *passed);
        }
        self.write(table, &mut pending).await?;
        Ok(outdated)
    }

    /// Writes what the target does not have yet.
    async fn write_missing(&mut self, walks: &mut [Walk]) -> Result<(), TransferError> {
        let mut passed = walks.iter().map(|walk| walk.digest.rows()).sum();
        for walk in walks {
            let table = walk.table;
            let mut ours = Cursor::after(table, walk.after.clone());
            let mut theirs = Cursor::after(table, walk.after.clone());
            let mut pending = Pending::default();
            while ours.peek(self.source).await.map_err(TransferError::Source)?.is_some() {
                let Some(row) = ours.take() else { break };
                walk.pass(&row);
                passed += 1;
                let order = match theirs.peek(self.target).await? {
                    Some(there) => compare(key_of(table, there), key_of(table, &row)),
                    None => Ordering::Greater,
                };
                match order {
                    Ordering::Less => return Err(self.intruder(&mut theirs).await?),
                    // It stayed when what differs was removed.
                    Ordering::Equal => drop(theirs.take()),
                    Ordering::Greater => pending.insert(row),
                }
                // Not before a page is used up: what is read and what waits to be written are one page together.
                if ours.is_at_page_end() || pending.is_full() {
                    self.write(table, &mut pending).await?;
                }
                self.say(Phase::Copying, table, passed);
            }
            self.write(table, &mut pending).await?;
            if theirs.peek(self.target).await?.is_some() {
                return Err(self.intruder(&mut theirs).await?);
            }
        }
        Ok(())
    }

    async fn intruder(&mut self, theirs: &mut Cursor) -> Result<TransferError, TransferError> {
        let table = theirs.table();
        let row = theirs.peek(self.target).await?.map(|row| shown(key_of(table, row)));
        Ok(TransferError::Intruder { table: table.name, row: row.unwrap_or_default() })
    }

    /// Reads the target, and compares its hashes with those of the source.
    async fn verify(&mut self, walks: Vec<Walk>) -> Result<Vec<TableCopy>, TransferError> {
        let (mut tables, mut differing, mut passed) = (Vec::with_capacity(walks.len()), Vec::new(), 0);
        for Walk { table, digest, .. } in walks {
            let mut found = Digest::default();
            let mut rows = Cursor::after(table, None);
            while rows.peek(self.target).await?.is_some() {
                let Some(row) = rows.take() else { break };
                found.add(&row);
                passed += 1;
                self.say(Phase::Verifying, table, passed);
            }
            let (n_expected, n_found) = (digest.rows(), found.rows());
            let (expected, found) = (digest.hex(), found.hex());
            if found == expected {
                tables.push(TableCopy { name: table.name, rows: n_found, sha256: found });
            } else {
                differing.push(format!(
                    "{} ({n_expected} rows with SHA-256 {expected} there, {n_found} with {found} here)",
                    table.name
                ));
            }
        }
        if differing.is_empty() { Ok(tables) } else { Err(TransferError::Differs { tables: differing }) }
    }

    async fn write(&mut self, table: &'static Table, pending: &mut Pending) -> Result<(), TransferError> {
        let Pending { batch, rows, .. } = std::mem::take(pending);
        if rows > 0 {
            let written = batch.insert.len() + batch.update.len();
            self.target.write(table, batch).await?;
            self.written += u64::try_from(written).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn say(&mut self, phase: Phase, table: &'static Table, rows: u64) {
        (self.watch)(Progress { phase, table: table.name, rows, of: self.of });
    }
}

/// What the next commit will do.
#[derive(Default)]
struct Pending {
    batch: Batch,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn insert(&mut self, row: Row) {
        self.count(&row);
        self.batch.insert.push(row);
    }

    fn update(&mut self, row: Row) {
        self.count(&row);
        self.batch.update.push(row);
    }

    fn delete(&mut self, key: Row) {
        self.count(&key);
        self.batch.delete.push(key);
    }

    fn count(&mut self, row: &[Value]) {
        self.rows += 1;
        self.bytes += bytes_of(row);
    }

    fn is_full(&self) -> bool {
        self.rows >= ROOM.rows || self.bytes >= ROOM.bytes
    }
}
