//! Runs: the unfinished turn, its log and its lease.
//!
//! A lease's expiry is judged by SQLite's clock, which all processes on the file share.

use std::time::Duration;

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId};
use membrane_core::json::Json;
use membrane_core::run::{Lease, Piece, Run, RunPhase, RunShape};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Turn;
use membrane_store::{StoreError, Subject, codec};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::record::Tx;
use crate::apply::turns::{self, MeasuredTurn};
use crate::error::{Doing, store_error};
use crate::rows::{self, signed};

/// What the rules of leases look at.
#[derive(Debug)]
pub(super) struct HeldRun {
    pub(super) session: SessionId,
    pub(super) phase: RunPhase,
    pub(super) owner: InstanceId,
    pub(super) token: LeaseToken,
    pub(super) has_lease: bool,
    pub(super) has_expired: bool,
    /// The session's version when it began, as it is stored.
    version: i64,
}

/// Finds a run by its id.
pub(super) fn find(conn: &Connection, id: &RunId) -> Result<Option<HeldRun>, StoreError> {
    let doing = "read a run";
    let mut statement = conn
        .prepare_cached(
            "SELECT id, session_id, phase, owner_id, lease_token, lease_until IS NOT NULL, \
             coalesce(lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER), 0), version \
             FROM runs WHERE id = ?1",
        )
        .doing(doing)?;
    let mut found = statement.query([id.as_str()]).doing(doing)?;
    let Some(row) = found.next().doing(doing)? else { return Ok(None) };
    rows::read("runs", row, |row| {
        Ok(HeldRun {
            session: SessionId::from_stored(rows::text(row, 1)?),
            phase: RunPhase::parse(rows::text(row, 2)?)?,
            owner: InstanceId::from_stored(rows::text(row, 3)?),
            token: LeaseToken(row.get::<_, i64>(4)?.unsigned_abs()),
            has_lease: row.get(5)?,
            has_expired: row.get(6)?,
            version: row.get(7)?,
        })
    })
    .map(Some)
}

fn get(conn: &Connection, id: &RunId) -> Result<HeldRun, StoreError> {
    find(conn, id)?.ok_or_else(|| StoreError::not_found(Subject::Run, id))
}

/// Opens a run; the session becomes `processing`.
pub(super) fn begin(tx: &mut Tx<'_>, run: &Run, lease_for: Duration) -> Result<(), StoreError> {
    let doing = "begin a run";
    let conn = tx.conn;
    tx.set_state(&run.session, State::Processing)?;
    let version = tx.record(&run.session)?.version;
    let open: Option<String> = conn
        .prepare_cached("SELECT started_at FROM runs WHERE session_id = ?1")
        .and_then(|mut statement| statement.query_row([run.session.as_str()], |row| row.get(0)).optional())
        .doing(doing)?;
    if let Some(since) = open {
        let since = Timestamp::parse(&since)
            .map_err(|error| StoreError::inconsistent("runs", &run.session, error))?;
        return Err(StoreError::Busy { session: run.session.clone(), since });
    }
    let inserted = conn
        .prepare_cached(
            "INSERT INTO runs (id, session_id, turn_id, user_message, user_mentions_json, user_linearity, \
             model, phase, owner_id, lease_token, lease_until, started_at, version) VALUES (?1, ?2, ?3, ?4, ?5, \
             ?6, ?7, ?8, ?9, ?10, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?11, ?12, ?13)",
        )
        .doing(doing)?
        .execute(params![
            run.id.as_str(),
            run.session.as_str(),
            run.turn_id.as_str(),
            run.user.content,
            run.user.mentions.as_ref().map(Json::as_str),
            run.user.linearity.as_str(),
            run.model,
            RunPhase::Running.as_str(),
            run.lease.owner.as_str(),
            signed(run.lease.token.0),
            millis(lease_for),
            run.started_at.to_string(),
            signed(version),
        ]);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) => match error.sqlite_error() {
            Some(failure) if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                Err(StoreError::already_exists(Subject::Run, &run.id))
            }
            _ => Err(store_error(doing, error)),
        },
    }
}

