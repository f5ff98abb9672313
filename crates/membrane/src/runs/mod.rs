//! Turns under way: who answers, who listens, and what is left when a process dies.
//!
//! The user's words are durable before the model is asked (`send.rs`). A task of its own then drives the
//! answer (`drive.rs`): pieces go to whoever listens (`live.rs`) and, at intervals, to the run's log in the
//! store (`log.rs`); the finished turn is durable before anybody is told that it is done. Listeners come and
//! go (`registry.rs`); the turn goes on without them. Runs of processes that died are closed with what had
//! arrived (`recover.rs`).

mod drive;
mod live;
mod log;
mod recover;
mod registry;
mod send;
mod settings;

pub(crate) use live::Stop;
pub use live::{EventId, FinishedTurn, RunEvent, RunOutcome, RunReader};
pub(crate) use recover::Recoveries;
pub use recover::RecoveryGauges;
pub(crate) use registry::LiveRuns;
pub use send::{PendingTurn, SendOptions, Sent};
pub use settings::RunSettings;
