//! Checkpoints and crystals.

use membrane_core::checkpoint::{CheckpointKind, MAX_AUTOMATIC};
use membrane_core::crystal::Crystal;
use membrane_core::evidence::Evidence;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_store::change::Leave;
use membrane_store::{StoreError, Subject, codec};
use rusqlite::{OptionalExtension, params};

use crate::apply::moves::standing_at;
use crate::apply::purge;
use crate::apply::record::Tx;
use crate::error::{Doing, store_error};
use crate::rows::{self, signed};

/// Makes a named checkpoint.
pub(super) fn create(
    tx: &mut Tx<'_>,
    id: &CheckpointId,
    session: &SessionId,
    name: Option<&str>,
    cut: Cut,
) -> Result<(), StoreError> {
    tx.flush()?;
    let standing = standing_at(tx.conn, cut)?;
    let evidence = Evidence::derive(standing.totals, standing.flipped, standing.legacy);
    insert(tx, id, session, name, CheckpointKind::Named, cut, &evidence)
}

/// Leaves a checkpoint where the session stands.
pub(super) fn leave(tx: &mut Tx<'_>, session: &SessionId, leave: &Leave) -> Result<(), StoreError> {
    let record = tx.record(session)?;
    let (cut, evidence) = (record.cut, record.standing().evidence());
    insert(tx, &leave.id, session, leave.name.as_deref(), leave.kind, cut, &evidence)
}

fn insert(
    tx: &mut Tx<'_>,
    id: &CheckpointId,
    session: &SessionId,
    name: Option<&str>,
    kind: CheckpointKind,
    cut: Cut,
    evidence: &Evidence,
) -> Result<(), StoreError> {
    let (conn, now, now_text) = (tx.conn, tx.now, tx.now_text.clone());
    let record = tx.record(session)?;
    let evidence = codec::evidence_json(session, &record.created_at, now, evidence, cut.turn_count);
    let mut statement = conn
        .prepare_cached(
            "INSERT INTO chat_checkpoints \
             (id, session_id, turn_count, evidence_json, created_at, name, kind, history_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .doing("insert a checkpoint")?;
    let inserted = statement.execute(params![
        id.as_str(),
        session.as_str(),
        signed(cut.turn_count),
        evidence,
        now_text,
        name,
        kind.as_str(),
        cut.history.0,
    ]);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) => match error.sqlite_error() {
            Some(failure) if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE => {
                Err(StoreError::already_exists(Subject::Checkpoint, id))
            }
            _ => Err(store_error("insert a checkpoint", error)),
        },
    }
}

/// Deletes a checkpoint and what nothing reaches without it.
pub(super) fn delete(tx: &mut Tx<'_>, session: &SessionId, id: &CheckpointId) -> Result<(), StoreError> {
    tx.flush()?;
    tx.record(session)?;
    let cut = remove(tx, session, id)?.ok_or_else(|| StoreError::not_found(Subject::Checkpoint, id))?;
    if is_seen_by_a_session(tx, cut)? {
        return Ok(());
    }
    let mut doomed = purge::Candidates::default();
    doomed.add_cut(tx.conn, cut)?;
    doomed.purge(tx.conn, &mut tx.tally)
}

/// Whether a session sees all that the cut does, so that nothing becomes unreachable without it.
fn is_seen_by_a_session(tx: &Tx<'_>, cut: Cut) -> Result<bool, StoreError> {
    tx.conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = ?1 AND turn_count >= ?2)",
        )
        .and_then(|mut statement| {
            statement.query_row(params![cut.history.0, signed(cut.turn_count)], |row| row.get(0))
        })
        .doing("look for a session that sees the same")
}

/// Removes the oldest automatic checkpoints beyond those that are kept.
pub(super) fn prune_automatic(tx: &mut Tx<'_>, session: &SessionId) -> Result<(), StoreError> {
    let doing = "look for old checkpoints";
    let old: Vec<String> = {
        let mut statement = tx
            .conn
            .prepare_cached(
                "SELECT id FROM chat_checkpoints WHERE session_id = ?1 AND kind <> 'named' \
                 ORDER BY number DESC LIMIT -1 OFFSET ?2",
            )
            .doing(doing)?;
        let kept = i64::try_from(MAX_AUTOMATIC).unwrap_or(i64::MAX);
        let mut found = statement.query(params![session.as_str(), kept]).doing(doing)?;
        rows::collect(&mut found, |row| row.get(0).doing(doing))?
    };
    if old.is_empty() {
        return Ok(());
    }
    let mut doomed = purge::Candidates::default();
    for id in old {
        if let Some(cut) = remove(tx, session, &CheckpointId::from_stored(&id))? {
            doomed.add_cut(tx.conn, cut)?;
        }
    }
    doomed.purge(tx.conn, &mut tx.tally)
}

fn remove(tx: &Tx<'_>, session: &SessionId, id: &CheckpointId) -> Result<Option<Cut>, StoreError> {
    tx.conn
        .prepare_cached(
            "DELETE FROM chat_checkpoints WHERE id = ?1 AND session_id = ?2 \
             RETURNING history_id, turn_count",
        )
        .and_then(|mut statement| {
            statement
                .query_row([id.as_str(), session.as_str()], |row| {
                    let history = membrane_core::ids::HistoryId(row.get(0)?);
                    Ok(Cut { history, turn_count: rows::unsigned(row.get(1)?) })
                })
                .optional()
        })
        .doing("delete a checkpoint")
}

/// Writes or replaces a session's crystal.
pub(super) fn save_crystal(tx: &mut Tx<'_>, crystal: &Crystal) -> Result<(), StoreError> {
    tx.record(&crystal.session)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO chat_crystals (session_id, title, summary, key_decisions_json, artifacts_json, \
             final_evidence_json, final_turn_count, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (session_id) DO UPDATE SET title = excluded.title, summary = excluded.summary, \
             key_decisions_json = excluded.key_decisions_json, artifacts_json = excluded.artifacts_json, \
             final_evidence_json = excluded.final_evidence_json, \
             final_turn_count = excluded.final_turn_count, created_at = excluded.created_at",
        )
        .doing("save a crystal")?
        .execute(params![
            crystal.session.as_str(),
            crystal.title,
            crystal.summary,
            codec::encode_list(&crystal.key_decisions)?,
            codec::encode_list(&crystal.artifacts)?,
            crystal.final_evidence.as_str(),
            signed(crystal.final_turn_count),
            crystal.created_at.to_string(),
        ])
        .doing("save a crystal")?;
    Ok(())
}
