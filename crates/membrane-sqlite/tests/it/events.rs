//! Events across stores and openings of one file.

use membrane_core::event::EventSeq;
use membrane_store::{EventPage, Write};

use crate::keep::{Keep, value};

fn events(page: EventPage) -> Vec<membrane_core::event::Event> {
    match page {
        EventPage::Events(events) => events,
        EventPage::Reset(newest) => panic!("no place to go on from; the newest is {newest:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_woken_by_another_store_on_the_file() {
    let keep = Keep::new();
    let (here, there) = (keep.open().await, keep.open().await);
    let id = here.create().await;
    let place = here.store.event_bounds().await.unwrap().newest;
    let waiters: Vec<_> = (0..4)
        .map(|number| {
            let store = std::sync::Arc::clone(if number % 2 == 0 { &here.store } else { &there.store });
            tokio::spawn(async move {
                store.wait_for_events(place).await.unwrap();
                events(store.list_events(place, 9).await.unwrap())
            })
        })
        .collect();
    there.append(&id, 1).await;
    for waiter in waiters {
        let told = waiter.await.unwrap();
        assert_eq!((told.len(), &told[0].session, told[0].version), (1, &id, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_who_looks_for_others_may_go_and_another_takes_over() {
    let keep = Keep::new();
    let (here, there) = (keep.open().await, keep.open().await);
    let place = here.store.event_bounds().await.unwrap().newest;
    let wait = || {
        let store = std::sync::Arc::clone(&here.store);
        tokio::spawn(async move { store.wait_for_events(place).await })
    };
    let first = wait();
    tokio::task::yield_now().await;
    let second = wait();
    first.abort();
    assert!(first.await.is_err());
    there.create().await;
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_outlives_the_store_and_is_none_in_another_file() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    let place = f.store.event_bounds().await.unwrap().newest;
    f.append(&id, 1).await;
    f.store.close().await.unwrap();
    let f = keep.open().await;
    assert_eq!(events(f.store.list_events(place, 9).await.unwrap()).len(), 1);

    // Made a day later.
    let other = Keep::new();
    let g = other.open().await;
    let shift = "UPDATE events SET seq = seq + 86400 * 1048576";
    other.plain().execute_batch(shift).unwrap();
    g.create().await;
    let newest = g.store.event_bounds().await.unwrap().newest;
    assert!(newest > place);
    assert_eq!(g.store.list_events(place, 9).await.unwrap(), EventPage::Reset(newest));
    assert_eq!(f.store.list_events(newest, 9).await.unwrap(), EventPage::Reset(EventSeq(place.0 + 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_before_there_were_events_gets_them_from_now_on() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(3).await;
    f.store.close().await.unwrap();
    let older = "DROP TABLE ended_runs; DROP INDEX runs_stop_requested_idx; ALTER TABLE runs DROP COLUMN stop_requested; \
         ALTER TABLE runs DROP COLUMN version; DROP TABLE events; DROP TABLE leaders; \
         DELETE FROM schema_version WHERE version >= 1003";
    keep.plain().execute_batch(older).unwrap();
    let f = keep.open().await;
    let bounds = f.store.event_bounds().await.unwrap();
    assert_eq!(bounds.oldest, bounds.newest);
    f.append(&id, 1).await;
    let told = events(f.store.list_events(bounds.newest, 9).await.unwrap());
    assert_eq!((told.len(), told[0].version), (1, 3));
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_events_leave_one_row_as_the_mark() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(1).await;
    f.write(Write::ForgetEvents { before: f.now(), keep: 0 }).await;
    assert_eq!(value::<i64>(&keep.plain(), "SELECT count(*) FROM events", []), 1);
    let bounds = f.store.event_bounds().await.unwrap();
    assert_eq!(bounds.oldest, bounds.newest);
}
