//! One change as one transaction on one connection.

use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_core::turn::Turn;
use membrane_store::{Change, Receipt, StoreError, Write};

use super::locks::Names;
use super::record::Record;
use super::runs::HeldRun;
use super::turns::MeasuredTurn;
use super::tx::Tx;
use super::{
    Numbers, checkpoints, events, keys, leaders, moves, past, requirements, runs, sessions, signals, turns,
};
use crate::counts::Counts;
use crate::db::{Db, Statement};
use crate::error::store_error;
use crate::rows;

/// A change whose turns are measured and encoded: once, and not while anything is locked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) change: Change,
    /// One list per write; empty where a write has no turns.
    pub(crate) turns: Vec<Vec<MeasuredTurn>>,
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

/// What a committed transaction did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) receipt: Receipt,
    /// The sessions that were locked, as they are now.
    pub(crate) records: Vec<Record>,
}

/// Why there is no committed transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is refused, or the database failed. What it failed with says whether anything may have been done.
    Store(StoreError),
    /// Another change was in the way; the connection is as before.
    Contention(StoreError),
    /// The connection failed before `COMMIT` was sent: nothing was done.
    Lost(StoreError),
}

/// Carries out one change as one transaction, and takes it back if it fails.
pub(crate) async fn transact(
    db: Db<'_>,
    numbers: &Numbers,
    counts: &Counts,
    prepared: &Prepared,
) -> Result<Applied, Failure> {
    let mut tx = Tx::new(db, numbers, prepared.change.now);
    let error = match apply(&mut tx, prepared, Frame::Own).await {
        Ok(receipt) => match commit(&mut tx, counts).await {
            Ok(()) => return Ok(Applied { receipt, records: tx.into_records() }),
            // A `COMMIT` that was sent after a failure took the change back.
            Err(error) if tx.is_contended => return Err(Failure::Contention(error)),
            Err(error) => return Err(Failure::Store(error)),
        },
        Err(error) => error,
    };
    if !tx.is_contended && matches!(error, StoreError::Unavailable { .. }) {
        return Err(Failure::Lost(error));
    }
    match db.batch("ROLLBACK").await {
        Ok(()) if tx.is_contended => Err(Failure::Contention(error)),
        Ok(()) => Err(Failure::Store(error)),
        Err(lost) => Err(Failure::Lost(store_error("take a change back", lost))),
    }
}

/// Carries out one change in the caller's transaction; nobody is told of it. Whatever it fails with has ended the
/// transaction.
pub(crate) async fn apply_within(
    db: Db<'_>,
    numbers: &Numbers,
    prepared: &Prepared,
) -> Result<Receipt, StoreError> {
    let mut tx = Tx::new(db, numbers, prepared.change.now);
    let receipt = apply(&mut tx, prepared, Frame::Callers).await?;
    tx.send().await?;
    Ok(receipt)
}

/// Whose transaction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// The change's own, which it begins, and of which readers are told.
    Own,
    /// The caller's.
    Callers,
}

/// Sends what waits, and `COMMIT`.
async fn commit(tx: &mut Tx<'_>, counts: &Counts) -> Result<(), StoreError> {
    tx.put("commit a change", "COMMIT", []);
    let committing = counts.committing().await;
    tx.send().await?;
    committing.keep(tx.tally);
    Ok(())
}

async fn apply<'a>(tx: &mut Tx<'a>, prepared: &'a Prepared, frame: Frame) -> Result<Receipt, StoreError> {
    let change = &prepared.change;
    let names = Names::of(change);
    let found = begin(tx, change, &names, frame).await?;
    if let Some(key) = &change.key
        && let Some(receipt) = keys::replay(tx, key, found.as_ref())?
    {
        return Ok(receipt);
    }
    if let Err(error) = carry_out_all(tx, prepared).await {
        // What waits came before it, and may fail before it.
        if !tx.is_contended {
            tx.send().await?;
        }
        return Err(error);
    }
    tx.flush();
    if frame == Frame::Own {
        events::keep(tx)?;
    }
    let mut receipt = Receipt { sessions: tx.stamps(), result: String::new(), replayed: false };
    if let Some(key) = &change.key {
        receipt.result.clone_from(&key.result);
        keys::remember(tx, key, &receipt.sessions)?;
    }
    Ok(receipt)
}

