//! One room per noun. A handler reads a request, makes one call of the library and answers; no rule is here.

pub(crate) mod branches;
pub(crate) mod checkpoints;
pub(crate) mod crystals;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod operations;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod sessions;
pub(crate) mod tools;
pub(crate) mod turns;
