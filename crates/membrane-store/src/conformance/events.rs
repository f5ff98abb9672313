//! Events: what each change makes, their order, following them, and forgetting.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::crystal::Crystal;
use membrane_core::event::{Event, EventKind, EventSeq};
use membrane_core::ids::SessionId;
use membrane_core::run::RunShape;
use membrane_core::session::SessionPatch;
use membrane_core::time::Timestamp;
use membrane_core::turn::SignalKind;

use super::fixture::{Fixture, LONG_LEASE, append, assert_refused, create_root, json, text_pieces};
use crate::change::Past;
use crate::events::{EventBounds, EventPage, FORGET_AT_ONCE};
use crate::{Requirement, Store, StoreError, Write};

/// How many writers there are, and how often each writes.
const WRITERS: usize = 8;
const ROUNDS: usize = 25;

/// An event without its number.
type Told = (EventKind, SessionId, u64);

impl Fixture {
    /// The place after all events so far.
    async fn end(&self) -> EventSeq {
        self.store.event_bounds().await.unwrap().newest
    }

    /// The events after a place, which must be one to go on from.
    async fn events_after(&self, place: EventSeq) -> Vec<Event> {
        match self.store.list_events(place, u32::MAX).await.unwrap() {
            EventPage::Events(events) => events,
            EventPage::Reset(newest) => {
                panic!("{place:?} is no place to go on from; the newest is {newest:?}")
            }
        }
    }

    /// What a change makes known, by itself.
    async fn told_by<T>(&self, change: impl Future<Output = T>) -> (T, Vec<Told>) {
        let place = self.end().await;
        let result = change.await;
        let told = self.events_after(place).await.into_iter();
        (result, told.map(|event| (event.kind, event.session, event.version)).collect())
    }

    async fn version(&self, session: &SessionId) -> u64 {
        self.get(session).await.version
    }
}

pub async fn each_write_makes_its_event_with_the_version_after_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session_id();
    let (_, told) = f.told_by(f.write(create_root(&id))).await;
    assert_eq!(told, [(EventKind::SessionCreated, id.clone(), 1)]);
    let (_, told) = f.told_by(f.append(&id, 3)).await;
    assert_eq!(told, [(EventKind::TurnAdded, id.clone(), 2)], "one for all turns of a change");

    let patch = SessionPatch { title: Some(Some("t".to_owned())), ..SessionPatch::default() };
    let (_, told) = f.told_by(f.write(Write::PatchSession { session: id.clone(), patch })).await;
    assert_eq!(told, [(EventKind::SessionUpdated, id.clone(), 3)]);
    let (kept, told) = f.told_by(f.name_place(&id, "here")).await;
    assert_eq!(told, [(EventKind::CheckpointCreated, id.clone(), 3)]);
    let (left, told) = f.told_by(f.rewind(&id, 1)).await;
    assert_eq!(told, [(EventKind::SessionUpdated, id.clone(), 4)], "what is left on the way is no news");
    let (_, told) = f.told_by(f.restore(&id, &left)).await;
    assert_eq!(told, [(EventKind::SessionUpdated, id.clone(), 5)]);
    let delete = Write::DeleteCheckpoint { session: id.clone(), id: kept };
    let (_, told) = f.told_by(f.write(delete)).await;
    assert_eq!(told, [(EventKind::CheckpointDeleted, id.clone(), 5)]);

    let crystal = Crystal {
        session: id.clone(),
        title: "t".to_owned(),
        summary: "s".to_owned(),
        key_decisions: Vec::new(),
        artifacts: Vec::new(),
        final_evidence: json("{}"),
        final_turn_count: 3,
        created_at: f.now(),
    };
    let (_, told) = f.told_by(f.write(Write::SaveCrystal(crystal))).await;
    assert_eq!(told, [(EventKind::CrystalSaved, id.clone(), 5)]);

    let (fork, told) = f.told_by(f.fork(&id, 2)).await;
    assert_eq!(told, [(EventKind::SessionCreated, fork.clone(), 1)], "its parent stays as it is");
    let (merge, told) = f.told_by(f.merge(&id, &fork)).await;
    let expected = [
        (EventKind::SessionCreated, merge.clone(), 1),
        (EventKind::SessionUpdated, id.clone(), 6),
        (EventKind::SessionUpdated, fork.clone(), 2),
    ];
    assert_eq!(told, expected);
    let (_, told) = f.told_by(f.delete(&fork)).await;
    assert_eq!(told, [(EventKind::SessionDeleted, fork, 2)], "the version that it had");
}

