//! Carrying out a change inside a transaction.
//!
//! Rules are not here: what a change contains was decided before. What the tables derive from the history (counts, totals,
//! evidence) is derived here, in the same transaction.

mod checkpoints;
mod events;
mod keys;
mod leaders;
mod locks;
mod moves;
mod numbers;
mod past;
mod purge;
mod record;
mod requirements;
mod runs;
mod sessions;
mod signals;
mod transaction;
mod turns;
mod tx;

pub(crate) use numbers::Numbers;
pub(crate) use record::Record;
pub(crate) use transaction::{Failure, Prepared, apply_within, transact};
pub(crate) use turns::{TurnRows, extend, turn_columns};
