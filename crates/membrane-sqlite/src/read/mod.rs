//! Reading back. Every function runs inside one snapshot of a reader's (or the writer's) connection.

pub(crate) mod checkpoints;
pub(crate) mod events;
pub(crate) mod histories;
pub(crate) mod keep_name;
pub(crate) mod leaders;
pub(crate) mod lists;
pub(crate) mod located;
pub(crate) mod old_rows;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod turns;
