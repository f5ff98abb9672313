//! A recording: everything SQLite asked of the disk, in one order, with the application's marks in between.
//!
//! The order is what makes the recording worth something, and it is conservative. A write enters after the
//! disk took it, a mark when it is made. A sync enters after it succeeded, but remembers the point where it
//! *began*: what another thread wrote while it ran may or may not be safe, so it counts as not safe.
//!
//! Not here: the calls from C (`vfs`), and what a power loss leaves of it all ([`crate::image`]).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::entry::Entry;
use crate::vfs;

/// One file's content under all its names; a name that is deleted and made again is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

impl FileId {
    /// The file of this number. A recording numbers its files from 0; tests write recordings by hand.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// What an application says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// The entry is about to be handed to the store; from here on it may be there after a power loss.
    Submitted(Entry),
    /// The store has said that the entry is kept; from here on it must be there after a power loss.
    Acknowledged(Entry),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was there before the recording; its content and name count as safe.
    Found {
        /// The file.
        file: FileId,
        /// Its name, below the root of the recording.
        name: PathBuf,
        /// What it held when it was opened first.
        content: Vec<u8>,
    },
    /// A file was made, empty.
    Created {
        /// The file.
        file: FileId,
        /// Its name, below the root of the recording.
        name: PathBuf,
    },
    /// A name was removed.
    Deleted {
        /// The name, below the root of the recording.
        name: PathBuf,
    },
    /// Bytes were written.
    Written {
        /// The file.
        file: FileId,
        /// The first byte's position in the file.
        offset: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A file got another length.
    Truncated {
        /// The file.
        file: FileId,
        /// The new length in bytes.
        n_bytes: u64,
    },
    /// What was written and truncated in this file by events before `covers` is safe.
    Synced {
        /// The file.
        file: FileId,
        /// The position in the log where the sync began.
        covers: usize,
    },
    /// What was created and deleted in this directory by events before `covers` is safe.
    DirectorySynced {
        /// The directory, below the root of the recording; empty for the root itself.
        directory: PathBuf,
        /// The position in the log where the sync began.
        covers: usize,
    },
    /// The application made a mark.
    Marked(Marker),
}

/// A finished recording. A cut at `n` means that events `0..n` happened and the others did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// What happened, first to last.
    pub events: Vec<Event>,
}

impl Log {
    /// Bytes handed to the disk over the whole recording.
    #[must_use]
    pub fn n_bytes_written(&self) -> usize {
        self.events
            .iter()
            .map(|event| match event {
                Event::Written { bytes, .. } => bytes.len(),
                _ => 0,
            })
            .sum()
    }

    /// Syncs of files over the whole recording.
    #[must_use]
    pub fn n_syncs(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Synced { .. })).count()
    }
}

/// Why a recording could not be made, or cannot be trusted.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The directory to record in is not there or cannot be resolved.
    #[error("cannot record below {root:?}: make the directory first")]
    Root {
        /// The directory that was given.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite already knows a file system of this name.
    #[error("a VFS named {name:?} is registered already; give every recording its own name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name holds a NUL byte.
    #[error("{name:?} cannot name a VFS: leave out the NUL byte")]
    NameUnusable {
        /// The name.
        name: String,
    },
    /// SQLite has no file system to build on, or one whose sizes make no sense.
    #[error("SQLite has no usable default VFS: build it with one")]
    NoDefault,
    /// SQLite refused the registration.
    #[error("SQLite refused the VFS {name:?} with code {code}")]
    Refused {
        /// The name.
        name: String,
        /// SQLite's result code.
        code: i32,
    },
    /// Something happened that the recording could not follow, so an image made of it would prove nothing.
    #[error("the recording has gaps and must be made again: {}", .gaps.join("; "))]
    Gaps {
        /// What was not followed, in order.
        gaps: Vec<String>,
    },
}

/// A recording under way. Connections opened through the VFS of its name are recorded.
#[derive(Debug)]
pub struct Recording {
    vfs_name: String,
    tape: Arc<Tape>,
}

impl Recording {
    /// Registers a VFS named `vfs_name` over SQLite's default one and records every database, WAL and
    /// rollback journal below the directory `root` that is opened through it.
    ///
    /// The first time a file that exists is opened, its content is read and counts as safe. The VFS stays
    /// registered for the life of the process, because connections may outlive the recording; after
    /// [`Recording::finish`] it only passes calls on.
    pub fn start(vfs_name: &str, root: &Path) -> Result<Self, RecordingError> {
        // SQLite resolves symbolic links before it opens a file, so the root must be resolved as well.
        let root =
            root.canonicalize().map_err(|source| RecordingError::Root { root: root.to_owned(), source })?;
        let tape = Arc::new(Tape::new(root));
        vfs::register(vfs_name, &tape)?;
        Ok(Self { vfs_name: vfs_name.to_owned(), tape })
    }

