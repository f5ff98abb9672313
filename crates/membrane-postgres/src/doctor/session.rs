//! Where a session is that was not found: here, deleted, or under an id that differs by case or blanks.

use membrane_store::StoreError;
use membrane_store::doctor::SessionTrace;
use tokio_postgres::Row;

use crate::db::Db;
use crate::error::Doing;
use crate::value::{unescape, values};

const DOING: &str = "look for a session";

pub(super) async fn trace(db: Db<'_>, id: &str) -> Result<SessionTrace, StoreError> {
    let there =
        "SELECT to_regclass('chat_sessions') IS NOT NULL AND to_regclass('deleted_sessions') IS NOT NULL";
    let is_keep = db.find(there, &[]).await.doing(DOING)?;
    if !is_keep.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(SessionTrace::NoDatabase);
    }
    let sql = "SELECT turn_count FROM chat_sessions WHERE id = $1";
    if let Some(row) = db.find(sql, &values![id]).await.doing(DOING)? {
        return Ok(SessionTrace::Here(row.try_get(0).doing(DOING)?));
    }
    let sql = "SELECT deleted_at FROM deleted_sessions WHERE id = $1";
    if let Some(row) = db.find(sql, &values![id]).await.doing(DOING)? {
        return Ok(SessionTrace::Deleted(row.try_get(0).doing(DOING)?));
    }
    let sql = "SELECT id FROM chat_sessions WHERE lower(regexp_replace(id, '\\s', '', 'g')) \
               = lower(regexp_replace($1, '\\s', '', 'g')) ORDER BY id LIMIT 10";
    let rows = db.query(sql, &values![id]).await.doing(DOING)?;
    let read = |row: &Row| row.try_get(0).map(|id| unescape(id).into_owned()).doing(DOING);
    let similar: Vec<String> = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(if similar.is_empty() { SessionTrace::Unknown } else { SessionTrace::Similar(similar) })
}
