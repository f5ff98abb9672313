//! Who has a role, and until when: by the database's clock, which all instances share.

use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_store::StoreError;

use super::runs::micros;
use super::tx::Tx;
use crate::rows;
use crate::value::values;

/// Gives a role to an instance, unless somebody else has it. Of two that ask at once the later one waits for the row,
/// and then sees the earlier one.
pub(super) async fn take<'a>(
    tx: &mut Tx<'a>,
    role: Role,
    instance: &'a InstanceId,
    lease_for: Duration,
    dead_leader: Option<&'a InstanceId>,
) -> Result<(), StoreError> {
    let taken = tx
        .ask(
            "take a lead",
            "INSERT INTO leaders AS held (role, instance_id, until) \
             VALUES ($1, $2, clock_timestamp() + $3 * INTERVAL '1 microsecond') \
             ON CONFLICT (role) DO UPDATE SET instance_id = excluded.instance_id, until = excluded.until \
             WHERE held.instance_id IN (excluded.instance_id, $4) OR held.until <= clock_timestamp() \
             RETURNING role",
            values![role.as_str(), instance.as_str(), micros(lease_for), dead_leader.map(InstanceId::as_str)],
        )
        .await?;
    if !taken.is_empty() {
        return Ok(());
    }
    let sql = "SELECT instance_id FROM leaders WHERE role = $1";
    let found = tx.ask("look for a leader", sql, values![role.as_str()]).await?;
    let leaders = rows::collect("leaders", &found, |row| Ok(InstanceId::from_stored(&rows::text(row, 0)?)))?;
    match leaders.into_iter().next() {
        Some(leader) => Err(StoreError::LeadHeld { role, leader }),
        // Given up in the meantime.
        None => Err(tx.contended()),
    }
}

/// Lets a role go, if the instance has it.
pub(super) fn give_up<'a>(tx: &mut Tx<'a>, role: Role, instance: &'a InstanceId) {
    tx.put(
        "give up a lead",
        "DELETE FROM leaders WHERE role = $1 AND instance_id = $2",
        values![role.as_str(), instance.as_str()],
    );
}
