//! A turn as its own row tells it, without what is derived from it.

use membrane_core::error::ValueError;
use membrane_core::ids::TurnId;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Message, Turn, TurnStatus};
use membrane_store::codec;
use rusqlite::Row;

use crate::rows::{RowError, maybe_text, micros, text};

/// The columns of [`content`], in its order.
pub(crate) const CONTENT: &str = "id, status, user_linearity, assistant_linearity, started_at, completed_at, \
     tools_json, extra_json, user_message, assistant_response";

/// Reads [`CONTENT`], which begins at column `first`. Whether what a complete turn showed is part of an old total is
/// told by `observes` alone, and by what repeats it: it is for the caller to say.
pub(crate) fn content(row: &Row<'_>, first: usize, is_legacy: bool) -> Result<Turn, RowError> {
    let named = |column: usize, name: &'static str| {
        text(row, first + column).map_err(|_| {
            RowError::Value(ValueError::Unknown { what: name, value: "no text".to_owned(), allowed: "text" })
        })
    };
    let message = |column, name, linearity| -> Result<Message, RowError> {
        Ok(Message { content: named(column, name)?.to_owned(), mentions: None, linearity })
    };
    let mut turn = Turn {
        id: TurnId::from_stored(named(0, "id")?),
        status: TurnStatus::parse(named(1, "status")?)?,
        user: message(8, "user_message", Linearity::parse(named(2, "user_linearity")?)?)?,
        assistant: message(9, "assistant_response", Linearity::parse(named(3, "assistant_linearity")?)?)?,
        items: Vec::new(),
        model: None,
        usage: None,
        finish_reason: None,
        error: None,
        portal_emissions: None,
        is_legacy: false,
        started_at: Timestamp::from_micros(0),
        completed_at: Timestamp::from_micros(0),
    };
    turn.is_legacy = is_legacy && turn.status == TurnStatus::Complete;
    turn.started_at = micros(row, first + 4)?;
    turn.completed_at = micros(row, first + 5)?;
    codec::decode_turn(&mut turn, maybe_text(row, first + 6)?, maybe_text(row, first + 7)?)?;
    Ok(turn)
}
