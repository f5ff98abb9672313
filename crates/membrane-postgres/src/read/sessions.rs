//! Sessions one by one and by family.

use std::sync::LazyLock;

use membrane_core::branches::{BranchNode, Tombstone};
use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_store::StoreError;

use crate::db::{Db, Statement};
use crate::error::Doing;
use crate::rows::{self, SESSION_COLUMNS, get, unsigned};
use crate::value::values;

/// A session: $1 its id.
pub(super) static FIND: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {SESSION_COLUMNS} FROM chat_sessions WHERE id = $1"));

static FAMILY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {SESSION_COLUMNS} FROM chat_sessions WHERE family_id = $1"));

const TOMBSTONES: &str = "SELECT id, family_id, parent_id, fork_point, deleted_at FROM deleted_sessions \
     WHERE family_id = $1";

/// Finds a session.
pub(crate) async fn find(db: Db<'_>, id: &SessionId) -> Result<Option<Session>, StoreError> {
    let found = db.find(FIND.as_str(), &values![id.as_str()]).await.doing("read a session")?;
    found.map(|row| rows::read("chat_sessions", &row, rows::session)).transpose()
}

/// A family's sessions and tombstones.
pub(crate) async fn family(db: Db<'_>, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
    let statement = |sql| Statement { sql, values: values![family.as_str()].into() };
    let [live, deleted] =
        db.snapshot([statement(FAMILY.as_str()), statement(TOMBSTONES)]).await.doing("read a family")?;
    let mut nodes = rows::collect("chat_sessions", &live, |row| {
        rows::session(row).map(|session| BranchNode::Live(Box::new(session)))
    })?;
    nodes.extend(rows::collect("deleted_sessions", &deleted, |row| {
        Ok(BranchNode::Deleted(Tombstone {
            id: SessionId::from_stored(&rows::text(row, 0)?),
            family: SessionId::from_stored(&rows::text(row, 1)?),
            parent_id: rows::maybe_text(row, 2)?.map(|id| SessionId::from_stored(&id)),
            fork_point: get::<Option<i64>>(row, 3)?.map(unsigned),
            deleted_at: Timestamp::parse(&rows::text(row, 4)?)?,
        }))
    })?);
    Ok(nodes)
}
