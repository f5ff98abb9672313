//! A turn as its own row tells it, without what is derived from it.

use membrane_core::ids::TurnId;
use membrane_core::turn::{Linearity, Message, Turn, TurnStatus};
use membrane_store::codec;
use tokio_postgres::Row;

use crate::rows::{RowError, maybe_text, micros, text};

/// The columns of [`content`], in its order.
pub(super) const CONTENT: &str = "id, status, user_linearity, assistant_linearity, started_at, completed_at, \
     tools_json, extra_json, user_message, assistant_response";

/// Reads [`CONTENT`], which begins at column `first`. Whether what a complete turn showed is part of an old total is
/// told by `observes` alone: it is for the caller to say.
pub(super) fn content(row: &Row, first: usize, is_legacy: bool) -> Result<Turn, RowError> {
    let message = |column, linearity| -> Result<Message, RowError> {
        let linearity = Linearity::parse(&text(row, first + linearity)?)?;
        Ok(Message { content: text(row, first + column)?, mentions: None, linearity })
    };
    let status = TurnStatus::parse(&text(row, first + 1)?)?;
    let mut turn = Turn {
        id: TurnId::from_stored(&text(row, first)?),
        status,
        user: message(8, 2)?,
        assistant: message(9, 3)?,
        items: Vec::new(),
        model: None,
        usage: None,
        finish_reason: None,
        error: None,
        portal_emissions: None,
        is_legacy: is_legacy && status == TurnStatus::Complete,
        started_at: micros(row, first + 4)?,
        completed_at: micros(row, first + 5)?,
    };
    let (tools, extra) = (maybe_text(row, first + 6)?, maybe_text(row, first + 7)?);
    codec::decode_turn(&mut turn, tools.as_deref(), extra.as_deref())?;
    Ok(turn)
}
