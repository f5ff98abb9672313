//! Finished turns kept near at hand, so that a read costs the database little: in this process, and in a Redis or Valkey
//! that instances share.
//!
//! [`CachedStore`] stands before a store and does what that does. When turns are loaded, it asks the store each time where
//! they are and what of them may change, in one snapshot, and takes the rest from pages that it keeps: 64 positions
//! of a segment each. A page holds only what never changes, so it is never stale; and what was deleted, by whomever, has
//! no place any more in what the store says, so it is not shown, without any message between instances.
//!
//! A page is used only if the store vouches for it: it must hold the last turn that is read of it under the very id that
//! the store names (see [`membrane_store::located`]). Whatever a shared cache gives, pages of another database or of the time
//! before a backup was put back, is so found out. It cannot be told from the truth if somebody forged it on purpose: who
//! may write to the shared cache is trusted as who may write to the database.
//!
//! How sessions, lists and everything else that changes are read is not here: the store is asked.

mod evict;
mod memory;
mod needs;
mod options;
mod page;
mod reading;
mod shared;
mod store;
pub mod telemetry;

pub use options::{CacheError, CacheOptions, SharedOptions};
pub use store::CachedStore;