pub async fn an_event_tells_when_its_change_was_made(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let place = f.end().await;
    let (id, turn) = (f.session_id(), f.turn("x"));
    let changes = [f.change().write(create_root(&id)), f.change().write(append(&id, vec![turn]))];
    let times = changes.each_ref().map(|change| change.now);
    for change in changes {
        f.commit(change).await;
    }
    let told = f.events_after(place).await;
    assert_eq!(told.iter().map(|event| event.at).collect::<Vec<_>>(), times);
}

pub async fn a_runs_way_is_told_and_its_pieces_are_not(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let (run, told) = f.told_by(f.begin(&id, LONG_LEASE)).await;
    assert_eq!(told, [(EventKind::RunStarted, id.clone(), 2)], "the version is the one before its turn");
    let ((), told) = f
        .told_by(async {
            let pieces = text_pieces(0, &["be", "cause"]);
            f.write(Write::AppendPieces { run: run.id.clone(), pieces }).await;
            f.write(Write::RenewLease { run: run.id.clone(), lease_for: LONG_LEASE }).await;
        })
        .await;
    assert_eq!(told, []);
    let (_, told) = f.told_by(f.write(Write::SuspendRun { run: run.id.clone() })).await;
    assert_eq!(told, [(EventKind::RunWaiting, id.clone(), 2)]);
    let resume = Write::ResumeRun { run: run.id.clone(), lease: f.lease(), lease_for: LONG_LEASE };
    let (_, told) = f.told_by(f.write(resume)).await;
    assert_eq!(told, [(EventKind::RunResumed, id.clone(), 2)]);
    let finish = Write::FinishRun { run: run.id, turn: Box::new(f.turn("why?")), shape: RunShape::default() };
    let (_, told) = f.told_by(f.write(finish)).await;
    assert_eq!(told, [(EventKind::TurnAdded, id.clone(), 3), (EventKind::RunEnded, id, 3)]);
}

pub async fn a_signal_is_told_of_every_session_that_holds_the_turn(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let turn = f.tool_turn("look", true);
    f.write(append(&id, vec![turn])).await;
    f.append(&id, 1).await;
    let (short, long) = (f.fork(&id, 1).await, f.fork(&id, 2).await);
    f.fork(&id, 0).await;
    for kind in [SignalKind::Negative, SignalKind::Negative, SignalKind::Positive] {
        let (_, mut told) = f.told_by(f.signal(&id, 0, kind)).await;
        told.sort();
        let mut expected = Vec::new();
        for session in [&id, &short, &long] {
            expected.push((EventKind::TurnUpdated, session.clone(), f.version(session).await));
        }
        expected.sort();
        assert_eq!(told, expected, "{kind}: also where it changes no evidence");
    }
    let (_, mut told) = f.told_by(f.signal(&id, 1, SignalKind::Positive)).await;
    told.sort();
    let held_by: Vec<_> = told.into_iter().map(|(_, session, _)| session).collect();
    assert_eq!(held_by.len(), 2);
    assert!(held_by.contains(&id) && held_by.contains(&long));
}

pub async fn a_change_of_many_writes_tells_one_of_a_kind_with_its_last_version(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other, passing) = (f.session_id(), f.create().await, f.session_id());
    let past = Past {
        is_merged: false,
        merged_into: None,
        patch: SessionPatch::default(),
        last_active: f.now(),
        legacy: Vec::new(),
    };
    let change = f
        .change()
        .write(create_root(&id))
        .write(create_root(&passing))
        .write(append(&id, f.turns(1)))
        .write(append(&other, f.turns(1)))
        .write(append(&id, f.turns(2)))
        .write(append(&passing, f.turns(2)))
        .write(Write::DeleteSession { session: passing })
        .write(Write::SetPast { session: id.clone(), past });
    let (_, told) = f.told_by(f.commit(change)).await;
    let expected = [
        (EventKind::SessionCreated, id.clone(), 1),
        (EventKind::TurnAdded, id.clone(), 1),
        (EventKind::TurnAdded, other.clone(), 2),
        (EventKind::SessionUpdated, id.clone(), 1),
    ];
    assert_eq!(told, expected, "and of a session that came and went, nothing");

    let change = f
        .change()
        .write(append(&id, f.turns(1)))
        .write(Write::DeleteSession { session: id.clone() })
        .write(create_root(&id));
    let (_, told) = f.told_by(f.commit(change)).await;
    assert_eq!(told, [(EventKind::SessionDeleted, id.clone(), 2), (EventKind::SessionCreated, id, 1)]);
}

