//! Sessions one by one and by family.

use membrane_core::branches::{BranchNode, Tombstone};
use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_store::StoreError;
use rusqlite::Connection;

use crate::error::Doing;
use crate::rows::{self, SESSION_COLUMNS, unsigned};

/// Finds a session.
pub(crate) fn find(conn: &Connection, id: &SessionId) -> Result<Option<Session>, StoreError> {
    let doing = "read a session";
    let sql = format!("SELECT {SESSION_COLUMNS} FROM chat_sessions WHERE id = ?1");
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query([id.as_str()]).doing(doing)?;
    match found.next().doing(doing)? {
        Some(row) => rows::read("chat_sessions", row, rows::session).map(Some),
        None => Ok(None),
    }
}

/// A family's sessions and tombstones.
pub(crate) fn family(conn: &Connection, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
    let doing = "read a family";
    let sql = format!("SELECT {SESSION_COLUMNS} FROM chat_sessions WHERE family_id = ?1");
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query([family.as_str()]).doing(doing)?;
    let mut nodes = rows::collect(&mut found, |row| {
        rows::read("chat_sessions", row, rows::session).map(|session| BranchNode::Live(Box::new(session)))
    })?;
    let mut statement = conn
        .prepare_cached(
            "SELECT id, family_id, parent_id, fork_point, deleted_at FROM deleted_sessions \
             WHERE family_id = ?1",
        )
        .doing(doing)?;
    let mut found = statement.query([family.as_str()]).doing(doing)?;
    nodes.extend(rows::collect(&mut found, |row| {
        rows::read("deleted_sessions", row, |row| {
            Ok(BranchNode::Deleted(Tombstone {
                id: SessionId::from_stored(rows::text(row, 0)?),
                family: SessionId::from_stored(rows::text(row, 1)?),
                parent_id: rows::maybe_text(row, 2)?.map(SessionId::from_stored),
                fork_point: row.get::<_, Option<i64>>(3)?.map(unsigned),
                deleted_at: Timestamp::parse(rows::text(row, 4)?)?,
            }))
        })
    })?);
    Ok(nodes)
}
