//! Where sessions stood after a change, as the row of an idempotency key holds it.

use membrane_core::error::ValueError;
use membrane_core::evidence::{LegacyTotals, Standing};
use membrane_core::history::Cut;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::turn::Totals;
use serde::{Deserialize, Serialize};

use super::{from_text, to_text};
use crate::change::SessionStamp;

#[derive(Serialize, Deserialize)]
struct StampText {
    id: String,
    version: u64,
    history: i64,
    turn_count: u64,
    /// Succeeded, failed, tool calls, tokens, characters, code blocks, flipped.
    #[serde(default)]
    counts: [i64; 7],
    /// Legacy successes and failures.
    #[serde(default)]
    legacy: [f64; 2],
}

/// Stamps as text.
///
/// # Errors
/// Never for text; the signature is that of its siblings.
pub fn encode_stamps(stamps: &[SessionStamp]) -> Result<String, ValueError> {
    let stamps: Vec<_> = stamps
        .iter()
        .map(|stamp| {
            let Standing { totals, flipped, legacy } = stamp.standing;
            let Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks } = totals;
            StampText {
                id: stamp.id.to_string(),
                version: stamp.version,
                history: stamp.cut.history.0,
                turn_count: stamp.cut.turn_count,
                counts: [succeeded, failed, tool_calls, tokens, chars, code_blocks, flipped],
                legacy: [legacy.alpha, legacy.beta],
            }
        })
        .collect();
    to_text("stamps", &stamps)
}

/// Reads stamps back.
///
/// # Errors
/// [`ValueError::NotJson`] when they cannot be read.
pub fn decode_stamps(text: &str) -> Result<Vec<SessionStamp>, ValueError> {
    let stamps: Vec<StampText> = from_text("stamps", text)?;
    Ok(stamps
        .into_iter()
        .map(|stamp| {
            let [succeeded, failed, tool_calls, tokens, chars, code_blocks, flipped] = stamp.counts;
            let [alpha, beta] = stamp.legacy;
            SessionStamp {
                id: SessionId::from_stored(&stamp.id),
                version: stamp.version,
                cut: Cut { history: HistoryId(stamp.history), turn_count: stamp.turn_count },
                standing: Standing {
                    totals: Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks },
                    flipped,
                    legacy: LegacyTotals { alpha, beta },
                },
            }
        })
        .collect())
}
