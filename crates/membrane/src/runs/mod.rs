//! Turns under way: who answers, who listens, and what is left when a process dies.
//!
//! The user's words are durable before the model is asked (`begin.rs`, for `send.rs`, `branch.rs` and `tools.rs`). A task of
//! its own then drives the answer (`drive.rs`): it makes the prompt (`prompt.rs`) and hears the model (`listen.rs`); pieces
//! go to whoever reads (`live.rs`, `reader.rs`) and, at intervals, to the run's log in the store (`log.rs`); the finished
//! turn is durable before anybody is told that it is done. A model that calls tools (`calls.rs`) lets the run wait, without
//! a lease, until all have their results (`tools.rs`). Readers come and go (`registry.rs`), on any process on the store
//! (`answers.rs`, `follow.rs`), from which the turn can be stopped, too (`cancel.rs`). Runs of processes that died are closed
//! with what had arrived (`recover.rs`).

mod answers;
mod begin;
mod branch;
mod calls;
mod cancel;
mod drive;
mod follow;
mod listen;
mod live;
mod log;
mod pending;
mod prompt;
mod reader;
mod recover;
mod registry;
mod send;
mod settings;
mod tools;

pub use begin::Sent;
pub use branch::{EditOptions, RegenerateOptions};
pub(crate) use live::Stop;
pub use live::{FinishedTurn, RunOutcome};
pub use pending::PendingTurn;
pub use reader::{EventId, RunEvent, RunReader};
pub(crate) use recover::Recoveries;
pub use recover::RecoveryGauges;
pub(crate) use registry::LiveRuns;
pub use send::SendOptions;
pub use settings::RunSettings;
pub use tools::{ToolAnswer, ToolDecision};
