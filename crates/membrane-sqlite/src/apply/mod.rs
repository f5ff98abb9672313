//! Carrying out a change inside the writer's transaction.
//!
//! Rules are not here: what a change contains was decided before. What the tables derive from the
//! history (counts, totals, evidence) is derived here, in the same transaction.

mod checkpoints;
mod events;
mod keys;
mod leaders;
mod moves;
mod past;
mod purge;
mod record;
mod requirements;
mod runs;
mod sessions;
mod signals;
mod turns;

use membrane_core::event::EventSeq;
use membrane_core::turn::Turn;
use membrane_store::{Change, Receipt, StoreError, Write};
use rusqlite::Connection;

pub(crate) use moves::{Standing, standing_at};
use record::Tx;
use turns::MeasuredTurn;

use crate::counts::Tally;

/// A change whose turns are measured and encoded: done by the caller's thread, not by the writer's.
#[derive(Debug)]
pub(crate) struct Prepared {
    change: Change,
    /// One list per write; empty where a write has no turns.
    turns: Vec<Vec<MeasuredTurn>>,
}

impl Prepared {
    /// Measures and encodes the change's turns.
    pub(crate) fn new(change: Change) -> Result<Self, StoreError> {
        let measure = |turns: &[Turn]| turns.iter().map(MeasuredTurn::new).collect();
        let turns = change
            .writes
            .iter()
            .map(|write| match write {
                Write::AppendTurns { turns, .. } => measure(turns),
                Write::FinishRun { turn, .. } => measure(std::slice::from_ref(turn)),
                _ => Ok(Vec::new()),
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Self { change, turns })
    }
}

/// A change that was applied.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) receipt: Receipt,
    /// What it added to the rows that are counted.
    pub(crate) tally: Tally,
    /// The newest event that it made.
    pub(crate) newest_event: Option<EventSeq>,
}

/// Whether readers are to follow a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Its events are kept.
    Events,
    /// It makes none: nobody can have followed a file that is only being made.
    Nothing,
}

/// Applies one change. On an error the caller takes back what was written.
pub(crate) fn apply(conn: &Connection, prepared: &Prepared, telling: Telling) -> Result<Applied, StoreError> {
    let change = &prepared.change;
    if let Some(key) = &change.key
        && let Some(receipt) = keys::replay(conn, key, change.now)?
    {
        return Ok(Applied { receipt, tally: Tally::default(), newest_event: None });
    }
    let mut tx = Tx::new(conn, change.now);
    for requirement in &change.require {
        requirements::check(&mut tx, requirement)?;
    }
    for (write, turns) in change.writes.iter().zip(&prepared.turns) {
        carry_out(&mut tx, write, turns)?;
    }
    tx.flush()?;
    let sessions = tx.stamps();
    let mut receipt = Receipt { sessions, result: String::new(), replayed: false };
    if let Some(key) = &change.key {
        receipt.result.clone_from(&key.result);
        keys::remember(&tx, key, &receipt.sessions)?;
    }
    let newest_event = match telling {
        Telling::Events => events::keep(&mut tx)?,
        Telling::Nothing => None,
    };
    Ok(Applied { receipt, tally: tx.tally, newest_event })
}

fn carry_out(tx: &mut Tx<'_>, write: &Write, measured: &[MeasuredTurn]) -> Result<(), StoreError> {
    match write {
        Write::CreateSession { session, origin, created_at } => {
            sessions::create(tx, session, origin, *created_at)
        }
        Write::AppendTurns { session, turns } => turns::append(tx, session, turns, measured),
        Write::MoveSession { session, to, leave } => moves::move_session(tx, session, *to, leave),
        Write::PatchSession { session, patch } => sessions::patch(tx, session, patch),
        Write::MarkMerged { session, into } => sessions::mark_merged(tx, session, into),
        Write::DeleteSession { session } => {
            let version = sessions::delete(tx, session)?;
            tx.events.note_deleted(session, version);
            Ok(())
        }
        Write::CreateCheckpoint { id, session, name, cut } => {
            checkpoints::create(tx, id, session, name.as_deref(), *cut)
        }
        Write::DeleteCheckpoint { session, id } => checkpoints::delete(tx, session, id),
        Write::AddSignal { at, signal } => {
            signals::add(tx, *at, signal)?.iter().for_each(|session| tx.events.note(write, session));
            Ok(())
        }
        Write::SetPast { session, past } => past::set(tx, session, past),
        Write::KeepOldRow(row) => past::keep(tx, row),
        Write::SaveCrystal(crystal) => checkpoints::save_crystal(tx, crystal),
        Write::BeginRun { run, lease_for } => runs::begin(tx, run, *lease_for),
        Write::AppendPieces { run, pieces } => runs::append_pieces(tx, run, pieces),
        Write::RenewLease { run, lease_for } => runs::renew(tx, run, *lease_for),
        Write::SuspendRun { run } => {
            let session = runs::suspend(tx, run)?;
            tx.events.note(write, &session);
            Ok(())
        }
        Write::ResumeRun { run, lease, lease_for } => {
            let session = runs::resume(tx, run, lease, *lease_for)?;
            tx.events.note(write, &session);
            Ok(())
        }
        Write::RequestStop { run } => runs::request_stop(tx, run),
        Write::FinishRun { run, turn, shape } => {
            let session = runs::finish(tx, run, (turn, measured), shape)?;
            tx.events.note(write, &session);
            Ok(())
        }
        Write::ForgetEndedRuns { before } => runs::forget_ended(tx, *before),
        Write::ForgetKeys { before } => keys::forget(tx, *before),
        Write::ForgetEvents { before, keep } => events::forget(tx, *before, *keep),
        Write::TakeLead { role, instance, lease_for, dead_leader } => {
            leaders::take(tx, *role, instance, *lease_for, dead_leader.as_ref())
        }
        Write::GiveUpLead { role, instance } => leaders::give_up(tx, *role, instance),
    }?;
    if let Some(session) = write.session() {
        tx.events.note(write, session);
    }
    Ok(())
}
