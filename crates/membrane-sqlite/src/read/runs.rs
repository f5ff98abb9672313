//! Unfinished turns.

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use membrane_core::json::Json;
use membrane_core::run::{EndedRun, Lease, Piece, Run, RunPhase, RunShape};
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Message};
use membrane_store::{StoreError, codec};
use rusqlite::{Connection, Row, params};

use crate::error::Doing;
use crate::rows::{self, RowError, signed, unsigned};

const COLUMNS: &str = "id, session_id, turn_id, user_message, user_mentions_json, user_linearity, model, \
     phase, owner_id, lease_token, started_at, version";

fn run(row: &Row<'_>) -> Result<Run, RowError> {
    Ok(Run {
        id: RunId::from_stored(rows::text(row, 0)?),
        session: SessionId::from_stored(rows::text(row, 1)?),
        turn_id: TurnId::from_stored(rows::text(row, 2)?),
        user: Message {
            content: row.get(3)?,
            mentions: rows::maybe_text(row, 4)?.map(|text| Json::parse("mentions", text)).transpose()?,
            linearity: Linearity::parse(rows::text(row, 5)?)?,
        },
        model: row.get(6)?,
        phase: RunPhase::parse(rows::text(row, 7)?)?,
        lease: Lease {
            owner: InstanceId::from_stored(rows::text(row, 8)?),
            token: LeaseToken(unsigned(row.get(9)?)),
        },
        started_at: Timestamp::parse(rows::text(row, 10)?)?,
        version: unsigned(row.get(11)?),
    })
}

/// Finds the run that is open on a session.
pub(crate) fn find(conn: &Connection, session: &SessionId) -> Result<Option<Run>, StoreError> {
    let doing = "read a run";
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE session_id = ?1");
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query([session.as_str()]).doing(doing)?;
    match found.next().doing(doing)? {
        Some(row) => rows::read("runs", row, run).map(Some),
        None => Ok(None),
    }
}

/// A run's pieces from number `from` on.
pub(crate) fn pieces(conn: &Connection, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
    let doing = "read a run's pieces";
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, seq, body_json FROM run_pieces WHERE run_id = ?1 AND seq >= ?2 ORDER BY seq",
        )
        .doing(doing)?;
    let mut found = statement.query(params![run.as_str(), signed(from)]).doing(doing)?;
    // What was written together is one row, by the number of the last.
    let together = rows::collect(&mut found, |row| {
        rows::read("run_pieces", row, |row| {
            Ok(codec::decode_pieces(unsigned(row.get(1)?), rows::text(row, 2)?)?)
        })
    })?;
    Ok(together.into_iter().flatten().filter(|piece| piece.seq >= from).collect())
}

/// Running runs whose lease has expired or whose owner is one of `owners`, oldest first.
pub(crate) fn stale(conn: &Connection, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
    let doing = "look for stale runs";
    let owners: Vec<&str> = owners.iter().map(InstanceId::as_str).collect();
    let owners = serde_json::to_string(&owners)
        .map_err(|error| StoreError::Backend { doing, source: Box::new(error) })?;
    let sql = format!(
        "SELECT {COLUMNS} FROM runs WHERE phase = 'running' AND \
         (lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER) \
          OR owner_id IN (SELECT value FROM json_each(?1))) \
         ORDER BY started_at, id LIMIT ?2"
    );
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query(params![owners, limit]).doing(doing)?;
    rows::collect(&mut found, |row| rows::read("runs", row, run))
}

/// The runs of an instance that somebody asked to stop.
pub(crate) fn stop_requests(conn: &Connection, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
    let doing = "look for runs that are to stop";
    let sql = "SELECT id FROM runs WHERE stop_requested = 1 AND phase = 'running' AND owner_id = ?1";
    let mut statement = conn.prepare_cached(sql).doing(doing)?;
    let mut found = statement.query([owner.as_str()]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("runs", row, |row| Ok(RunId::from_stored(rows::text(row, 0)?)))
    })
}

/// How the run came that ended last on a session.
pub(crate) fn ended(conn: &Connection, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
    let doing = "read how a run came";
    let mut statement = conn
        .prepare_cached(
            "SELECT session_id, turn_id, turn_number, version, shape, ended_at FROM ended_runs \
             WHERE session_id = ?1",
        )
        .doing(doing)?;
    let mut found = statement.query([session.as_str()]).doing(doing)?;
    let Some(row) = found.next().doing(doing)? else { return Ok(None) };
    rows::read("ended_runs", row, |row| {
        Ok(EndedRun {
            turn_id: TurnId::from_stored(rows::text(row, 1)?),
            turn_number: unsigned(row.get(2)?),
            version: unsigned(row.get(3)?),
            shape: RunShape::parse(rows::text(row, 4)?)?,
            ended_at: Timestamp::from_micros(row.get(5)?),
        })
    })
    .map(Some)
}

/// The instances that hold leases.
pub(crate) fn owners(conn: &Connection) -> Result<Vec<InstanceId>, StoreError> {
    let doing = "list lease owners";
    let mut statement = conn
        .prepare_cached("SELECT DISTINCT owner_id FROM runs WHERE phase = 'running' ORDER BY owner_id")
        .doing(doing)?;
    let mut found = statement.query([]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("runs", row, |row| Ok(InstanceId::from_stored(rows::text(row, 0)?)))
    })
}
