//! Checkpoints and crystals.

use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_store::StoreError;
use rusqlite::Connection;

use crate::error::Doing;
use crate::rows::{self, CHECKPOINT_COLUMNS};

/// A session's checkpoints, the one made last first.
pub(crate) fn list(conn: &Connection, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
    let doing = "list checkpoints";
    let sql = format!(
        "SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints WHERE session_id = ?1 ORDER BY number DESC"
    );
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query([session.as_str()]).doing(doing)?;
    rows::collect(&mut found, |row| rows::read("chat_checkpoints", row, rows::checkpoint))
}

/// Finds a checkpoint of a session.
pub(crate) fn find(
    conn: &Connection,
    session: &SessionId,
    id: &CheckpointId,
) -> Result<Option<Checkpoint>, StoreError> {
    let doing = "read a checkpoint";
    let sql = format!("SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints WHERE id = ?1 AND session_id = ?2");
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query([id.as_str(), session.as_str()]).doing(doing)?;
    match found.next().doing(doing)? {
        Some(row) => rows::read("chat_checkpoints", row, rows::checkpoint).map(Some),
        None => Ok(None),
    }
}

/// Finds a session's crystal.
pub(crate) fn find_crystal(conn: &Connection, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
    let doing = "read a crystal";
    let mut statement = conn
        .prepare_cached(
            "SELECT session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json, \
             final_turn_count, created_at FROM chat_crystals WHERE session_id = ?1",
        )
        .doing(doing)?;
    let mut found = statement.query([session.as_str()]).doing(doing)?;
    match found.next().doing(doing)? {
        Some(row) => rows::read("chat_crystals", row, rows::crystal).map(Some),
        None => Ok(None),
    }
}
