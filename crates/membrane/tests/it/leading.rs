//! Leading: of all processes on a keep one has a role, gives it up when it stops, and loses it when it is dead or slow.

use std::sync::Arc;
use std::time::Duration;

use membrane::core::ids::InstanceId;
use membrane::store::{Change, Write};
use membrane::{Chat, Limits, Role, RunSettings, StoreError};

use crate::keep::{Keep, on_every_store};

on_every_store!(
    one_of_two_leads_until_it_stops_and_then_the_other,
    the_role_of_a_process_that_is_dead_is_taken_at_once,
    who_does_not_say_so_again_leads_no_more,
    a_call_under_way_takes_no_role_behind_the_back_of_who_stops,
);

const SWEEPER: Role = Role::Sweeper;

async fn one_of_two_leads_until_it_stops_and_then_the_other(keep: &Keep) {
    let (one, other) = (&keep.chat, keep.with_limits(Limits::default()));
    assert_eq!((one.find_leader(SWEEPER).await.unwrap(), one.leads(SWEEPER)), (None, false));
    for _ in 0..3 {
        assert!(one.take_lead(SWEEPER).await.unwrap());
        assert!(!other.take_lead(SWEEPER).await.unwrap());
    }
    let leader = one.find_leader(SWEEPER).await.unwrap();
    assert!(leader.is_some());
    assert_eq!(other.find_leader(SWEEPER).await.unwrap(), leader);
    assert_eq!((one.leads(SWEEPER), other.leads(SWEEPER)), (true, false));
    one.drain(Duration::ZERO).await;
    assert_eq!((other.find_leader(SWEEPER).await.unwrap(), one.leads(SWEEPER)), (None, false));
    assert!(!one.take_lead(SWEEPER).await.unwrap(), "whoever stops leads no more");
    assert!(other.take_lead(SWEEPER).await.unwrap());
    assert!(other.leads(SWEEPER));
    assert_ne!(other.find_leader(SWEEPER).await.unwrap(), leader);
}

async fn the_role_of_a_process_that_is_dead_is_taken_at_once(keep: &Keep) {
    // It was never held.
    let dead = InstanceId::from_stored("dead");
    let lease_for = Duration::from_secs(3600);
    let take = Write::TakeLead { role: SWEEPER, instance: dead.clone(), lease_for, dead_leader: None };
    let taken = Change::at(membrane::Timestamp::from_micros(0)).write(take);
    keep.store.commit(taken.clone()).await.unwrap();
    assert_eq!(keep.chat.find_leader(SWEEPER).await.unwrap().as_ref(), Some(&dead));
    assert!(keep.chat.take_lead(SWEEPER).await.unwrap());
    let refused = keep.store.commit(taken).await;
    assert!(matches!(refused, Err(StoreError::LeadHeld { .. })), "{refused:?}");
}

async fn who_does_not_say_so_again_leads_no_more(keep: &Keep) {
    let lease_for = Duration::from_millis(20);
    let settings = RunSettings { lease_for, ..RunSettings::default() };
    let slow = Chat::builder(Arc::clone(&keep.store)).runs(settings).build();
    assert!(slow.take_lead(SWEEPER).await.unwrap());
    while !keep.chat.take_lead(SWEEPER).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!slow.leads(SWEEPER), "it knows by its own clock before the store gives the role away");
    assert!(!slow.take_lead(SWEEPER).await.unwrap());
    // It gives nothing up that is not its own.
    slow.drain(Duration::ZERO).await;
    assert!(keep.chat.find_leader(SWEEPER).await.unwrap().is_some());
}

async fn a_call_under_way_takes_no_role_behind_the_back_of_who_stops(keep: &Keep) {
    for _ in 0..20 {
        let chat = Chat::create(Arc::clone(&keep.store));
        tokio::join!(
            async { chat.take_lead(SWEEPER).await.map(|_| ()).unwrap() },
            chat.drain(Duration::ZERO),
            async { chat.take_lead(SWEEPER).await.map(|_| ()).unwrap() },
        );
        assert_eq!(keep.chat.find_leader(SWEEPER).await.unwrap(), None);
    }
}
