//! The way back: a keep's sessions as a plain file of kgents' first layout, V1.
//!
//! [`export_v1`] reads through [`membrane_store::Store`], so that every backend can be exported, and puts the file
//! together on a thread for blocking work: the sessions and their order (`plan.rs`), pages of turns whose size is
//! bounded (`pages.rs`), rows (`rows.rs`), checkpoints with their turns in full (`context.rs`), local times
//! (`times.rs`). The file has another name until it is whole, on the disk and verified (`file.rs`, `verify.rs`).
//!
//! What V1 has no column for stands where its readers pass over it; see [`membrane_store::kgents::extras`].

mod context;
mod error;
mod file;
mod pages;
mod plan;
mod report;
mod rows;
mod run;
mod times;
mod verify;

pub use error::ExportError;
pub use report::{ExportOptions, ExportReport, LeftOut, Selection};
pub use run::export_v1;
