//! The suite on the memory backend, and what holds for the suite itself.

mod list;
mod memory;