/// Begins, locks and reads what the change names, and looks its key up, last: who waited for a lock sees what the one before
/// it remembered.
async fn begin<'a>(
    tx: &mut Tx<'a>,
    change: &'a Change,
    names: &Names<'a>,
    frame: Frame,
) -> Result<Option<tokio_postgres::Row>, StoreError> {
    let mut next = 0;
    if frame == Frame::Own {
        tx.put("begin a change", Statement::BEGIN.sql, []);
        next = 1;
    }
    let first = next;
    let mut put = |statement, doing| {
        let statement: Statement<'a> = statement?;
        tx.put(doing, statement.sql, statement.values);
        next += 1;
        Some(next - 1)
    };
    let sessions = put(names.lock_sessions(), "read sessions");
    put(names.lock_families(), "lock a family");
    put(names.lock_runs(), "lock runs");
    let runs = put(names.read_runs(), "read runs");
    let open_runs = put(names.read_open_runs(), "read open runs");
    put(names.lock_segments(), "lock segments");
    let key = put(change.key.as_ref().map(keys::look_up), "look for an idempotency key");
    if next == first {
        // Nothing depends on what is there: it goes with the writes.
        return Ok(None);
    }
    let mut answers = tx.send().await?;
    if let Some(found) = sessions.and_then(|index| answers.get(index)) {
        tx.add_records(rows::collect("chat_sessions", found, Record::decode)?);
    }
    if let Some(found) = runs.and_then(|index| answers.get(index)) {
        tx.runs = rows::collect("runs", found, HeldRun::decode)?;
    }
    if let Some(found) = open_runs.and_then(|index| answers.get(index)) {
        tx.open_runs = rows::collect("runs", found, |row| {
            Ok((SessionId::from_stored(&rows::text(row, 0)?), Timestamp::parse(&rows::text(row, 1)?)?))
        })?;
    }
    Ok(key.and_then(|index| answers.get_mut(index)).and_then(Vec::pop))
}

async fn carry_out_all<'a>(tx: &mut Tx<'a>, prepared: &'a Prepared) -> Result<(), StoreError> {
    for requirement in &prepared.change.require {
        requirements::check(tx, requirement).await?;
    }
    for (write, measured) in prepared.change.writes.iter().zip(&prepared.turns) {
        carry_out(tx, write, measured).await?;
    }
    Ok(())
}

async fn carry_out<'a>(
    tx: &mut Tx<'a>,
    write: &'a Write,
    measured: &'a [MeasuredTurn],
) -> Result<(), StoreError> {
    note_event(tx, write)?;
    match write {
        Write::CreateSession { session, origin, created_at } => {
            sessions::create(tx, session, origin, *created_at).await
        }
        Write::AppendTurns { session, turns } => turns::append(tx, session, turns, measured).await,
        Write::MoveSession { session, to, leave } => moves::move_session(tx, session, *to, leave).await,
        Write::PatchSession { session, patch } => sessions::patch(tx, session, patch),
        Write::MarkMerged { session, into } => sessions::mark_merged(tx, session, into),
        Write::DeleteSession { session } => sessions::delete(tx, session).await,
        Write::CreateCheckpoint { id, session, name, cut } => {
            checkpoints::create(tx, id, session, name.as_deref(), *cut).await
        }
        Write::DeleteCheckpoint { session, id } => checkpoints::delete(tx, session, id).await,
        Write::AddSignal { at, signal } => {
            let holders = signals::add(tx, *at, signal).await?;
            for session in &holders {
                tx.events.note(write, session);
            }
            Ok(())
        }
        Write::SetPast { session, past } => past::set(tx, session, past),
        Write::KeepOldRow(row) => {
            past::keep(tx, row);
            Ok(())
        }
        Write::SaveCrystal(crystal) => checkpoints::save_crystal(tx, crystal),
        Write::BeginRun { run, lease_for } => runs::begin(tx, run, *lease_for),
        Write::AppendPieces { run, pieces } => runs::append_pieces(tx, run, pieces),
        Write::RenewLease { run, lease_for } => runs::renew(tx, run, *lease_for),
        Write::SuspendRun { run } => runs::suspend(tx, run),
        Write::ResumeRun { run, lease, lease_for } => runs::resume(tx, run, lease, *lease_for),
        Write::RequestStop { run } => runs::request_stop(tx, run),
        Write::FinishRun { run, turn, shape } => runs::finish(tx, run, (turn, measured), shape).await,
        Write::ForgetEndedRuns { before } => {
            runs::forget_ended(tx, *before);
            Ok(())
        }
        Write::ForgetKeys { before } => {
            keys::forget(tx, *before);
            Ok(())
        }
        Write::ForgetEvents { before, keep } => {
            events::forget(tx, *before, *keep);
            Ok(())
        }
        Write::TakeLead { role, instance, lease_for, dead_leader } => {
            leaders::take(tx, *role, instance, *lease_for, dead_leader.as_ref()).await
        }
        Write::GiveUpLead { role, instance } => {
            leaders::give_up(tx, *role, instance);
            Ok(())
        }
    }
}

/// Notes what a write that is about to be carried out does; if it fails, all of the change does. A signal is noted once it is
/// known who holds its turn.
fn note_event(tx: &mut Tx<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::DeleteSession { session } => {
            let version = tx.record(session)?.version;
            tx.events.note_deleted(session, version);
        }
        Write::SuspendRun { run } | Write::ResumeRun { run, .. } | Write::FinishRun { run, .. } => {
            if let Some(session) = tx.run(run).map(|run| run.session.clone()) {
                tx.events.note(write, &session);
            }
        }
        other => {
            if let Some(session) = other.session() {
                tx.events.note(write, session);
            }
        }
    }
    Ok(())
}
