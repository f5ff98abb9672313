//! Instances: who is alive. That one dies with its process is for each backend's own tests.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::ids::{InstanceId, MAX_ID_BYTES};

use super::fixture::{Fixture, LONG_LEASE};
use crate::{Store, Write};

pub async fn who_is_held_is_alive_and_who_was_never_held_is_dead(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (here, nobody) = (InstanceId::generate(&*f.ids), InstanceId::generate(&*f.ids));
    let both = [here.clone(), nobody.clone()];
    assert_eq!(f.store.list_dead_instances(&both).await.unwrap(), both, "not yet");
    f.store.hold_instance(&here).await.unwrap();
    assert_eq!(f.store.list_dead_instances(&both).await.unwrap(), std::slice::from_ref(&nobody));
    assert_eq!(f.store.list_dead_instances(&[]).await.unwrap(), []);
    // What it owns neither makes an instance alive nor dead.
    let mut run = f.run(&f.session(1).await, "why?");
    run.lease.owner = nobody.clone();
    f.write(Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE }).await;
    let owners = f.store.list_lease_owners().await.unwrap();
    assert_eq!(f.store.list_dead_instances(&owners).await.unwrap(), [nobody]);
}

pub async fn the_dead_come_in_the_order_of_asking(store: Arc<dyn Store>) {
    let ids = ["d", "a", "held", "c", "a", "held", "b"].map(InstanceId::from_stored);
    store.hold_instance(&ids[2]).await.unwrap();
    let dead = store.list_dead_instances(&ids).await.unwrap();
    assert_eq!(dead, ["d", "a", "c", "a", "b"].map(InstanceId::from_stored));
}

pub async fn holding_again_changes_nothing(store: Arc<dyn Store>) {
    let id = InstanceId::from_stored("again");
    for _ in 0..3 {
        store.hold_instance(&id).await.unwrap();
        assert_eq!(store.list_dead_instances(std::slice::from_ref(&id)).await.unwrap(), []);
    }
}

pub async fn instances_of_any_id_are_told_apart(store: Arc<dyn Store>) {
    let long = "x".repeat(MAX_ID_BYTES);
    let odd = [
        "instance-0",
        "Instance-0",
        "instance 0",
        "instance-0.lock",
        "../instance-0",
        "/",
        ".",
        "",
        "a\0",
        "a",
        "ä",
        "🙂",
        "%2e",
        &long,
        &long[1..],
    ]
    .map(InstanceId::from_stored);
    for (number, id) in odd.iter().enumerate() {
        assert_eq!(store.list_dead_instances(&odd).await.unwrap(), odd[number..]);
        store.hold_instance(id).await.unwrap();
    }
    assert_eq!(store.list_dead_instances(&odd).await.unwrap(), []);
}

pub async fn many_may_be_held_at_once_while_others_look(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let (f, shared) = (f.clone(), InstanceId::from_stored(&format!("shared-{}", number % 4)));
            tokio::spawn(async move {
                let own = InstanceId::generate(&*f.ids);
                f.store.hold_instance(&own).await.unwrap();
                f.store.hold_instance(&shared).await.unwrap();
                for _ in 0..5 {
                    let asked = [own.clone(), InstanceId::from_stored("nobody"), shared.clone()];
                    assert_eq!(f.store.list_dead_instances(&asked).await.unwrap(), asked[1..2]);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
