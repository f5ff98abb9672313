//! Copies of a database as one plain file, proved before they get their name, and the way back.
//!
//! `copy.rs` makes one of a database that is in use and compares it with it (`verify.rs`), in a folder of
//! its own (`workshop.rs`) from which it moves to its place in one step. `keep.rs` says where backups go and what
//! they are called, `restore.rs` brings one back, `contents.rs` says what is in one.

mod contents;
mod copy;
mod error;
mod keep;
mod restore;
pub(crate) mod users;
mod verify;
mod workshop;

pub use contents::{Contents, Make};
pub(crate) use copy::copy_verified;
pub use error::BackupError;
pub use keep::{Backup, Place, back_up, default_folder, remove_old_backups};
pub use restore::{Aside, Restored, restore};
