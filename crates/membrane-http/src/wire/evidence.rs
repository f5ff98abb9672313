//! Evidence objects.

use membrane::Session;
use membrane::store::codec;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A session's evidence.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceView<'a>(pub &'a Session);

impl Serialize for EvidenceView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let session = self.0;
        let text = codec::evidence_json(
            &session.id,
            &session.created_at.to_string(),
            session.last_active,
            &session.evidence(),
            session.turn_count(),
        );
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// How sure a session is that its goal is reached: a Beta distribution with prior Beta(1,1), and one
/// observation for each complete turn.
#[derive(ToSchema)]
#[schema(as = Evidence)]
#[expect(
    dead_code,
    reason = "it only says what the keys are; the values are written by the keep's own codec"
)]
pub struct EvidenceSchema {
    id: String,
    /// Successes, plus 1.
    prior_alpha: f64,
    /// Failures, plus 1.
    prior_beta: f64,
    /// The mean, alpha / (alpha + beta).
    confidence: f64,
    /// Whether P(theta > 0.5) is at least 0.95, after at least three turns.
    should_stop: bool,
    /// Complete turns in which no tool failed.
    tools_succeeded: i64,
    /// Complete turns in which a tool failed.
    tools_failed: i64,
    #[schema(required)]
    ashc_equivalence: Option<f64>,
    created_at: String,
    updated_at: String,
    #[schema(value_type = Object)]
    metadata: (),
}
