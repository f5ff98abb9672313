//! Who has a role, and until when: by SQLite's clock, which all processes on the file share.

use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_store::StoreError;
use rusqlite::params;

use super::record::Tx;
use super::runs::millis;
use crate::error::Doing;
use crate::read;

/// Gives a role to an instance, unless somebody else has it.
pub(super) fn take(
    tx: &Tx<'_>,
    role: Role,
    instance: &InstanceId,
    lease_for: Duration,
    dead_leader: Option<&InstanceId>,
) -> Result<(), StoreError> {
    if let Some(leader) = read::leaders::find(tx.conn, role)?
        && leader != *instance
        && Some(&leader) != dead_leader
    {
        return Err(StoreError::LeadHeld { role, leader });
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO leaders (role, instance_id, until) \
             VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3) \
             ON CONFLICT (role) DO UPDATE SET instance_id = excluded.instance_id, until = excluded.until",
        )
        .and_then(|mut statement| {
            statement.execute(params![role.as_str(), instance.as_str(), millis(lease_for)])
        })
        .doing("take a lead")?;
    Ok(())
}

/// Lets a role go, if the instance has it.
pub(super) fn give_up(tx: &Tx<'_>, role: Role, instance: &InstanceId) -> Result<(), StoreError> {
    tx.conn
        .prepare_cached("DELETE FROM leaders WHERE role = ?1 AND instance_id = ?2")
        .and_then(|mut statement| statement.execute([role.as_str(), instance.as_str()]))
        .doing("give up a lead")?;
    Ok(())
}
