//! Runs: the unfinished turn, its log and its lease.
//!
//! A lease's expiry is judged by the database's clock, which all instances share.

use std::time::Duration;

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId};
use membrane_core::json::Json;
use membrane_core::run::{Lease, Piece, Run, RunPhase, RunShape};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Turn;
use membrane_store::{StoreError, Subject, codec};
use tokio_postgres::Row;

use super::turns::{self, MeasuredTurn};
use super::tx::{Meaning, Tx};
use crate::rows::{self, RowError, get, signed};
use crate::value::values;

/// What the rules of leases look at.
#[derive(Debug, Clone)]
pub(super) struct HeldRun {
    pub(super) id: RunId,
    pub(super) session: SessionId,
    pub(super) phase: RunPhase,
    pub(super) owner: InstanceId,
    pub(super) token: LeaseToken,
    pub(super) has_lease: bool,
    pub(super) has_expired: bool,
    /// The number that the next piece of its log gets.
    next_seq: i64,
    /// The session's version when it began, as it is stored.
    version: i64,
}

impl HeldRun {
    /// The columns that [`super::locks::Names::read_runs`] reads.
    pub(super) fn decode(row: &Row) -> Result<Self, RowError> {
        Ok(Self {
            id: RunId::from_stored(&rows::text(row, 0)?),
            session: SessionId::from_stored(&rows::text(row, 1)?),
            phase: RunPhase::parse(get(row, 2)?)?,
            owner: InstanceId::from_stored(&rows::text(row, 3)?),
            token: LeaseToken(get::<i64>(row, 4)?.unsigned_abs()),
            has_lease: get(row, 5)?,
            has_expired: get(row, 6)?,
            next_seq: get(row, 7)?,
            version: get(row, 8)?,
        })
    }
}

fn held<'tx>(tx: &'tx mut Tx<'_>, id: &RunId) -> Result<&'tx mut HeldRun, StoreError> {
    tx.runs.iter_mut().find(|run| run.id == *id).ok_or_else(|| StoreError::not_found(Subject::Run, id))
}

/// Opens a run; the session becomes `processing`.
pub(super) fn begin<'a>(tx: &mut Tx<'a>, run: &'a Run, lease_for: Duration) -> Result<(), StoreError> {
    let doing = "begin a run";
    tx.set_state(&run.session, State::Processing)?;
    let version = signed(tx.record(&run.session)?.version);
    if let Some((_, since)) = tx.open_runs.iter().find(|(session, _)| *session == run.session) {
        return Err(StoreError::Busy { session: run.session.clone(), since: *since });
    }
    tx.open_runs.push((run.session.clone(), run.started_at));
    tx.put_meaning(
        doing,
        "INSERT INTO runs (id, session_id, turn_id, user_message, user_mentions_json, user_linearity, \
         model, phase, owner_id, lease_token, lease_until, started_at, version) VALUES ($1, $2, $3, $4, $5, \
         $6, $7, $8, $9, $10, clock_timestamp() + $11 * INTERVAL '1 microsecond', $12, $13)",
        values![
            run.id.as_str(),
            run.session.as_str(),
            run.turn_id.as_str(),
            run.user.content.as_str(),
            run.user.mentions.as_ref().map(Json::as_str),
            run.user.linearity.as_str(),
            run.model.as_deref(),
            RunPhase::Running.as_str(),
            run.lease.owner.as_str(),
            signed(run.lease.token.0),
            micros(lease_for),
            run.started_at.to_string(),
            version,
        ],
        Meaning::Taken(Subject::Run, run.id.to_string()),
    );
    tx.runs.push(HeldRun {
        id: run.id.clone(),
        session: run.session.clone(),
        phase: RunPhase::Running,
        owner: run.lease.owner.clone(),
        token: run.lease.token,
        has_lease: true,
        has_expired: lease_for.is_zero(),
        next_seq: 0,
        version,
    });
    Ok(())
}

/// Adds pieces to the log, as one row by the number of the last; their numbers go on without a gap.
pub(super) fn append_pieces<'a>(tx: &mut Tx<'a>, run: &'a RunId, pieces: &[Piece]) -> Result<(), StoreError> {
    let held = held(tx, run)?;
    for (seq, piece) in (held.next_seq..).zip(pieces) {
        if signed(piece.seq) != seq {
            // Somebody else writes this run's log.
            return Err(StoreError::LeaseLost { run: run.clone() });
        }
        held.next_seq = seq + 1;
    }
    let Some(last) = pieces.last() else { return Ok(()) };
    tx.put(
        "append a run's pieces",
        "INSERT INTO run_pieces (run_id, seq, body_json) VALUES ($1, $2, $3)",
        values![run.as_str(), signed(last.seq), codec::encode_pieces(pieces)?],
    );
    Ok(())
}

