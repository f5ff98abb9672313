//! Why an export failed.

use std::path::{Path, PathBuf};

use membrane_store::StoreError;

/// Why nothing was exported. The keep is as it was, and no part of a file is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something has the file's name already, or lies beside it and would be taken for a part of it.
    #[error("{} is there already; name another file, or move it away", .path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// No file can be made there.
    #[error("{} cannot be made; check that the folder exists and may be written to", .path.display())]
    Folder {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The keep could not be read, or holds no such session.
    #[error(transparent)]
    Read(StoreError),
    /// The file could not be written: a full disk is [`StoreError::StorageFull`].
    #[error("{} could not be written, and is not there", .path.display())]
    Write {
        /// The file that was asked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// What came to stand in the file is not what was written.
    #[error(
        "{} was written and is not whole: {problem}; it is gone again, try another disk, and look for \
         trouble with this one",
        .path.display()
    )]
    Damaged {
        /// The file that was asked for.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl ExportError {
    pub(super) fn write(path: &Path, source: StoreError) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}