pub async fn what_changes_nothing_tells_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let key = f.key(Some(&id), "k", "r");
    let send = || f.change().once(Some(key.clone())).write(append(&id, f.turns(1)));
    let (_, told) = f.told_by(f.commit(send())).await;
    assert_eq!(told, [(EventKind::TurnAdded, id.clone(), 3)]);
    let place = f.end().await;
    assert!(f.commit(send()).await.replayed);
    f.write(append(&id, Vec::new())).await;
    f.write(Write::PatchSession { session: id.clone(), patch: SessionPatch::default() }).await;
    f.write(Write::ForgetKeys { before: f.now() }).await;
    let stale = Requirement::Version { session: id.clone(), version: 1 };
    f.refused(f.change().require(stale).write(append(&id, f.turns(1)))).await;
    let gone = f.session_id();
    f.refused(f.change().write(append(&id, f.turns(1))).write(append(&gone, f.turns(1)))).await;
    f.refused_write(Write::DeleteSession { session: gone }).await;
    assert_eq!(f.events_after(place).await, []);
    assert_eq!(f.end().await, place);
}

pub async fn events_come_in_pages_of_any_size(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let start = f.end().await;
    assert_eq!(f.store.event_bounds().await.unwrap(), EventBounds { oldest: start, newest: start });
    assert_eq!(f.events_after(start).await, []);
    let id = f.create().await;
    for _ in 0..9 {
        f.append(&id, 1).await;
    }
    let all = f.events_after(start).await;
    assert_eq!(all.iter().map(|event| event.version).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(all.last().unwrap().seq, f.end().await);
    for limit in [1, 3, 10, 11] {
        let (mut place, mut paged) = (start, Vec::new());
        loop {
            let EventPage::Events(page) = f.store.list_events(place, limit).await.unwrap() else {
                panic!("a place that was given is no place to go on from");
            };
            assert!(page.len() <= usize::try_from(limit).unwrap());
            let Some(last) = page.last() else { break };
            place = last.seq;
            paged.extend(page);
        }
        assert_eq!(paged, all);
    }
}

pub async fn a_place_of_other_data_is_no_place_to_go_on_from(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    f.session(1).await;
    let EventBounds { oldest, newest } = f.store.event_bounds().await.unwrap();
    let mut strange = vec![EventSeq(newest.0 + 1), EventSeq(i64::MAX.unsigned_abs()), EventSeq(u64::MAX)];
    if oldest > EventSeq(0) {
        strange.extend([EventSeq(0), EventSeq(1), EventSeq(oldest.0 - 1)]);
    }
    for place in strange {
        assert_eq!(f.store.list_events(place, 9).await.unwrap(), EventPage::Reset(newest), "{place:?}");
    }
}

pub async fn who_went_away_before_events_were_forgotten_is_told_to_start_over(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (start, id) = (f.end().await, f.create().await);
    for _ in 0..9 {
        f.append(&id, 1).await;
    }
    let all = f.events_after(start).await;
    let long_ago = Timestamp::from_micros(0);
    f.write(Write::ForgetEvents { before: long_ago, keep: 100 }).await;
    assert_eq!(f.events_after(start).await, all, "none is old, and there are few");

    f.write(Write::ForgetEvents { before: long_ago, keep: 4 }).await;
    let newest = f.end().await;
    assert_eq!(newest, all[9].seq, "forgetting is no news");
    assert_eq!(f.store.list_events(all[4].seq, 9).await.unwrap(), EventPage::Reset(newest));
    assert_eq!(f.events_after(all[5].seq).await, all[6..]);
    assert_eq!(f.store.event_bounds().await.unwrap(), EventBounds { oldest: all[5].seq, newest });

    f.advance(Duration::from_secs(60));
    let turning = f.now();
    f.append(&id, 1).await;
    f.write(Write::ForgetEvents { before: turning, keep: 100 }).await;
    assert_eq!(f.store.list_events(all[8].seq, 9).await.unwrap(), EventPage::Reset(f.end().await));
    assert_eq!(f.events_after(all[9].seq).await.len(), 1, "what came after the turning");
    f.write(Write::ForgetEvents { before: f.now(), keep: 0 }).await;
    let last = f.end().await;
    assert_eq!(f.events_after(last).await, []);
    f.append(&id, 1).await;
    let next = f.events_after(last).await;
    assert_eq!(next.len(), 1, "no number is used twice");
}

pub async fn forgetting_does_a_bit_at_a_time(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let at_once = u64::from(FORGET_AT_ONCE);
    let start = f.end().await;
    let mut change = f.change();
    for _ in 0..at_once + 10 {
        change = change.write(create_root(&f.session_id()));
    }
    f.commit(change).await;
    let all = f.events_after(start).await;
    let forget = || Write::ForgetEvents { before: Timestamp::from_micros(i64::MAX), keep: 0 };
    f.write(forget()).await;
    let oldest = f.store.event_bounds().await.unwrap().oldest;
    assert!(oldest < all.last().unwrap().seq, "some are left for the next time");
    assert!(all.iter().filter(|event| event.seq <= oldest).count() <= usize::try_from(at_once).unwrap());
    f.write(forget()).await;
    f.write(forget()).await;
    assert!(f.store.event_bounds().await.unwrap().oldest > oldest);
}

pub async fn who_waits_is_woken_by_a_commit(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let place = f.end().await;
    let waiters: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move { store.wait_for_events(place).await })
        })
        .collect();
    // Given up, which loses nothing.
    let given_up = tokio::time::timeout(Duration::from_millis(20), f.store.wait_for_events(place)).await;
    assert!(given_up.is_err(), "there was nothing to tell of");
    f.append(&id, 1).await;
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(f.events_after(place).await.len(), 1);
    f.store.wait_for_events(place).await.unwrap();
}

