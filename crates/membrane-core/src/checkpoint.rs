//! Checkpoints: a name for a cut. They point, they never copy.

use crate::history::Cut;
use crate::ids::{CheckpointId, SessionId};
use crate::time::Timestamp;
use crate::words::words;

/// How many automatic checkpoints of a session are kept, the newest ones.
pub const MAX_AUTOMATIC: usize = 20;

words!(
    /// Why a checkpoint is there.
    CheckpointKind, "checkpoint kind", "named, rewind, restore", {
        /// A user asked for it. It keeps its turns alive.
        Named = "named",
        /// Left by a rewind, so that it can be undone.
        Rewind = "rewind",
        /// Left by a restore, so that it can be undone.
        Restore = "restore",
    }
);

impl CheckpointKind {
    /// Whether Membrane left it by itself.
    pub fn is_automatic(self) -> bool {
        self != Self::Named
    }
}

/// One checkpoint of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its identifier.
    pub id: CheckpointId,
    /// The session that it belongs to and is deleted with.
    pub session: SessionId,
    /// The turns that it sees.
    pub cut: Cut,
    /// What the user calls it.
    pub name: Option<String>,
    /// Why it is there.
    pub kind: CheckpointKind,
    /// When it was made.
    pub created_at: Timestamp,
}
