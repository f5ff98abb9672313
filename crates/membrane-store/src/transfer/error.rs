//! Why a copy stops.

use crate::StoreError;

/// Why a copy cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The target has rows already.
    #[error(
        "the target has rows already (in table {table}), and nothing is overwritten; name an empty database with --to"
    )]
    NotEmpty {
        /// The first table that has some.
        table: String,
    },
    /// The target holds part of another keep.
    #[error(
        "the target holds an unfinished copy of {source_name}; finish that one with the same --from, or name an empty \
         database with --to"
    )]
    OtherCopy {
        /// What is being copied into it.
        source_name: String,
    },
    /// Somebody has the target open.
    #[error("the target is in use: {by}; stop the servers on it, and copy again")]
    InUse {
        /// Who.
        by: String,
    },
    /// Another copy into the target has begun.
    #[error("another copy into the same target has begun, and goes on instead of this one")]
    TakenOver,
    /// Rows appear in the target that the copy did not write.
    #[error(
        "table {table}, row {row}: it came into the target while it was being copied into; stop whoever writes there, \
         and copy again, which removes it"
    )]
    Intruder {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
    },
    /// Reading back gave something else than was written.
    #[error(
        "the copy differs from the source in {}; it stays unfinished: copy again, which writes the differing rows anew",
        .tables.join(", ")
    )]
    Differs {
        /// The tables, each with both hashes' beginnings.
        tables: Vec<String>,
    },
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The target cannot be read or written.
    #[error("the target cannot be written")]
    Target(#[source] StoreError),
}

impl From<StoreError> for TransferError {
    /// What a sink fails with is about the target.
    fn from(error: StoreError) -> Self {
        Self::Target(error)
    }
}
