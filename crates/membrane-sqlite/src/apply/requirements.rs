//! Checking what a change requires, before it writes anything.

use membrane_core::history::Cut;
use membrane_core::run::RunPhase;
use membrane_store::{Requirement, StoreError, Subject};
use rusqlite::{OptionalExtension, params};

use crate::apply::record::Tx;
use crate::apply::runs;
use crate::error::Doing;
use crate::read::histories;

/// Refuses the change if the requirement does not hold.
pub(super) fn check(tx: &mut Tx<'_>, requirement: &Requirement) -> Result<(), StoreError> {
    match requirement {
        Requirement::Version { session, version } => {
            let actual = tx.record(session)?.version;
            if actual == *version {
                return Ok(());
            }
            Err(StoreError::Conflict { session: session.clone(), expected: *version, actual })
        }
        Requirement::Allows { session, action } => {
            tx.record(session)?.state.require(session, *action).map_err(StoreError::Refused)
        }
        Requirement::Sees { session, cut } => {
            let now = tx.record(session)?.cut;
            if now.history == cut.history && now.turn_count >= cut.turn_count {
                return Ok(());
            }
            Err(StoreError::Changed { session: session.clone() })
        }
        Requirement::Checkpoint { session, id } => tx
            .conn
            .prepare_cached("SELECT 1 FROM chat_checkpoints WHERE id = ?1 AND session_id = ?2")
            .and_then(|mut statement| {
                statement.query_row([id.as_str(), session.as_str()], |_| Ok(())).optional()
            })
            .doing("look for a checkpoint")?
            .ok_or_else(|| StoreError::not_found(Subject::Checkpoint, id)),
        Requirement::Intact { cut } => intact(tx, *cut),
        Requirement::Lease { run, token } => {
            let held = runs::find(tx.conn, run)?
                .filter(|held| held.phase == RunPhase::Running && held.token == *token && held.has_lease);
            held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })
        }
        Requirement::Abandoned { run, dead_owner } => {
            let held = runs::find(tx.conn, run)?.ok_or_else(|| StoreError::LeaseLost { run: run.clone() })?;
            let is_dead = dead_owner.as_ref().is_some_and(|dead| *dead == held.owner);
            if is_dead || held.phase == RunPhase::AwaitingTool || held.has_expired {
                return Ok(());
            }
            Err(StoreError::LeaseHeld { run: run.clone() })
        }
        Requirement::Waiting { run } => {
            let held = runs::find(tx.conn, run)?.filter(|held| held.phase == RunPhase::AwaitingTool);
            held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })
        }
    }
}

/// Walks the cut's spans up to the first turn that is gone; segments that never lost one are skipped.
fn intact(tx: &Tx<'_>, cut: Cut) -> Result<(), StoreError> {
    let doing = "look for gaps";
    let history = histories::find(tx.conn, cut.history)?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    let mut has_gaps = tx.conn.prepare_cached("SELECT has_gaps FROM segments WHERE id = ?1").doing(doing)?;
    let mut positions = tx
        .conn
        .prepare_cached(
            "SELECT position FROM turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3 \
             ORDER BY position",
        )
        .doing(doing)?;
    let mut intact = 0;
    for span in history.spans(cut.turn_count) {
        let gaps: Option<bool> =
            has_gaps.query_row([span.segment.0], |row| row.get(0)).optional().doing(doing)?;
        if gaps == Some(false) {
            intact += span.len();
            continue;
        }
        let mut found = positions.query(params![span.segment.0, span.from, span.to]).doing(doing)?;
        let mut next = span.from;
        while let Some(row) = found.next().doing(doing)? {
            if row.get::<_, i64>(0).doing(doing)? != next {
                break;
            }
            next += 1;
        }
        intact += next.abs_diff(span.from);
        if next != span.to {
            return Err(StoreError::Gap { intact, turn_count: cut.turn_count });
        }
    }
    Ok(())
}
