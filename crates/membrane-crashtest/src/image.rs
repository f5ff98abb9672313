//! Images: what a disk holds when the power goes at a given point of a recording.
//!
//! # What is safe
//! - Of a file: what its last sync before the cut covers, and no more.
//! - Of names: what the last sync of their *directory* before the cut covers. A file whose name is not safe
//!   is not there at all, however well its content was synced, and a name whose removal is not safe is still
//!   there with its old file. This is the strictest reading of POSIX. Most Linux file systems do better (the
//!   sync of a new file also keeps its name), so a store that survives here survives there.
//!
//! # What else may be there
//! That depends on the [`Ending`]. In every case a byte that nobody wrote since the last sync is unharmed
//! (SQLite's "powersafe overwrite"), and directories themselves were there all along.
//!
//! Not here: choosing the cuts ([`crate::cuts`]) and opening what survives ([`crate::campaign`]).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::recording::{Event, FileId, Log};
use crate::seed::Choices;

/// The smallest piece that a disk writes in one go, in bytes. A write that is torn is torn between sectors.
pub const SECTOR_BYTES: usize = 512;

/// What becomes of everything that happened before the cut and is not safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing of it reached the disk.
    Lost,
    /// A random part of it did, in no order: of each file's writes a random subset, some of them only in
    /// some sectors; of those beyond the safe end of a file, some left the length but not the bytes, so that
    /// junk stands there; of each name's changes as many as chance has it.
    Torn {
        /// Decides what survives.
        seed: u64,
    },
    /// All of it did: the process was killed, the machine went on.
    Killed,
}

/// The safe state of a disk at one point of a recording. It only walks forward, so that many cuts of one
/// recording cost one pass over it.
#[derive(Debug)]
pub struct Disk<'log> {
    log: &'log Log,
    position: usize,
    files: HashMap<FileId, File>,
    names: BTreeMap<PathBuf, Name>,
}

/// A file's safe content and the positions of the events that are not safe yet, in order.
#[derive(Debug, Default)]
struct File {
    safe: Vec<u8>,
    open: Vec<usize>,
}

/// What a name safely stands for, and its changes that are not safe yet, in order.
#[derive(Debug, Default)]
struct Name {
    safe: Option<FileId>,
    open: Vec<(usize, Option<FileId>)>,
}

impl<'log> Disk<'log> {
    /// The disk before the first event.
    #[must_use]
    pub fn new(log: &'log Log) -> Self {
        Self { log, position: 0, files: HashMap::new(), names: BTreeMap::new() }
    }

    /// The disk at the cut at `cut`; a cut beyond the end of the log is its end.
    #[must_use]
    pub fn at(log: &'log Log, cut: usize) -> Self {
        let mut disk = Self::new(log);
        disk.walk_to(cut);
        disk
    }

    /// Lets events happen until the cut at `cut`; a cut beyond the end of the log is its end.
    ///
    /// # Errors
    /// `cut` lies before the current position.
    pub fn advance_to(&mut self, cut: usize) -> Result<(), BackwardCut> {
        if cut < self.position {
            return Err(BackwardCut { cut, position: self.position });
        }
        self.walk_to(cut);
        Ok(())
    }

    fn walk_to(&mut self, cut: usize) {
        let log = self.log;
        let end = cut.min(log.events.len());
        for (position, event) in log.events.iter().enumerate().take(end).skip(self.position) {
            self.apply(position, event);
        }
        self.position = end;
    }

    /// Writes what survives into the directory `into`, which should be empty.
    pub fn materialise(&self, ending: Ending, into: &Path) -> io::Result<()> {
        for (name, file) in self.surviving(ending) {
            let path = into.join(name);
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(path, file)?;
        }
        Ok(())
    }

