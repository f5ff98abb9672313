//! How a SQLite keep is opened. The defaults are measured; see `docs/sqlite.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::v1::UpgradeOptions;

/// When a commit is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Every commit is on the disk before it is acknowledged. The only setting that keeps the promise.
    #[default]
    Full,
    /// A power loss may take the newest commits; for throwaway copies.
    Normal,
    /// Nothing is synced; exists so that the power-loss test can show that it would notice.
    Off,
}

impl Synchronous {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}

/// How to open a SQLite keep.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file. Its folder is made if it is missing.
    pub path: PathBuf,
    /// When a commit is safe; [`Synchronous::Full`] by default.
    pub synchronous: Synchronous,
    /// How long a change waits for another process or for a place in the queue before it fails with
    /// `Unavailable`; 5 s by default.
    pub busy_timeout: Duration,
    /// How many changes may wait for the writer; 1,024 by default.
    pub queue_len: usize,
    /// How many changes share one commit at the most; 256 by default.
    pub max_batch: usize,
    /// How many reading threads; 2 by default, at least 1. One more connection serves callers that read on
    /// their own thread.
    pub readers: usize,
    /// Page cache of the writer and of each reader, in KiB; 65,536 by default.
    pub cache_kib: u32,
    /// How many pages (of 4 KiB) the write-ahead log may hold before its content moves to the main file;
    /// 1,000 by default. A greater value costs disk and recovery time, a smaller one throughput.
    pub checkpoint_pages: u32,
    /// What becomes of a kgents V1 file that is opened.
    pub upgrade: UpgradeOptions,
    /// The name of a registered SQLite VFS to use instead of the default one; for tests.
    pub vfs: Option<String>,
}

impl SqliteOptions {
    /// The defaults for the file at `path`.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            queue_len: 1024,
            max_batch: 256,
            readers: 2,
            cache_kib: 64 * 1024,
            checkpoint_pages: 1000,
            upgrade: UpgradeOptions::default(),
            vfs: None,
        }
    }
}
