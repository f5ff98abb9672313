//! Reading back. Each function is one statement, or several that see everything as it is at one moment; of a change
//! that is being applied, they see what it has written.

pub(crate) mod checkpoints;
pub(crate) mod events;
pub(crate) mod histories;
pub(crate) mod keep_name;
pub(crate) mod leaders;
pub(crate) mod lists;
pub(crate) mod located;
pub(crate) mod old_rows;
mod range;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod turns;