    /// What survives: each name with its content.
    #[must_use]
    pub fn surviving(&self, ending: Ending) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut choices = match ending {
            Ending::Torn { seed } => Choices::of_item(seed, self.position as u64),
            Ending::Lost | Ending::Killed => Choices::new(0),
        };
        let mut survivors = BTreeMap::new();
        for (path, name) in &self.names {
            let n_changes = match ending {
                Ending::Lost => 0,
                Ending::Torn { .. } => choices.below(name.open.len() + 1),
                Ending::Killed => name.open.len(),
            };
            let stands_for = match n_changes.checked_sub(1) {
                None => name.safe,
                Some(last) => name.open[last].1,
            };
            if let Some(file) = stands_for.and_then(|file| self.files.get(&file)) {
                survivors.insert(path.clone(), self.content(file, ending, &mut choices));
            }
        }
        survivors
    }

    fn content(&self, file: &File, ending: Ending, choices: &mut Choices) -> Vec<u8> {
        let mut content = file.safe.clone();
        for &position in &file.open {
            let event = &self.log.events[position];
            match ending {
                Ending::Lost => {}
                Ending::Killed => change(&mut content, event),
                Ending::Torn { .. } => change_in_part(&mut content, event, choices),
            }
        }
        content
    }

    fn apply(&mut self, position: usize, event: &Event) {
        match event {
            Event::Found { file, name, content } => {
                self.files.insert(*file, File { safe: content.clone(), open: Vec::new() });
                self.names.insert(name.clone(), Name { safe: Some(*file), open: Vec::new() });
            }
            Event::Created { file, name } => {
                self.files.insert(*file, File::default());
                self.names.entry(name.clone()).or_default().open.push((position, Some(*file)));
            }
            Event::Deleted { name } => {
                self.names.entry(name.clone()).or_default().open.push((position, None));
            }
            Event::Written { file, .. } | Event::Truncated { file, .. } => {
                self.files.entry(*file).or_default().open.push(position);
            }
            Event::Synced { file, covers } => {
                let file = self.files.entry(*file).or_default();
                let n_safe = file.open.partition_point(|position| position < covers);
                for position in file.open.drain(..n_safe) {
                    change(&mut file.safe, &self.log.events[position]);
                }
            }
            Event::DirectorySynced { directory, covers } => {
                for (path, name) in &mut self.names {
                    if path.parent() == Some(directory) {
                        let n_safe = name.open.partition_point(|(position, _)| position < covers);
                        if let Some((_, file)) = name.open.drain(..n_safe).next_back() {
                            name.safe = file;
                        }
                    }
                }
            }
            Event::Marked(_) => {}
        }
    }
}

/// A cut that lies before the point a disk has reached already.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the disk stands at {position} and cannot go back to {cut}; take the cuts in ascending order")]
pub struct BackwardCut {
    cut: usize,
    position: usize,
}

/// Does to `content` what `event` did to its file.
fn change(content: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Written { offset, bytes, .. } => put(content, index(*offset), bytes),
        Event::Truncated { n_bytes, .. } => content.resize(index(*n_bytes), 0),
        _ => {}
    }
}

/// Does to `content` what chance leaves of `event`: half of the events leave nothing, a quarter all, and of
/// the last quarter each sector stands for itself.
fn change_in_part(content: &mut Vec<u8>, event: &Event, choices: &mut Choices) {
    match (choices.below(4), event) {
        (0, Event::Written { offset, bytes, .. }) => {
            let offset = index(*offset);
            for (start, sector) in sectors(offset, bytes) {
                leave_or_lose(content, start, sector, choices.one_in(2), choices);
            }
        }
        (1, _) | (0, Event::Truncated { .. }) => change(content, event),
        (_, Event::Written { offset, bytes, .. }) => {
            leave_or_lose(content, index(*offset), bytes, false, choices);
        }
        _ => {}
    }
}

/// Puts `bytes` at `start` if they `arrived`. If not, the file's length may have arrived without them; then
/// what stood on the disk before, which can be anything, shows.
fn leave_or_lose(content: &mut Vec<u8>, start: usize, bytes: &[u8], arrived: bool, choices: &mut Choices) {
    if arrived {
        put(content, start, bytes);
    } else if start + bytes.len() > content.len() && choices.one_in(4) {
        let old_end = content.len();
        content.resize(start + bytes.len(), 0);
        for byte in &mut content[old_end.max(start)..] {
            *byte = choices.next_number().to_le_bytes()[0];
        }
    }
}

/// `bytes` at `offset`, cut where the file's sectors end, each piece with its position in the file.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let start = offset + done;
        let n_bytes = (SECTOR_BYTES - start % SECTOR_BYTES).min(bytes.len() - done);
        let piece = &bytes[done..done + n_bytes];
        done += n_bytes;
        (n_bytes > 0).then_some((start, piece))
    })
}

fn put(content: &mut Vec<u8>, start: usize, bytes: &[u8]) {
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

/// A position in a file as an index; images are far smaller than the address space.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
