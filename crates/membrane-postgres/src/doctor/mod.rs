//! What is the matter with a database: whatever can be told without a healthy one, and without changing anything at all.
//! One theme per file; each gives [`Check`]s, from statements that only read and that wait no longer than a call does.
//!
//! Configuration, other processes and the server's own address are not here.

mod connections;
mod content;
mod durability;
mod examine;
mod locks;
mod pooler;
mod reach;
mod schema;
mod server;
mod session;
mod upkeep;

pub use examine::{Examination, Question, examine, trace_session};
pub use membrane_store::doctor::{Check, SessionTrace, Status};
