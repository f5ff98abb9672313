//! A power-loss campaign: writers append to a store under a recording, the power is cut at many points, and
//! every surviving image is opened and held against what had been acknowledged.
//!
//! Not here: any store, which comes in as a [`Target`]; and the judgement of an image ([`crate::report`]).

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use thiserror::Error;

use crate::cuts;
use crate::entry::Entry;
use crate::image::{BackwardCut, Disk, Ending};
use crate::recording::{Log, Marker, Recording, RecordingError};
use crate::report::{Report, Said};
use crate::seed::Choices;

/// The name of the database file in the directory of a recording and of an image.
pub const DATABASE: &str = "membrane.db";

/// Whatever went wrong inside a store, with its causes.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A store that can be tried: something that appends with concurrent writers, and can be opened and listed.
pub trait Target: Sync {
    /// The store while it is open. Writers share it.
    type Open: Sync;

    /// The store's name in reports, one word.
    fn name(&self) -> &str;

    /// The durability it is opened with, in SQLite's words: `FULL`, `NORMAL`, `OFF`.
    fn synchronous(&self) -> &str;

    /// Makes a new store in the file `database`, all of whose connections use the VFS `vfs`.
    fn open(&self, database: &Path, vfs: &str, n_writers: u32) -> Result<Self::Open, Failure>;

    /// Appends an entry, usually its [`Entry::text`]. Returns when the store says that it is kept. Called by
    /// one thread per writer, at the same time; a failure fails the campaign.
    fn append(&self, open: &Self::Open, entry: Entry) -> Result<(), Failure>;

    /// Closes the store. Returns when every connection is closed.
    fn close(&self, open: Self::Open) -> Result<(), Failure>;

    /// Opens what a power loss left of `database`, with SQLite's default VFS, as the store does at its start;
    /// checks that it is sound; and lists all entries in it, in any order. A file that is not there, or that
    /// ends before the schema was made, holds no entries.
    ///
    /// # Errors
    /// The image cannot be opened, is not sound, or holds half of something.
    fn survivors(&self, database: &Path) -> Result<Vec<Entry>, Failure>;
}

/// What the writers do while they are recorded.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Threads that append at the same time.
    pub n_writers: u32,
    /// What each of them appends, one after the other.
    pub n_entries_each: u64,
}

/// Why a campaign could not be carried out. What it *found* is in the [`Report`].
#[derive(Debug, Error)]
pub enum CampaignError {
    /// The recording failed or has gaps.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The store could not be opened for recording.
    #[error("the store did not open at the start of the campaign")]
    Open(#[source] Failure),
    /// The store could not be closed at the end of the recording.
    #[error("the store did not close at the end of the recording")]
    Close(#[source] Failure),
    /// A writer's append failed though nothing was wrong with the disk.
    #[error("appending {entry} failed")]
    Append {
        /// What was to be appended.
        entry: Entry,
        /// What the store said.
        source: Failure,
    },
    /// A writer's thread panicked.
    #[error("a writer panicked; its message stands above")]
    WriterPanicked,
    /// The recording has too few points for the cuts.
    #[error(transparent)]
    Cuts(#[from] cuts::TooFewPoints),
    /// The cuts were not in order.
    #[error(transparent)]
    Order(#[from] BackwardCut),
    /// An image could not be written to disk.
    #[error("could not write an image below {}; is there room?", .directory.display())]
    Image {
        /// Where it was to be written.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Records `target` in the empty directory `root` while `workload` runs, from before the store is made until
/// after it is closed.
pub fn record<T: Target>(target: &T, root: &Path, workload: Workload) -> Result<Log, CampaignError> {
    static N_RECORDINGS: AtomicU64 = AtomicU64::new(0);
    let number = N_RECORDINGS.fetch_add(1, Ordering::Relaxed);
    let recording = Recording::start(&format!("recording-{}-{number}", target.name()), root)?;
    let open = target
        .open(&root.join(DATABASE), recording.vfs_name(), workload.n_writers)
        .map_err(CampaignError::Open)?;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..workload.n_writers)
            .map(|writer| {
                let (recording, open) = (&recording, &open);
                scope.spawn(move || write(target, open, recording, writer, workload.n_entries_each))
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or(Err(CampaignError::WriterPanicked)))
            .collect::<Result<Vec<()>, _>>()
    })?;
    target.close(open).map_err(CampaignError::Close)?;
    Ok(recording.finish()?)
}

fn write<T: Target>(
    target: &T,
    open: &T::Open,
    recording: &Recording,
    writer: u32,
    n_entries: u64,
) -> Result<(), CampaignError> {
    for number in 1..=n_entries {
        let entry = Entry { writer, number };
        recording.mark(Marker::Submitted(entry));
        target.append(open, entry).map_err(|source| CampaignError::Append { entry, source })?;
        recording.mark(Marker::Acknowledged(entry));
    }
    Ok(())
}

/// How to cut a recording.
#[derive(Debug, Clone, Copy)]
pub struct Cutting<'a> {
    /// How many points the power is cut at.
    pub n_cuts: usize,
    /// Chooses the points and what is torn. The recording itself depends on how threads were scheduled, so
    /// the same seed over another recording finds other points.
    pub seed: u64,
    /// An existing directory where images are built.
    pub scratch: &'a Path,
    /// Where the first bad image is kept as it was before it was opened; nothing is kept if it is `None`.
    pub evidence: Option<&'a Path>,
}

/// Cuts `log` at many points and opens, for each point, what is left at every [`Ending`].
pub fn check<T: Target>(target: &T, log: &Log, cutting: Cutting<'_>) -> Result<Report, CampaignError> {
    let mut report = Report::new(target, log, cutting.seed);
    let mut disk = Disk::new(log);
    let mut said = Said::default();
    for cut in cuts::choose(log, cutting.n_cuts, cutting.seed)? {
        disk.advance_to(cut)?;
        said.advance_to(log, cut);
        report.n_cuts += 1;
        let seed = Choices::of_item(cutting.seed, cut as u64).next_number();
        for ending in [Ending::Lost, Ending::Torn { seed }, Ending::Killed] {
            let image = cutting.scratch.join("image");
            write_image(&disk, ending, &image)?;
            let findings = said.judge(target.survivors(&image.join(DATABASE)));
            if report.enter(cut, ending, &findings)
                && let Some(evidence) = cutting.evidence
            {
                write_image(&disk, ending, evidence)?;
            }
            remove(&image)?;
        }
    }
    Ok(report)
}

/// Builds an image in a directory of its own; an older one in the same place is removed.
fn write_image(disk: &Disk<'_>, ending: Ending, directory: &Path) -> Result<(), CampaignError> {
    remove(directory)?;
    fs::create_dir_all(directory)
        .and_then(|()| disk.materialise(ending, directory))
        .map_err(|source| CampaignError::Image { directory: directory.to_owned(), source })
}

fn remove(directory: &Path) -> Result<(), CampaignError> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CampaignError::Image { directory: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}
