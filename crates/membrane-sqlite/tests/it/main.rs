//! The SQLite backend from outside: the suite that every backend passes, and what is SQLite's own: files,
//! migrations, what other SQL readers see, and how the writer and the readers behave.
//!
//! What a session means is not tested here; `membrane-core` and the suite do that.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod backups;
mod batches;
mod closing;
mod conformance;
mod copies;
mod doctor;
mod events;
mod export;
mod foreign_files;
mod gauges;
mod instances;
mod keep;
mod log;
mod migrations;
mod plans;
mod readers;
mod repair;
mod restores;
mod sql_readers;
mod telemetry;
mod universe;
mod v1;
mod waiting;
