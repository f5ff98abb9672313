//! What is the matter with a database file: whatever can be told without a healthy database, and without changing
//! anything at all. One theme per file; each gives [`Check`]s.
//!
//! Configuration, other processes and the network are not here.

mod beside;
mod content;
mod examine;
mod file;
mod locks;
mod open;
mod permissions;
mod schema;
mod session;
mod space;
mod verdict;

pub use examine::{Examination, Question, examine};
pub use locks::{Companion, companions, lock_meaning};
pub use session::{SessionTrace, trace_session};
pub use verdict::{Check, Status};
