//! `doctor`: everything that can be told of a keep that does not work as it should, in one page.
//!
//! What is in the file is looked at by `membrane-sqlite`; here is the rest: the configuration, other processes, the
//! server's address, and other databases that could have been meant.

mod address;
mod configuration;
mod processes;
mod run;
mod sessions;

pub(super) use processes::{Holders, holders};
pub(super) use run::doctor;
