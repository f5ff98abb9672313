//! From an old file into a keep: session by session, in bounded memory.
//!
//! `session.rs` is one session from end to end, `plan.rs` what it becomes; `turns.rs`, `evidence.rs`, `contexts.rs` and `times.rs` say what old
//! values mean; `checkpoints.rs` finds the turns that a checkpoint sees; `notes.rs` collects what is odd.

mod checkpoints;
mod contexts;
mod evidence;
mod notes;
mod plan;
mod session;
mod times;
mod turns;

use jiff::tz::TimeZone;
use membrane_core::time::Timestamp;

use super::old::{Sink, Source, SourceError};
use super::report::Report;
use crate::change::{Change, Receipt, Write};
use crate::error::StoreError;
use session::Loader;

/// How old values are read.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The zone of times that name none.
    pub naive_zone: TimeZone,
    /// What a time that cannot be read becomes, if nothing else in its session tells.
    pub now: Timestamp,
}

/// How an old database becomes a keep in its place.
#[derive(Debug, Clone)]
pub struct UpgradeOptions {
    /// The zone of its times, which name none; by default the system's.
    pub naive_zone: TimeZone,
    /// Whether it is upgraded though something of others in it will stop working; not by default.
    pub force: bool,
}

impl Default for UpgradeOptions {
    fn default() -> Self {
        Self { naive_zone: TimeZone::system(), force: false }
    }
}

/// Why an old file was not taken in. What had been committed stays, if the sink's changes are transactions of their
/// own; loading the same file again goes on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The old file cannot be read on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The keep did not take something.
    #[error("{what} could not be written")]
    Sink {
        /// What was being written.
        what: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Takes everything that the source holds into the sink. `watch` is told from time to time how far it is.
///
/// A session that the sink has already is compared: what the file has beyond it is added, and a session that went
/// another way stays as it is, with a finding. So loading twice changes nothing.
///
/// # Errors
/// [`LoadError`].
pub fn load(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    options: &LoadOptions,
    watch: &mut dyn FnMut(&Report),
) -> Result<Report, LoadError> {
    let mut report = Report::default();
    for (table, total) in source.totals()? {
        report.tables.entry(table).or_default().total = total;
    }
    let mut loader = Loader::new(source, sink, options, watch);
    while loader.load_next(&mut report)? {}
    loader.keep_rest(&mut report)?;
    for (table, oddity, rows) in source.skipped()? {
        report.count_dropped(table, oddity, rows);
    }
    watch(&report);
    Ok(report)
}

/// Commits a change, and says what was being written if it fails.
fn commit(sink: &mut dyn Sink, change: Change, what: impl FnOnce() -> String) -> Result<Receipt, LoadError> {
    sink.commit(change).map_err(|source| LoadError::Sink { what: what(), source })
}

/// Asks the sink for something.
fn ask<T>(answer: Result<T, StoreError>, what: impl FnOnce() -> String) -> Result<T, LoadError> {
    answer.map_err(|source| LoadError::Sink { what: what(), source })
}

/// A change of one write.
fn single(now: Timestamp, write: Write) -> Change {
    Change::at(now).write(write)
}
