//! Who has a role, and until when.

use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_core::time::Timestamp;

use super::apply::Tx;
use super::state::{LeaderRow, State};
use crate::StoreError;

impl State {
    /// The instance that has a role, if its lease lasts.
    pub(super) fn find_leader(&self, lease_clock: Timestamp, role: Role) -> Option<InstanceId> {
        self.leaders.get(&role).filter(|row| lease_clock < row.until).map(|row| row.instance.clone())
    }
}

impl Tx<'_> {
    /// Gives a role to an instance, unless somebody else has it.
    pub(super) fn take_lead(
        &mut self,
        role: Role,
        instance: InstanceId,
        lease_for: Duration,
        dead_leader: Option<&InstanceId>,
    ) -> Result<(), StoreError> {
        match self.state.find_leader(self.lease_clock, role) {
            Some(leader) if leader != instance && Some(&leader) != dead_leader => {
                Err(StoreError::LeadHeld { role, leader })
            }
            _ => {
                let until = self.lease_clock.plus(lease_for);
                self.state.leaders.put(role, LeaderRow { instance, until });
                Ok(())
            }
        }
    }

    /// Lets a role go, if the instance has it.
    pub(super) fn give_up_lead(&mut self, role: Role, instance: &InstanceId) {
        if self.state.leaders.get(&role).is_some_and(|row| row.instance == *instance) {
            self.state.leaders.remove(&role);
        }
    }
}
