//! Who has a role.

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension};

use crate::error::Doing;

/// The instance that has a role, if its lease lasts.
pub(crate) fn find(conn: &Connection, role: Role) -> Result<Option<InstanceId>, StoreError> {
    let sql = "SELECT instance_id FROM leaders \
               WHERE role = ?1 AND until > CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    let found: Option<String> = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([role.as_str()], |row| row.get(0)).optional())
        .doing("look for a leader")?;
    Ok(found.map(|id| InstanceId::from_stored(&id)))
}
