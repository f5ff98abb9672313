//! Drafts of turns in the words of the rules. What they are worth as evidence is not here.

use membrane_core::json::Json;
use membrane_core::run::{Piece, PieceBody, RunEnd};
use membrane_core::tool::ToolUse;
use membrane_core::turn::{Message, SignalKind};

use super::ops::{Draft, Ending, Mood, TEXTS};

/// What the user says.
pub(crate) fn user_text(draft: &Draft) -> &'static str {
    TEXTS[usize::from(draft.text) % TEXTS.len()]
}

/// What the assistant says.
pub(crate) fn reply_text(draft: &Draft) -> &'static str {
    TEXTS[(usize::from(draft.text) + 1) % TEXTS.len()]
}

/// The user's message.
pub(crate) fn user(draft: &Draft) -> Message {
    Message::new(user_text(draft))
}

/// What arrives: the uses of tools, then the answer in two pieces.
pub(crate) fn pieces(draft: &Draft) -> Vec<Piece> {
    let tools = draft.tools.iter().map(|&success| {
        PieceBody::Tool(ToolUse { success, duration_ms: 1.5, ..ToolUse::new("call", "tool", Json::null()) })
    });
    let reply = reply_text(draft);
    let middle = reply.char_indices().nth(1).map_or(reply.len(), |(index, _)| index);
    let (first, rest) = reply.split_at(middle);
    let answer = [first, rest].map(|text| PieceBody::Text(text.into()));
    tools.chain(answer).zip(0..).map(|(body, seq)| Piece { seq, body }).collect()
}

/// How the run ends.
pub(crate) fn end(ending: Ending) -> RunEnd {
    match ending {
        Ending::Complete => RunEnd::complete(),
        Ending::Interrupted => RunEnd::interrupted("cancelled", "stopped by the user"),
        Ending::Failed => RunEnd::failed("model", "no answer"),
    }
}

/// What a signal says.
pub(crate) fn kind(mood: Mood) -> SignalKind {
    match mood {
        Mood::Positive => SignalKind::Positive,
        Mood::Negative => SignalKind::Negative,
        Mood::Correction => SignalKind::Correction,
    }
}
