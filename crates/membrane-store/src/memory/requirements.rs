//! Checking what a change requires, before it writes anything.

use membrane_core::history::{Cut, TurnRef};
use membrane_core::run::RunPhase;

use super::apply::Tx;
use super::state::{State, bounds};
use crate::{Requirement, StoreError, Subject};

impl Tx<'_> {
    /// Refuses the change if the requirement does not hold.
    pub(super) fn require(&self, requirement: &Requirement) -> Result<(), StoreError> {
        let state = &*self.state;
        match requirement {
            Requirement::Version { session, version } => {
                let actual = state.session(session)?.version;
                ensure(actual == *version, || StoreError::Conflict {
                    session: session.clone(),
                    expected: *version,
                    actual,
                })
            }
            Requirement::Allows { session, action } => {
                state.session(session)?.state.require(session, *action).map_err(StoreError::Refused)
            }
            Requirement::Sees { session, cut } => {
                let seen = state.session(session)?.cut;
                ensure(seen.history == cut.history && seen.turn_count >= cut.turn_count, || {
                    StoreError::Changed { session: session.clone() }
                })
            }
            Requirement::Checkpoint { session, id } => {
                ensure(state.checkpoint(session, id).is_some(), || {
                    StoreError::not_found(Subject::Checkpoint, id)
                })
            }
            Requirement::Intact { cut } => intact(state, *cut),
            Requirement::Lease { run, token } => {
                let held = state
                    .find_run_row(run)
                    .is_some_and(|row| row.run.phase == RunPhase::Running && row.run.lease.token == *token);
                ensure(held, || StoreError::LeaseLost { run: run.clone() })
            }
            Requirement::Abandoned { run, dead_owner } => {
                let row =
                    state.find_run_row(run).ok_or_else(|| StoreError::LeaseLost { run: run.clone() })?;
                let is_free = row.run.phase == RunPhase::AwaitingTool
                    || row.has_expired(self.lease_clock)
                    || dead_owner.as_ref() == Some(&row.run.lease.owner);
                ensure(is_free, || StoreError::LeaseHeld { run: run.clone() })
            }
            Requirement::Waiting { run } => {
                let waits =
                    state.find_run_row(run).is_some_and(|row| row.run.phase == RunPhase::AwaitingTool);
                ensure(waits, || StoreError::LeaseLost { run: run.clone() })
            }
        }
    }
}

fn ensure(holds: bool, error: impl FnOnce() -> StoreError) -> Result<(), StoreError> {
    if holds { Ok(()) } else { Err(error()) }
}

/// Walks the cut up to the first turn that is gone.
fn intact(state: &State, cut: Cut) -> Result<(), StoreError> {
    let mut intact = 0;
    for span in state.history(cut.history)?.spans(cut.turn_count) {
        let there = state.turns.range(bounds(span)).map(|(at, _)| *at);
        let expected = (span.from..).map(|position| TurnRef { segment: span.segment, position });
        let leading = there.zip(expected).take_while(|(at, expected)| at == expected).count();
        intact += u64::try_from(leading).unwrap_or(u64::MAX);
        if u64::try_from(leading) != Ok(span.len()) {
            break;
        }
    }
    ensure(intact == cut.turn_count, || StoreError::Gap { intact, turn_count: cut.turn_count })
}
