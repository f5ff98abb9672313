//! Putting a keep right that contradicts itself: what is derived is derived again from what is the truth.
//!
//! The truth is a turn's content and its place in its segment, the slices of histories, what sessions and
//! checkpoints point at, and signals. Totals, evidence, counts, indexes, views and the like follow from it. What
//! holds somebody's words, or points at them, is removed only by `prune`, and what is gone is named: nothing is
//! papered over. A copy of the file is made and verified first; everything is one transaction; and it is kept only if
//! a second check finds less than the first and nothing that the first did not.

mod copy;
mod derived;
mod heads;
mod lost;
mod prune;
mod report;
mod run;
mod sessions;
mod slices;
mod structure;
mod sums;
mod turns;

pub use report::{RepairError, RepairOptions, Repaired};
pub use run::repair_file;
