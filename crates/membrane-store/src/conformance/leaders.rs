//! Leaders: of all instances one has a role. What becomes of a leader's process is for each backend's own tests.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;

use super::fixture::{Fixture, LONG_LEASE, assert_refused, create_root};
use crate::{Store, StoreError, Write};

/// A lease that expires before long.
const SHORT_LEASE: Duration = Duration::from_millis(20);

fn take(instance: &InstanceId, lease_for: Duration) -> Write {
    Write::TakeLead { role: Role::Sweeper, instance: instance.clone(), lease_for, dead_leader: None }
}

fn give_up(instance: &InstanceId) -> Write {
    Write::GiveUpLead { role: Role::Sweeper, instance: instance.clone() }
}

fn instances<const N: usize>(f: &Fixture) -> [InstanceId; N] {
    std::array::from_fn(|_| InstanceId::generate(&*f.ids))
}

async fn leader(f: &Fixture) -> Option<InstanceId> {
    f.store.find_leader(Role::Sweeper).await.unwrap()
}

pub async fn a_role_that_nobody_has_is_taken_and_then_refused_to_others(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other] = instances(&f);
    assert_eq!(leader(&f).await, None);
    let receipt = f.write(take(&one, LONG_LEASE)).await;
    assert_eq!(receipt.sessions, []);
    assert_eq!(leader(&f).await.as_ref(), Some(&one));
    let error = f.refused_write(take(&other, LONG_LEASE)).await;
    assert_refused!(error, StoreError::LeadHeld { role: Role::Sweeper, leader } if *leader == one);
    assert_eq!(leader(&f).await, Some(one), "the refused one has changed nothing");
}

pub async fn taking_a_role_again_makes_its_lease_last_from_then_on(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other] = instances(&f);
    f.write(take(&one, SHORT_LEASE)).await;
    f.write(take(&one, LONG_LEASE)).await;
    tokio::time::sleep(2 * SHORT_LEASE).await;
    assert_refused!(f.refused_write(take(&other, LONG_LEASE)).await, StoreError::LeadHeld { .. });
    // And a shorter one ends sooner.
    f.write(take(&one, Duration::ZERO)).await;
    assert_eq!(leader(&f).await, None);
    f.write(take(&other, LONG_LEASE)).await;
}

pub async fn an_expired_lead_is_anybodys_by_the_stores_clock(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other] = instances(&f);
    f.write(take(&one, SHORT_LEASE)).await;
    f.until("the lease has expired", || async { leader(&f).await.is_none() }).await;
    f.write(take(&other, LONG_LEASE)).await;
    let error = f.refused_write(take(&one, LONG_LEASE)).await;
    assert_refused!(error, StoreError::LeadHeld { leader, .. } if *leader == other);
    // Who was slow gives up what is not its own any more.
    f.write(give_up(&one)).await;
    assert_eq!(leader(&f).await, Some(other));
}

pub async fn a_lead_that_is_given_up_is_anybodys_at_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other] = instances(&f);
    f.write(give_up(&one)).await;
    f.write(take(&one, LONG_LEASE)).await;
    f.write(give_up(&other)).await;
    assert_eq!(leader(&f).await.as_ref(), Some(&one), "nobody gives up what is another's");
    f.write(give_up(&one)).await;
    assert_eq!(leader(&f).await, None);
    f.write(take(&other, LONG_LEASE)).await;
    assert_eq!(leader(&f).await, Some(other));
}

pub async fn the_lead_of_an_instance_that_is_known_to_be_dead_is_taken_at_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other, third] = instances(&f);
    f.write(take(&one, LONG_LEASE)).await;
    let over = |dead: &InstanceId| Write::TakeLead {
        role: Role::Sweeper,
        instance: other.clone(),
        lease_for: LONG_LEASE,
        dead_leader: Some(dead.clone()),
    };
    let error = f.refused_write(over(&third)).await;
    assert_refused!(error, StoreError::LeadHeld { leader, .. } if *leader == one);
    f.write(over(&one)).await;
    assert_eq!(leader(&f).await.as_ref(), Some(&other));
    // Another who knew the same comes too late.
    let late = Write::TakeLead {
        role: Role::Sweeper,
        instance: third,
        lease_for: LONG_LEASE,
        dead_leader: Some(one),
    };
    let error = f.refused_write(late).await;
    assert_refused!(error, StoreError::LeadHeld { leader, .. } if *leader == other);
}

pub async fn a_change_that_fails_takes_and_gives_up_no_lead(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let [one, other] = instances(&f);
    let id = f.create().await;
    f.refused(f.change().write(take(&one, LONG_LEASE)).write(create_root(&id))).await;
    assert_eq!(leader(&f).await, None);
    f.write(take(&one, LONG_LEASE)).await;
    let swap = f.change().write(give_up(&one)).write(take(&other, LONG_LEASE));
    f.refused(swap.clone().write(create_root(&id))).await;
    assert_eq!(leader(&f).await, Some(one));
    f.commit(swap).await;
    assert_eq!(leader(&f).await, Some(other));
}

pub async fn of_many_that_ask_at_once_exactly_one_leads(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for round in 0..20 {
        let asking: Vec<_> = instances::<8>(&f)
            .into_iter()
            .map(|instance| {
                let f = f.clone();
                tokio::spawn(async move {
                    let change = f.change().write(take(&instance, LONG_LEASE));
                    match f.store.commit(change).await {
                        Ok(_) => Some(instance),
                        Err(StoreError::LeadHeld { .. }) => None,
                        Err(error) => panic!("{error:?}"),
                    }
                })
            })
            .collect();
        let mut leaders = Vec::new();
        for task in asking {
            leaders.extend(task.await.unwrap());
        }
        assert_eq!(leaders.len(), 1, "round {round}");
        assert_eq!(leader(&f).await.as_ref(), leaders.first());
        f.write(give_up(&leaders[0])).await;
    }
}
