//! Copies of a database as one plain file, proved before they get their name, and the way back.
//!
//! `copy.rs` makes one of a database that is in use and compares it with it (`verify.rs`), in a folder of
//! its own (`workshop.rs`) from which it moves to its place in one step.

mod copy;
mod error;
mod verify;
mod workshop;

pub(crate) use copy::copy_verified;
pub use error::BackupError;
