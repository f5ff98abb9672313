//! Leading: work that is done once for a whole keep is done by one of the processes on it, whichever that is.
//!
//! Who leads says so again and again, and whoever does not lead asks again and again. Two may do the work for a moment,
//! when one stood still for longer than its lease: so it has to be work that can be done twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_store::{Change, StoreError, Write};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::chat::Chat;
use crate::error::ChatError;

/// The roles that this process has.
#[derive(Debug, Default)]
pub(crate) struct Leads {
    /// Held while a role is taken or given up, so that what was given up is not taken again by a call under way.
    turn: AsyncMutex<()>,
    /// Until when, by this process's own clock: no longer than the store's says.
    until: Mutex<BTreeMap<Role, Instant>>,
}

impl Leads {
    /// Held for a look or an insertion.
    fn until(&self) -> MutexGuard<'_, BTreeMap<Role, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chat {
    /// Takes a role, unless another process has it, or goes on having it; whether this process leads now. It does for
    /// [`RunSettings::lease_for`](crate::RunSettings::lease_for): to be called again every
    /// [`RunSettings::renew_every`](crate::RunSettings::renew_every), by whoever does not lead, too. The role of a process
    /// that is known to be dead is taken at once. Makes this process known as alive first.
    ///
    /// Nobody leads any more once the handle takes no more messages ([`Chat::drain`]).
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`]; whether this process leads stays as [`Chat::leads`] says.
    pub async fn take_lead(&self, role: Role) -> Result<bool, ChatError> {
        let leads = &self.shared.leads;
        let _turn = leads.turn.lock().await;
        if self.runs().is_closed() {
            return Ok(false);
        }
        let instance = self.instance().await?;
        let lease_for = self.run_settings().lease_for;
        let begun = Instant::now();
        let take = |dead_leader: Option<InstanceId>| {
            let take = Write::TakeLead { role, instance: instance.clone(), lease_for, dead_leader };
            self.store().commit(Change::at(self.now()).write(take))
        };
        let mut taken = take(None).await;
        if let Err(StoreError::LeadHeld { leader, .. }) = &taken {
            let dead = self.store().list_dead_instances(std::slice::from_ref(leader)).await?;
            if let Some(dead) = dead.into_iter().next() {
                taken = take(Some(dead)).await;
            }
        }
        match taken {
            Ok(_) => {
                leads.until().insert(role, begun + lease_for);
                Ok(true)
            }
            Err(StoreError::LeadHeld { .. }) => {
                leads.until().remove(&role);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this process has a role, as far as it knows.
    pub fn leads(&self, role: Role) -> bool {
        self.shared.leads.until().get(&role).is_some_and(|until| Instant::now() < *until)
    }

    /// The process that has a role, if any has; it may be dead.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`].
    pub async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, ChatError> {
        Ok(self.store().find_leader(role).await?)
    }

    /// Lets all roles of this process go, so that another has them as soon as it asks.
    pub(crate) async fn give_up_leads(&self) {
        let leads = &self.shared.leads;
        let _turn = leads.turn.lock().await;
        let roles = std::mem::take(&mut *leads.until());
        for role in roles.into_keys() {
            let given_up = async {
                let give_up = Write::GiveUpLead { role, instance: self.instance().await? };
                self.store().commit(Change::at(self.now()).write(give_up)).await?;
                Ok::<_, ChatError>(())
            };
            if let Err(error) = given_up.await {
                tracing::info!(%error, %role, "a role could not be given up: it is free when its lease has expired");
            }
        }
    }
}
