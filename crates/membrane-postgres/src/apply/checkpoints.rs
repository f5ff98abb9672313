//! Checkpoints and crystals.

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::crystal::Crystal;
use membrane_core::evidence::Evidence;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, HistoryId, SessionId};
use membrane_store::change::Leave;
use membrane_store::{StoreError, Subject, codec};

use super::locks::kept_checkpoints;
use super::moves::standing_at;
use super::purge::Candidates;
use super::tx::{Meaning, Tx};
use crate::rows::{self, get, signed, unsigned};
use crate::value::values;

/// Makes a named checkpoint.
pub(super) async fn create<'a>(
    tx: &mut Tx<'a>,
    id: &'a CheckpointId,
    session: &'a SessionId,
    name: Option<&'a str>,
    cut: Cut,
) -> Result<(), StoreError> {
    tx.flush();
    let (_, standing) = standing_at(tx, cut).await?;
    let evidence = Evidence::derive(standing.totals, standing.flipped, standing.legacy);
    insert(tx, id, session, name, CheckpointKind::Named, cut, &evidence)
}

/// Leaves a checkpoint where the session stands.
pub(super) fn leave<'a>(tx: &mut Tx<'a>, session: &'a SessionId, leave: &'a Leave) -> Result<(), StoreError> {
    let record = tx.record(session)?;
    let (cut, evidence) = (record.cut, record.standing().evidence());
    insert(tx, &leave.id, session, leave.name.as_deref(), leave.kind, cut, &evidence)
}

fn insert<'a>(
    tx: &mut Tx<'a>,
    id: &'a CheckpointId,
    session: &'a SessionId,
    name: Option<&'a str>,
    kind: CheckpointKind,
    cut: Cut,
    evidence: &Evidence,
) -> Result<(), StoreError> {
    let (now, now_text) = (tx.now, tx.now_text.clone());
    let record = tx.record(session)?;
    let evidence = codec::evidence_json(session, &record.created_at, now, evidence, cut.turn_count);
    tx.put_meaning(
        "insert a checkpoint",
        "INSERT INTO chat_checkpoints \
         (id, session_id, turn_count, evidence_json, created_at, name, kind, history_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            id.as_str(),
            session.as_str(),
            signed(cut.turn_count),
            evidence,
            now_text,
            name,
            kind.as_str(),
            cut.history.0,
        ],
        Meaning::Taken(Subject::Checkpoint, id.to_string()),
    );
    Ok(())
}

/// Deletes a checkpoint and what nothing reaches without it.
pub(super) async fn delete<'a>(
    tx: &mut Tx<'a>,
    session: &'a SessionId,
    id: &'a CheckpointId,
) -> Result<(), StoreError> {
    tx.flush();
    tx.record(session)?;
    let found = tx
        .ask(
            "delete a checkpoint",
            "DELETE FROM chat_checkpoints WHERE id = $1 AND session_id = $2 \
             RETURNING id, history_id, turn_count",
            values![id.as_str(), session.as_str()],
        )
        .await?;
    let cuts = rows::collect("chat_checkpoints", &found, cut)?;
    let Some(cut) = cuts.first() else { return Err(StoreError::not_found(Subject::Checkpoint, id)) };
    if is_seen_by_a_session(tx, *cut).await? {
        return Ok(());
    }
    let mut doomed = Candidates::default();
    doomed.add_cuts(tx, &cuts).await?;
    doomed.purge(tx).await
}

fn cut(row: &tokio_postgres::Row) -> Result<Cut, rows::RowError> {
    Ok(Cut { history: HistoryId(get(row, 1)?), turn_count: unsigned(get(row, 2)?) })
}

/// Whether a session sees all that the cut does, so that nothing becomes unreachable without it.
async fn is_seen_by_a_session(tx: &mut Tx<'_>, cut: Cut) -> Result<bool, StoreError> {
    let found = tx
        .ask(
            "look for a session that sees the same",
            "SELECT 1 FROM chat_sessions WHERE history_id = $1 AND turn_count >= $2 LIMIT 1",
            values![cut.history.0, signed(cut.turn_count)],
        )
        .await?;
    Ok(!found.is_empty())
}

/// Removes the oldest automatic checkpoints beyond those that are kept.
pub(super) async fn prune_automatic<'a>(tx: &mut Tx<'a>, session: &'a SessionId) -> Result<(), StoreError> {
    let found = tx
        .ask(
            "delete old checkpoints",
            "DELETE FROM chat_checkpoints WHERE id IN ( \
                 SELECT id FROM chat_checkpoints WHERE session_id = $1 AND kind <> 'named' \
                 ORDER BY number DESC OFFSET $2) RETURNING id, history_id, turn_count",
            values![session.as_str(), kept_checkpoints()],
        )
        .await?;
    let cuts = rows::collect("chat_checkpoints", &found, cut)?;
    if cuts.is_empty() {
        return Ok(());
    }
    let mut doomed = Candidates::default();
    doomed.add_cuts(tx, &cuts).await?;
    doomed.purge(tx).await
}

/// Writes or replaces a session's crystal.
pub(super) fn save_crystal<'a>(tx: &mut Tx<'a>, crystal: &'a Crystal) -> Result<(), StoreError> {
    tx.record(&crystal.session)?;
    tx.put(
        "save a crystal",
        "INSERT INTO chat_crystals (session_id, title, summary, key_decisions_json, artifacts_json, \
         final_evidence_json, final_turn_count, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (session_id) DO UPDATE SET title = excluded.title, summary = excluded.summary, \
         key_decisions_json = excluded.key_decisions_json, artifacts_json = excluded.artifacts_json, \
         final_evidence_json = excluded.final_evidence_json, \
         final_turn_count = excluded.final_turn_count, created_at = excluded.created_at",
        values![
            crystal.session.as_str(),
            crystal.title.as_str(),
            crystal.summary.as_str(),
            codec::encode_list(&crystal.key_decisions)?,
            codec::encode_list(&crystal.artifacts)?,
            crystal.final_evidence.as_str(),
            signed(crystal.final_turn_count),
            crystal.created_at.to_string(),
        ],
    );
    Ok(())
}
