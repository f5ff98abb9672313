//! Unfinished turns.

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use membrane_core::json::Json;
use membrane_core::run::{EndedRun, Lease, Piece, Run, RunPhase, RunShape};
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Message};
use membrane_store::{StoreError, codec};
use tokio_postgres::Row;

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{self, RowError, get, signed, unsigned};
use crate::value::values;

const COLUMNS: &str = "id, session_id, turn_id, user_message, user_mentions_json, user_linearity, model, \
     phase, owner_id, lease_token, started_at, version";

fn run(row: &Row) -> Result<Run, RowError> {
    Ok(Run {
        id: RunId::from_stored(&rows::text(row, 0)?),
        session: SessionId::from_stored(&rows::text(row, 1)?),
        turn_id: TurnId::from_stored(&rows::text(row, 2)?),
        user: Message {
            content: rows::text(row, 3)?,
            mentions: rows::maybe_text(row, 4)?.map(|text| Json::parse("mentions", &text)).transpose()?,
            linearity: Linearity::parse(&rows::text(row, 5)?)?,
        },
        model: rows::maybe_text(row, 6)?,
        phase: RunPhase::parse(&rows::text(row, 7)?)?,
        lease: Lease {
            owner: InstanceId::from_stored(&rows::text(row, 8)?),
            token: LeaseToken(unsigned(get(row, 9)?)),
        },
        started_at: Timestamp::parse(&rows::text(row, 10)?)?,
        version: unsigned(get(row, 11)?),
    })
}

/// Finds the run that is open on a session.
pub(crate) async fn find(db: Db<'_>, session: &SessionId) -> Result<Option<Run>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE session_id = $1");
    let found = db.find(&sql, &values![session.as_str()]).await.doing("read a run")?;
    found.map(|row| rows::read("runs", &row, run)).transpose()
}

/// A run's pieces from number `from` on.
pub(crate) async fn pieces(db: Db<'_>, id: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
    let sql = "SELECT run_id, seq, body_json FROM run_pieces WHERE run_id = $1 AND seq >= $2 ORDER BY seq";
    let found = db.query(sql, &values![id.as_str(), signed(from)]).await.doing("read a run's pieces")?;
    // What was written together is one row, by the number of the last.
    let together = rows::collect("run_pieces", &found, |row| {
        Ok(codec::decode_pieces(unsigned(get(row, 1)?), &rows::text(row, 2)?)?)
    })?;
    Ok(together.into_iter().flatten().filter(|piece| piece.seq >= from).collect())
}

/// Running runs whose lease has expired or whose owner is one of `owners`, oldest first.
pub(crate) async fn stale(db: Db<'_>, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
    let owners: Vec<&str> = owners.iter().map(InstanceId::as_str).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM runs WHERE phase = 'running' \
         AND (lease_until <= clock_timestamp() OR owner_id = ANY ($1)) ORDER BY started_at, id LIMIT $2"
    );
    let found = db.query(&sql, &values![owners, i64::from(limit)]).await.doing("look for stale runs")?;
    rows::collect("runs", &found, run)
}

/// The runs of an instance that somebody asked to stop.
pub(crate) async fn stop_requests(db: Db<'_>, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
    let sql = "SELECT id FROM runs WHERE stop_requested AND phase = 'running' AND owner_id = $1";
    let found = db.query(sql, &values![owner.as_str()]).await.doing("look for runs that are to stop")?;
    rows::collect("runs", &found, |row| Ok(RunId::from_stored(&rows::text(row, 0)?)))
}

/// How the run came that ended last on a session.
pub(crate) async fn ended(db: Db<'_>, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
    let sql = "SELECT session_id, turn_id, turn_number, version, shape, ended_at FROM ended_runs \
               WHERE session_id = $1";
    let found = db.find(sql, &values![session.as_str()]).await.doing("read how a run came")?;
    let read = |row: &Row| {
        Ok(EndedRun {
            turn_id: TurnId::from_stored(&rows::text(row, 1)?),
            turn_number: unsigned(get(row, 2)?),
            version: unsigned(get(row, 3)?),
            shape: RunShape::parse(&rows::text(row, 4)?)?,
            ended_at: rows::micros(row, 5)?,
        })
    };
    found.map(|row| rows::read("ended_runs", &row, read)).transpose()
}

/// The instances that hold leases.
pub(crate) async fn owners(db: Db<'_>) -> Result<Vec<InstanceId>, StoreError> {
    let sql = "SELECT DISTINCT owner_id FROM runs WHERE phase = 'running' ORDER BY owner_id";
    let found = db.query(sql, &[]).await.doing("list lease owners")?;
    rows::collect("runs", &found, |row| Ok(InstanceId::from_stored(&rows::text(row, 0)?)))
}
