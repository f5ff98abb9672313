//! Checking what a change requires, before it writes anything.

use membrane_core::history::Cut;
use membrane_core::run::RunPhase;
use membrane_store::{Requirement, StoreError, Subject};

use super::tx::Tx;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::{self, get};
use crate::value::values;

/// Refuses the change if the requirement does not hold.
pub(super) async fn check<'a>(tx: &mut Tx<'a>, requirement: &'a Requirement) -> Result<(), StoreError> {
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
        Requirement::Checkpoint { session, id } => {
            let found = tx
                .ask(
                    "look for a checkpoint",
                    "SELECT 1 FROM chat_checkpoints WHERE id = $1 AND session_id = $2",
                    values![id.as_str(), session.as_str()],
                )
                .await?;
            if found.is_empty() { Err(StoreError::not_found(Subject::Checkpoint, id)) } else { Ok(()) }
        }
        Requirement::Intact { cut } => intact(tx, *cut).await,
        Requirement::Lease { run, token } => {
            let held = tx
                .run(run)
                .filter(|held| held.phase == RunPhase::Running && held.token == *token && held.has_lease);
            held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })
        }
        Requirement::Abandoned { run, dead_owner } => {
            let held = tx.run(run).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })?;
            let is_dead = dead_owner.as_ref().is_some_and(|dead| *dead == held.owner);
            if is_dead || held.phase == RunPhase::AwaitingTool || held.has_expired {
                return Ok(());
            }
            Err(StoreError::LeaseHeld { run: run.clone() })
        }
        Requirement::Waiting { run } => {
            let held = tx.run(run).filter(|held| held.phase == RunPhase::AwaitingTool);
            held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })
        }
    }
}

/// Walks the cut's spans up to the first turn that is gone; segments that never lost one are skipped.
async fn intact(tx: &mut Tx<'_>, cut: Cut) -> Result<(), StoreError> {
    let doing = "look for gaps";
    let db = tx.db().await?;
    let history = histories::find(db, cut.history)
        .await?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    let mut intact = 0;
    for span in history.spans(cut.turn_count) {
        // The first position that is not there.
        let found = db
            .find(
                "SELECT CASE WHEN (SELECT NOT has_gaps FROM segments WHERE id = $1) THEN $3 ELSE coalesce( \
                     (SELECT min(place) FROM ( \
                         SELECT position, $2 - 1 + row_number() OVER (ORDER BY position) AS place FROM turns \
                         WHERE segment_id = $1 AND position >= $2 AND position < $3 \
                     ) AS placed WHERE position <> place), \
                     $2 + (SELECT count(*) FROM turns \
                         WHERE segment_id = $1 AND position >= $2 AND position < $3)) END",
                &values![span.segment.0, span.from, span.to],
            )
            .await
            .doing(doing)?;
        let next = match &found {
            Some(row) => rows::read("turns", row, |row| get::<i64>(row, 0))?,
            None => span.from,
        };
        intact += next.abs_diff(span.from);
        if next != span.to {
            return Err(StoreError::Gap { intact, turn_count: cut.turn_count });
        }
    }
    Ok(())
}