/// Lets the lease last from now on; a run that waits for a tool has none.
pub(super) fn renew<'a>(tx: &mut Tx<'a>, run: &'a RunId, lease_for: Duration) -> Result<(), StoreError> {
    let held = held(tx, run)?;
    held.has_expired &= lease_for.is_zero();
    tx.put(
        "renew a lease",
        "UPDATE runs SET lease_until = CASE WHEN lease_until IS NOT NULL \
         THEN clock_timestamp() + $2 * INTERVAL '1 microsecond' END WHERE id = $1",
        values![run.as_str(), micros(lease_for)],
    );
    Ok(())
}

/// The run waits for a tool and holds no lease.
pub(super) fn suspend<'a>(tx: &mut Tx<'a>, run: &'a RunId) -> Result<(), StoreError> {
    let held = held(tx, run)?;
    held.phase = RunPhase::AwaitingTool;
    held.has_lease = false;
    held.has_expired = false;
    let session = held.session.clone();
    tx.put(
        "suspend a run",
        "UPDATE runs SET phase = 'awaiting_tool', lease_until = NULL WHERE id = $1",
        values![run.as_str()],
    );
    tx.set_state(&session, State::AwaitingTool)
}

/// The run goes on under a new lease.
pub(super) fn resume<'a>(
    tx: &mut Tx<'a>,
    run: &'a RunId,
    lease: &'a Lease,
    lease_for: Duration,
) -> Result<(), StoreError> {
    let held = held(tx, run)?;
    held.phase = RunPhase::Running;
    held.owner = lease.owner.clone();
    held.token = lease.token;
    held.has_lease = true;
    held.has_expired = lease_for.is_zero();
    let session = held.session.clone();
    tx.put(
        "resume a run",
        "UPDATE runs SET phase = 'running', owner_id = $2, lease_token = $3, \
         lease_until = clock_timestamp() + $4 * INTERVAL '1 microsecond' WHERE id = $1",
        values![run.as_str(), lease.owner.as_str(), signed(lease.token.0), micros(lease_for)],
    );
    tx.set_state(&session, State::Processing)
}

/// Whoever drives it is to stop.
pub(super) fn request_stop<'a>(tx: &mut Tx<'a>, run: &'a RunId) -> Result<(), StoreError> {
    held(tx, run)?;
    tx.put("ask a run to stop", "UPDATE runs SET stop_requested = TRUE WHERE id = $1", values![run.as_str()]);
    Ok(())
}

/// Ends a run: its turn is appended, the run and its log go, and how it came is remembered.
pub(super) async fn finish<'a>(
    tx: &mut Tx<'a>,
    run: &'a RunId,
    (turn, measured): (&'a Turn, &'a [MeasuredTurn]),
    shape: &RunShape,
) -> Result<(), StoreError> {
    let HeldRun { session, version, .. } = held(tx, run)?.clone();
    tx.runs.retain(|held| held.id != *run);
    tx.open_runs.retain(|(open, _)| *open != session);
    tx.put("finish a run", "DELETE FROM runs WHERE id = $1", values![run.as_str()]);
    tx.set_state(&session, State::Idle)?;
    let turn_number = tx.record(&session)?.cut.turn_count;
    tx.put(
        "remember how a run came",
        "INSERT INTO ended_runs (session_id, turn_id, turn_number, version, shape, ended_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (session_id) DO UPDATE SET turn_id = excluded.turn_id, \
         turn_number = excluded.turn_number, version = excluded.version, shape = excluded.shape, \
         ended_at = excluded.ended_at",
        values![
            session.to_string(),
            turn.id.as_str(),
            signed(turn_number),
            version,
            shape.encode(),
            tx.now.as_micros(),
        ],
    );
    turns::append(tx, &session, std::slice::from_ref(turn), measured).await
}

/// Forgets how runs came that ended before `before`, but for those that somebody else is at.
pub(super) fn forget_ended(tx: &mut Tx<'_>, before: Timestamp) {
    tx.put(
        "forget how runs came",
        "DELETE FROM ended_runs WHERE session_id IN ( \
             SELECT session_id FROM ended_runs WHERE ended_at < $1 FOR UPDATE SKIP LOCKED)",
        values![before.as_micros()],
    );
}

/// The longest lease, a thousand years: times have an end.
const MAX_LEASE: i64 = 1000 * 365 * 24 * 60 * 60 * 1_000_000;

/// A duration as the statements here take it.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MAX_LEASE).min(MAX_LEASE)
}