/// Adds pieces to the log, as one row by the number of the last; their numbers go on without a gap.
pub(super) fn append_pieces(tx: &Tx<'_>, run: &RunId, pieces: &[Piece]) -> Result<(), StoreError> {
    let doing = "append a run's pieces";
    get(tx.conn, run)?;
    let first: i64 = tx
        .conn
        .prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM run_pieces WHERE run_id = ?1")
        .and_then(|mut statement| statement.query_row([run.as_str()], |row| row.get(0)))
        .doing(doing)?;
    if (first..).zip(pieces).any(|(seq, piece)| signed(piece.seq) != seq) {
        // Somebody else writes this run's log.
        return Err(StoreError::LeaseLost { run: run.clone() });
    }
    let Some(last) = pieces.last() else { return Ok(()) };
    tx.conn
        .prepare_cached("INSERT INTO run_pieces (run_id, seq, body_json) VALUES (?1, ?2, ?3)")
        .doing(doing)?
        .execute(params![run.as_str(), signed(last.seq), codec::encode_pieces(pieces)?])
        .doing(doing)?;
    Ok(())
}

/// Lets the lease last from now on; a run that waits for a tool has none.
pub(super) fn renew(tx: &Tx<'_>, run: &RunId, lease_for: Duration) -> Result<(), StoreError> {
    let renewed = tx
        .conn
        .prepare_cached(
            "UPDATE runs SET lease_until = CASE WHEN lease_until IS NOT NULL \
             THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?2 END WHERE id = ?1",
        )
        .and_then(|mut statement| statement.execute(params![run.as_str(), millis(lease_for)]))
        .doing("renew a lease")?;
    if renewed == 0 { Err(StoreError::not_found(Subject::Run, run)) } else { Ok(()) }
}

/// The run waits for a tool and holds no lease. Gives its session.
pub(super) fn suspend(tx: &mut Tx<'_>, run: &RunId) -> Result<SessionId, StoreError> {
    let session = get(tx.conn, run)?.session;
    tx.conn
        .prepare_cached("UPDATE runs SET phase = 'awaiting_tool', lease_until = NULL WHERE id = ?1")
        .and_then(|mut statement| statement.execute([run.as_str()]))
        .doing("suspend a run")?;
    tx.set_state(&session, State::AwaitingTool)?;
    Ok(session)
}

/// The run goes on under a new lease. Gives its session.
pub(super) fn resume(
    tx: &mut Tx<'_>,
    run: &RunId,
    lease: &Lease,
    lease_for: Duration,
) -> Result<SessionId, StoreError> {
    let session = get(tx.conn, run)?.session;
    tx.conn
        .prepare_cached(
            "UPDATE runs SET phase = 'running', owner_id = ?2, lease_token = ?3, \
             lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?4 WHERE id = ?1",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                run.as_str(),
                lease.owner.as_str(),
                signed(lease.token.0),
                millis(lease_for)
            ])
        })
        .doing("resume a run")?;
    tx.set_state(&session, State::Processing)?;
    Ok(session)
}

/// Whoever drives it is to stop.
pub(super) fn request_stop(tx: &Tx<'_>, run: &RunId) -> Result<(), StoreError> {
    let asked = tx
        .conn
        .prepare_cached("UPDATE runs SET stop_requested = 1 WHERE id = ?1")
        .and_then(|mut statement| statement.execute([run.as_str()]))
        .doing("ask a run to stop")?;
    if asked == 0 { Err(StoreError::not_found(Subject::Run, run)) } else { Ok(()) }
}

/// Ends a run: its turn is appended, the run and its log go, and how it came is remembered. Gives its session.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    run: &RunId,
    (turn, measured): (&Turn, &[MeasuredTurn]),
    shape: &RunShape,
) -> Result<SessionId, StoreError> {
    let HeldRun { session, version, .. } = get(tx.conn, run)?;
    tx.conn
        .prepare_cached("DELETE FROM runs WHERE id = ?1")
        .and_then(|mut statement| statement.execute([run.as_str()]))
        .doing("finish a run")?;
    tx.set_state(&session, State::Idle)?;
    let turn_number = tx.record(&session)?.cut.turn_count;
    tx.conn
        .prepare_cached(
            "INSERT INTO ended_runs (session_id, turn_id, turn_number, version, shape, ended_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (session_id) DO UPDATE SET turn_id = excluded.turn_id, \
             turn_number = excluded.turn_number, version = excluded.version, shape = excluded.shape, \
             ended_at = excluded.ended_at",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                session.as_str(),
                turn.id.as_str(),
                signed(turn_number),
                version,
                shape.encode(),
                tx.now.as_micros(),
            ])
        })
        .doing("remember how a run came")?;
    turns::append(tx, &session, std::slice::from_ref(turn), measured)?;
    Ok(session)
}

/// Forgets how runs came that ended before `before`.
pub(super) fn forget_ended(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.conn
        .prepare_cached("DELETE FROM ended_runs WHERE ended_at < ?1")
        .and_then(|mut statement| statement.execute([before.as_micros()]))
        .doing("forget how runs came")?;
    Ok(())
}

/// A duration as SQLite holds it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}