pub async fn who_waits_when_the_store_is_closed_is_told_so(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let place = f.end().await;
    let waiter = tokio::spawn({
        let store = Arc::clone(&f.store);
        async move { store.wait_for_events(place).await }
    });
    f.store.close().await.unwrap();
    assert_refused!(waiter.await.unwrap().unwrap_err(), StoreError::Closed);
}

pub async fn a_reader_that_follows_many_writers_sees_each_event_once_in_order(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let start = f.end().await;
    let mut sessions = Vec::new();
    for _ in 0..WRITERS {
        sessions.push(f.create().await);
    }
    let shared = f.create().await;
    let expected = WRITERS + 1 + 2 * WRITERS * ROUNDS;
    let reader = tokio::spawn({
        let store = Arc::clone(&f.store);
        async move {
            let (mut place, mut seen) = (start, Vec::new());
            while seen.len() < expected {
                store.wait_for_events(place).await.unwrap();
                let EventPage::Events(page) = store.list_events(place, 7).await.unwrap() else {
                    panic!("a place that was given is no place to go on from");
                };
                place = page.last().map_or(place, |event| event.seq);
                seen.extend(page);
            }
            seen
        }
    });
    let writers = sessions.iter().map(|own| {
        let (f, own, shared) = (f.clone(), own.clone(), shared.clone());
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                f.say(&own, "mine").await;
                f.say(&shared, "ours").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let seen = reader.await.unwrap();
    assert_eq!(seen.len(), expected);
    assert!(seen.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(f.events_after(start).await, seen, "and reading it all again shows the same");
    for session in sessions.iter().chain([&shared]) {
        let versions: Vec<_> =
            seen.iter().filter(|event| event.session == *session).map(|event| event.version).collect();
        let last = f.version(session).await;
        assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "the order of commits");
    }
}
