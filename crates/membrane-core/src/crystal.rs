//! Crystals: what remains of a session when it is over; and when it is worth making one.

use crate::ids::SessionId;
use crate::json::Json;
use crate::time::Timestamp;
use crate::turn::Totals;

/// Fewer turns than this are never significant.
pub const MIN_SIGNIFICANT_TURNS: u64 = 10;

/// A score from here on is significant.
pub const SIGNIFICANT_SCORE: f64 = 20.0;

/// A session's summary. A session has at most one; a second replaces the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Crystal {
    /// The session it sums up.
    pub session: SessionId,
    /// Its title.
    pub title: String,
    /// Its text.
    pub summary: String,
    /// What was decided.
    pub key_decisions: Vec<String>,
    /// What was made.
    pub artifacts: Vec<String>,
    /// The evidence when it was made.
    pub final_evidence: Json,
    /// How many turns there were when it was made.
    pub final_turn_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How much a session has in it; kgents' formula.
///
/// `10 log10(turns)`, plus 2 per 1,000 code points once there are 5,000, plus 5 per use of a tool, plus
/// 3 per fenced code block. 0 below [`MIN_SIGNIFICANT_TURNS`].
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn significance(turn_count: u64, totals: Totals) -> f64 {
    if turn_count < MIN_SIGNIFICANT_TURNS {
        return 0.0;
    }
    let length = if totals.chars >= 5_000 { 2.0 * (totals.chars as f64 / 1_000.0) } else { 0.0 };
    10.0 * (turn_count as f64).log10()
        + length
        + 5.0 * totals.tool_calls as f64
        + 3.0 * totals.code_blocks as f64
}

/// Whether a crystal is due.
pub fn is_significant(turn_count: u64, totals: Totals) -> bool {
    significance(turn_count, totals) >= SIGNIFICANT_SCORE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(chars: i64) -> Totals {
        Totals { chars, ..Totals::ZERO }
    }

    #[test]
    fn the_observed_cases_of_the_old_formula_hold() {
        assert!((significance(10, totals(5_000)) - 20.0).abs() < 1e-12);
        assert!(is_significant(10, totals(5_000)));
        assert!(!is_significant(99, totals(99)), "99 short turns score 19.96");
        assert!(is_significant(100, totals(100)));
        assert!(!is_significant(9, totals(1_000_000)));
    }
}
