//! The reference backend: everything in memory, gone with the process. For tests and throwaway runs, and
//! the executable specification of what a change means.
//!
//! It keeps as little as it can and derives the rest at each reading: totals, evidence and the place
//! where a session may append follow from histories, turns and signals, so that they cannot be wrong.
//! Durability and speed on a disk are not here.

mod apply;
mod check;
mod checkpoints;
mod events;
mod keys;
mod leaders;
mod locate;
mod past;
mod purge;
mod read;
mod requirements;
mod runs;
mod sessions;
mod state;
mod store;
mod table;
mod turns;

pub use store::MemoryStore;