    /// The name to open connections with.
    #[must_use]
    pub fn vfs_name(&self) -> &str {
        &self.vfs_name
    }

    /// Enters the application's mark at this point of the order.
    pub fn mark(&self, marker: Marker) {
        self.tape.enter(Event::Marked(marker));
    }

    /// Ends the recording. What open connections do from now on is not recorded.
    ///
    /// # Errors
    /// [`RecordingError::Gaps`]: the disk refused a write, a truncation, a deletion or a sync, or a file
    /// outside the root was opened.
    pub fn finish(self) -> Result<Log, RecordingError> {
        let (events, gaps) = self.tape.stop();
        if gaps.is_empty() { Ok(Log { events }) } else { Err(RecordingError::Gaps { gaps }) }
    }
}

/// Where the VFS puts down what happens. Shared by every open file of one recording.
#[derive(Debug)]
pub(crate) struct Tape {
    root: PathBuf,
    state: Mutex<TapeState>,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct TapeState {
    stopped: bool,
    events: Vec<Event>,
    gaps: Vec<String>,
}

/// Which file each name stands for now. Locked over a whole open or delete, so that the order of names on
/// the tape is the order on the disk.
#[derive(Debug, Default)]
pub(crate) struct Names {
    files: HashMap<PathBuf, FileId>,
    n_files: u32,
}

impl Tape {
    fn new(root: PathBuf) -> Self {
        Self { root, state: Mutex::default(), names: Mutex::default() }
    }

    /// `path` as a name below the root; a path outside is a gap.
    pub(crate) fn name_of(&self, path: &Path) -> Option<PathBuf> {
        let name = path.strip_prefix(&self.root).ok().map(Path::to_owned);
        if name.is_none() {
            self.enter_gap(format!(
                "{} is outside the recorded directory {}",
                path.display(),
                self.root.display()
            ));
        }
        name
    }

    pub(crate) fn lock_names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position that the next event will get.
    pub(crate) fn position(&self) -> usize {
        self.lock_state().events.len()
    }

    /// Appends an event and returns its position.
    pub(crate) fn enter(&self, event: Event) -> usize {
        let mut state = self.lock_state();
        let position = state.events.len();
        if !state.stopped {
            state.events.push(event);
        }
        position
    }

    /// Notes something that the recording cannot follow.
    pub(crate) fn enter_gap(&self, gap: String) {
        let mut state = self.lock_state();
        if !state.stopped {
            state.gaps.push(gap);
        }
    }

    /// Enters that `name` was opened. `existed` tells whether it was there just before; `content` reads
    /// what it holds and is called only for a file that was there before the recording.
    pub(crate) fn enter_opened(
        &self,
        names: &mut Names,
        name: &Path,
        existed: bool,
        content: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<FileId> {
        if let Some(file) = names.files.get(name) {
            if existed {
                return Some(*file);
            }
            // Somebody removed the file without SQLite.
            self.enter_deleted(names, name);
        }
        let file = FileId(names.n_files);
        let event = if existed {
            let Some(content) = content() else {
                self.enter_gap(format!("{} was there before but could not be read", name.display()));
                return None;
            };
            Event::Found { file, name: name.to_owned(), content }
        } else {
            Event::Created { file, name: name.to_owned() }
        };
        names.n_files += 1;
        names.files.insert(name.to_owned(), file);
        self.enter(event);
        Some(file)
    }

    /// Enters that `name` was removed, and returns the event's position. A file that was there before and
    /// was removed without ever being opened is a gap, because its content is unknown.
    pub(crate) fn enter_deleted(&self, names: &mut Names, name: &Path) -> usize {
        if names.files.remove(name).is_none() {
            self.enter_gap(format!("{} was deleted without being opened before", name.display()));
        }
        self.enter(Event::Deleted { name: name.to_owned() })
    }

    fn stop(&self) -> (Vec<Event>, Vec<String>) {
        let mut state = self.lock_state();
        state.stopped = true;
        (std::mem::take(&mut state.events), std::mem::take(&mut state.gaps))
    }

    fn lock_state(&self) -> MutexGuard<'_, TapeState> {
        // Nothing that holds this lock can leave the tape half changed, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
