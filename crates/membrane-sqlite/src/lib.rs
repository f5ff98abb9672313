//! The SQLite backend of the keep.
//!
//! One connection writes. A writer thread takes changes from a bounded queue and commits all that are waiting in
//! one transaction (group commit); a caller that finds nobody else, while commits are short, uses the connection
//! on its own thread (`queue.rs`). Either way an answer is given only after the commit it was found in. Readers
//! are a small pool of threads with read-only connections. Write-ahead log, `synchronous=FULL`, foreign keys and
//! `secure_delete` are on.
//!
//! What a change means is said by `membrane-store`; what operations decide, by `membrane-core`.

mod apply;
pub mod backup;
pub mod check;
mod connection;
mod counts;
mod detect;
pub mod doctor;
mod error;
pub mod export;
mod facts;
mod instances;
mod integrity;
pub mod migrations;
mod options;
mod pace;
mod queue;
mod read;
mod readers;
pub mod repair;
mod rows;
mod store;
pub mod telemetry;
pub mod transfer;
pub mod universe;
pub mod v1;
mod writer;

pub use backup::BackupError;
pub use detect::{OldFormat, detect, holds_documents};
pub use error::OpenError;
pub use options::{SqliteOptions, Synchronous};
pub use store::SqliteStore;
