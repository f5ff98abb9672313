//! Checkpoints and crystals.

use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_store::StoreError;

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{self, CHECKPOINT_COLUMNS};
use crate::value::values;

/// A session's checkpoints, the one made last first.
pub(crate) async fn list(db: Db<'_>, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
    let sql = format!(
        "SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints WHERE session_id = $1 ORDER BY number DESC"
    );
    let found = db.query(&sql, &values![session.as_str()]).await.doing("list checkpoints")?;
    rows::collect("chat_checkpoints", &found, rows::checkpoint)
}

/// Finds a checkpoint of a session.
pub(crate) async fn find(
    db: Db<'_>,
    session: &SessionId,
    id: &CheckpointId,
) -> Result<Option<Checkpoint>, StoreError> {
    let sql = format!("SELECT {CHECKPOINT_COLUMNS} FROM chat_checkpoints WHERE id = $1 AND session_id = $2");
    let found = db.find(&sql, &values![id.as_str(), session.as_str()]).await.doing("read a checkpoint")?;
    found.map(|row| rows::read("chat_checkpoints", &row, rows::checkpoint)).transpose()
}

/// Finds a session's crystal.
pub(crate) async fn find_crystal(db: Db<'_>, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
    let sql = "SELECT session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json, \
               final_turn_count, created_at FROM chat_crystals WHERE session_id = $1";
    let found = db.find(sql, &values![session.as_str()]).await.doing("read a crystal")?;
    found.map(|row| rows::read("chat_crystals", &row, rows::crystal)).transpose()
}
