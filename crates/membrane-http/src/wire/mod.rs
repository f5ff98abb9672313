//! JSON as clients know it: the same keys, every one always there. What is raw JSON in the keep comes out
//! unchanged. Reading requests is not here.
//!
//! Each type borrows what it shows, and its schema is part of the OpenAPI document.

mod branching;
mod crystal;
mod evidence;
mod session;
mod turn;

pub use branching::{
    AlternativeList, BranchTree, BranchView, CheckpointList, CheckpointMade, CheckpointView, DiffView,
    alternatives, branch, checkpoint, diff, made_checkpoint,
};
pub use crystal::{CrystalView, crystal};
pub use evidence::{EvidenceSchema, EvidenceView};
pub use session::{
    FeedbackView, PageView, PendingView, RestoredView, SessionView, WholeSession, page, pending, session,
};
pub use turn::{
    CallView, SignalView, ToolView, TurnPage, TurnView, call, finished_turn, signals, tool, turn,
};

use membrane::Json;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON text in its place.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a>(pub &'a Json);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(self.0.as_str()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// A value that is shown as text.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
