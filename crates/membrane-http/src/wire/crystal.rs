//! Crystals.

use membrane::{Crystal, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EvidenceSchema, Raw, Shown};

/// What remains of a session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Crystal)]
pub struct CrystalView<'a> {
    session_id: &'a str,
    title: &'a str,
    summary: &'a str,
    key_decisions: &'a [String],
    artifacts: &'a [String],
    /// The session's evidence when the crystal was made.
    #[schema(value_type = EvidenceSchema)]
    final_evidence: Raw<'a>,
    final_turn_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown<Timestamp>,
}

/// A session's crystal.
pub fn crystal(crystal: &Crystal) -> CrystalView<'_> {
    CrystalView {
        session_id: crystal.session.as_str(),
        title: &crystal.title,
        summary: &crystal.summary,
        key_decisions: &crystal.key_decisions,
        artifacts: &crystal.artifacts,
        final_evidence: Raw(&crystal.final_evidence),
        final_turn_count: crystal.final_turn_count,
        created_at: Shown(crystal.created_at),
    }
}
