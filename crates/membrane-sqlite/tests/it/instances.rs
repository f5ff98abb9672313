//! Who is alive, as two stores on one file see it.
//!
//! That a killed process is dead at once is tried in `membrane-crashtest`.

use std::fs;
use std::sync::Arc;

use membrane_core::ids::InstanceId;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::{Store, StoreError};

use crate::keep::Keep;

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_file_see_each_others_instances_until_they_are_closed() {
    let keep = Keep::new();
    let (a, b) = (keep.open().await, keep.open().await);
    let (of_a, of_b) = (InstanceId::generate(&*a.ids), InstanceId::from_stored("Of B/2"));
    a.store.hold_instance(&of_a).await.unwrap();
    b.store.hold_instance(&of_b).await.unwrap();
    let both = [of_a.clone(), of_b.clone()];
    for store in [&a.store, &b.store] {
        assert_eq!(store.list_dead_instances(&both).await.unwrap(), []);
    }
    a.store.close().await.unwrap();
    assert!(matches!(a.store.hold_instance(&of_a).await, Err(StoreError::Closed)));
    assert_eq!(b.store.list_dead_instances(&both).await.unwrap(), [of_a]);
    drop(b);
    let c = keep.open().await;
    assert_eq!(c.store.list_dead_instances(&both).await.unwrap(), both, "dropping lets go as well");
    c.store.close().await.unwrap();
    assert_eq!(keep.files().len(), 1, "a closed keep is one file");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_in_two_stores_is_refused_to_the_second() {
    let keep = Keep::new();
    let patience = std::time::Duration::from_millis(50);
    let a = keep.open().await;
    let b = keep.open_with(SqliteOptions { busy_timeout: patience, ..keep.options() }).await;
    let id = InstanceId::from_stored("twin");
    a.store.hold_instance(&id).await.unwrap();
    assert!(matches!(b.store.hold_instance(&id).await, Err(StoreError::Unavailable { .. })));
    a.store.close().await.unwrap();
    b.store.hold_instance(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_processes_left_behind_is_dead_and_does_not_pile_up() {
    let keep = Keep::new();
    let f = keep.open().await;
    let left = |number| keep.folder().join(format!("keep.db-instance-old-{number}.lock"));
    for number in 0..100 {
        fs::write(left(number), "").unwrap();
    }
    let old = [InstanceId::from_stored("old-7"), InstanceId::from_stored("old-8")];
    assert_eq!(f.store.list_dead_instances(&old).await.unwrap(), old);
    let id = InstanceId::generate(&*f.ids);
    f.store.hold_instance(&id).await.unwrap();
    let locks = keep.files().into_keys().filter(|name| name.contains("-instance-"));
    assert_eq!(locks.collect::<Vec<_>>(), [format!("keep.db-instance-{id}.lock")]);
    assert_eq!(f.store.list_dead_instances(&old).await.unwrap(), old);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_over_a_link_sees_the_same_instances() {
    let keep = Keep::new();
    let direct = keep.open().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(keep.path(), &link).unwrap();
    let linked = SqliteStore::open(SqliteOptions::at(&link)).await.unwrap();
    let id = InstanceId::generate(&*direct.ids);
    linked.hold_instance(&id).await.unwrap();
    assert_eq!(direct.store.list_dead_instances(std::slice::from_ref(&id)).await.unwrap(), []);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing lies beside the link");
    linked.close().await.unwrap();
    assert_eq!(direct.store.list_dead_instances(std::slice::from_ref(&id)).await.unwrap(), [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_come_while_others_sweep_and_look_are_never_taken_for_dead() {
    let keep = Keep::new();
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(keep.open().await));
    }
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let (own, other) = (Arc::clone(&stores[number]), Arc::clone(&stores[(number + 1) % 4]));
            tokio::spawn(async move {
                for round in 0..50 {
                    // Each holding sweeps; each is asked for by a store that does not hold it.
                    let id = InstanceId::from_stored(&format!("i-{number}-{round}"));
                    own.store.hold_instance(&id).await.unwrap();
                    let nobody = InstanceId::from_stored(&format!("nobody-{number}-{round}"));
                    let asked = [id, nobody];
                    assert_eq!(other.store.list_dead_instances(&asked).await.unwrap(), asked[1..]);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
