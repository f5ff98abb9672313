//! No limit hides data: long sessions, many sessions, deep chains.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use membrane_core::ids::SessionId;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::session::NewSession;
use membrane_core::time::Timestamp;
use membrane_core::turn::{SignalKind, Totals};

use super::fixture::{Fixture, append, is_full};
use crate::change::Origin;
use crate::{Change, Store, StoreStats, Write};

pub async fn ten_thousand_turns_load_page_fork_rewind_and_delete(store: Arc<dyn Store>) {
    const TURNS: u64 = 10_000;
    let f = Fixture::new(store);
    let id = f.create().await;
    for _ in 0..TURNS / 500 {
        f.append(&id, 500).await;
    }
    for number in [0, 4_999, 5_000, TURNS - 1] {
        f.signal(&id, number, SignalKind::Negative).await;
    }
    let all = f.thread(&id).await;
    assert_eq!((u64::try_from(all.turns.len()), all.session.cut.turn_count), (Ok(TURNS), TURNS));
    assert!(all.turns.iter().zip(0..).all(|(kept, number)| kept.number == number));
    assert_eq!((all.session.totals.succeeded, all.session.flipped), (10_000, 4));
    assert_eq!(all.turns.last().map(|kept| (kept.totals, kept.flipped)), Some((all.session.totals, 4)));
    let mut paged = Vec::new();
    for start in (0..TURNS).step_by(997) {
        paged.extend(f.store.load_thread(&id, start..start + 997).await.unwrap().unwrap().turns);
    }
    assert!(paged == all.turns, "pages show what the whole shows");
    assert_eq!(f.store.list_marks(all.session.cut).await.unwrap().len(), all.turns.len());
    let fork = f.fork(&id, 5_000).await;
    f.append(&fork, 10).await;
    let forked = f.thread(&fork).await;
    assert!(forked.turns[..5_000] == all.turns[..5_000] && forked.turns.len() == 5_010);
    assert_eq!((forked.session.totals.succeeded, forked.session.flipped), (5_010, 2));
    let left = f.rewind(&id, 1).await;
    assert_eq!((f.get(&id).await.cut.turn_count, f.get(&id).await.flipped), (1, 1));
    f.restore(&id, &left).await;
    assert!(f.kept(&id).await == all.turns, "the restore brings all of it back");
    f.delete(&id).await;
    assert_eq!(f.stats().await.turns_stored, 5_010, "what only the deleted one saw is gone");
    assert!(f.thread(&fork).await == forked, "the fork is whole");
    f.delete(&fork).await;
    assert_eq!(f.stats().await, StoreStats::default());
}

/// Creates sessions `numbers` in changes of 1,000, two turns each tenth; returns how many turns.
async fn create_many(f: &Fixture, numbers: std::ops::Range<u32>) -> u64 {
    let (mut turns, mut change) = (0, f.change());
    for number in numbers {
        let id = SessionId::from_stored(&format!("many-{number:06}"));
        let session = NewSession {
            project_id: (number % 4 == 0).then(|| "quarter".to_owned()),
            branch_name: if number % 5 == 0 { "fifth".to_owned() } else { "main".to_owned() },
            ..NewSession::root(id.clone())
        };
        // Ten sessions share each time, and the order of creation is not the order of the list.
        let created_at =
            Timestamp::from_micros(1_000_000 + i64::from(number.wrapping_mul(7_919) % 100_003 / 10));
        let origin = Origin::Empty { legacy: Vec::new() };
        change = change.write(Write::CreateSession { session, origin, created_at: Some(created_at) });
        if number % 10 == 0 {
            turns += 2;
            let mut said = f.turns(2);
            for turn in &mut said {
                turn.user.content = format!("{number}");
            }
            change = change.write(append(&id, said));
        }
        if change.writes.len() >= 1_000 {
            let full = std::mem::replace(&mut change, Change::at(created_at));
            f.commit(Change { now: Timestamp::from_micros(0), ..full }).await;
        }
    }
    f.commit(Change { now: Timestamp::from_micros(0), ..change }).await;
    turns
}

pub async fn a_hundred_thousand_sessions_are_listed_counted_and_paged(store: Arc<dyn Store>) {
    let count: u32 = if is_full() { 100_000 } else { 5_000 };
    let f = Fixture::new(store);
    let turns = create_many(&f, 0..count).await;
    let all = SessionFilter::default();
    let quarter = SessionFilter { project_id: Some("quarter".into()), branch_name: None };
    let fifth = SessionFilter { project_id: None, branch_name: Some("fifth".into()) };
    let main = SessionFilter { project_id: None, branch_name: Some("main".into()) };
    let both = SessionFilter { project_id: Some("quarter".into()), branch_name: Some("fifth".into()) };
    for (filter, expected) in [
        (&all, count),
        (&quarter, count / 4),
        (&fifth, count / 5),
        (&main, count / 5 * 4),
        (&both, count / 20),
    ] {
        assert_eq!(f.store.count_sessions(filter).await.unwrap(), u64::from(expected), "{filter:?}");
        let seen = page_through(&f, filter, count / 25 - 3).await;
        assert_eq!(seen.len(), usize::try_from(expected).unwrap(), "{filter:?}");
    }
    let stats = f.stats().await;
    assert_eq!((stats.sessions, stats.turns_stored, stats.turns_shown), (u64::from(count), turns, turns));
    let deep = PageRequest { offset: u64::from(count) - 3, ..PageRequest::first(50) };
    let page = f.store.list_sessions(&all, &deep).await.unwrap();
    assert_eq!((page.sessions.len(), page.total, page.next), (3, u64::from(count), None));
    let picked = SessionId::from_stored(&format!("many-{:06}", count - 10));
    assert_eq!(f.said(&picked).await, vec![format!("{}", count - 10); 2]);
    f.delete(&picked).await;
    assert_eq!(f.store.count_sessions(&all).await.unwrap(), u64::from(count) - 1);
}

/// Pages to the end by cursor; no session comes twice, and the order holds over the pages' seams.
async fn page_through(f: &Fixture, filter: &SessionFilter, limit: u32) -> HashSet<SessionId> {
    let (mut seen, mut last) = (HashSet::new(), None);
    let mut request = PageRequest::first(limit);
    loop {
        let page = f.store.list_sessions(filter, &request).await.unwrap();
        for session in page.sessions {
            let place = (session.last_active, session.id);
            assert!(last.as_ref().is_none_or(|last| *last > place), "{place:?} after {last:?}");
            assert!(seen.insert(place.1.clone()), "{place:?} comes twice");
            last = Some(place);
        }
        request.after = page.next;
        if request.after.is_none() {
            return seen;
        }
    }
}

pub async fn paging_neither_skips_nor_repeats_while_sessions_are_added(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let count: u32 = if is_full() { 20_000 } else { 2_000 };
    create_many(&f, 0..count).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let adding = tokio::spawn({
        let (f, is_done) = (f.clone(), Arc::clone(&is_done));
        async move {
            let mut added = 0_i64;
            while !is_done.load(Ordering::Relaxed) {
                // New ones in front, and ones from an import that land in the middle.
                f.create().await;
                let origin = Origin::Empty { legacy: Vec::new() };
                let session = NewSession::root(f.session_id());
                let created_at = Some(Timestamp::from_micros(1_000_000 + added * 13 % 10_000));
                f.write(Write::CreateSession { session, origin, created_at }).await;
                added += 2;
            }
            added
        }
    });
    for limit in [37, 199] {
        let seen = page_through(&f, &SessionFilter::default(), limit).await;
        let originals = (0..count).map(|number| SessionId::from_stored(&format!("many-{number:06}")));
        let skipped: Vec<_> = originals.filter(|id| !seen.contains(id)).collect();
        assert_eq!(skipped, [], "every session that was there before is shown");
    }
    is_done.store(true, Ordering::Relaxed);
    let added = adding.await.unwrap();
    assert!(added > 0, "sessions were added meanwhile");
    let total = f.store.count_sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(total, u64::from(count) + added.unsigned_abs());
}

pub async fn a_chain_of_a_hundred_forks_reads_as_one_thread(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let mut chain = vec![f.session(10).await];
    for level in 1..=100_u64 {
        let parent = &chain[chain.len() - 1];
        // Some forks stop before their parent's end.
        let back = u64::from(level % 7 == 0);
        let fork = f.fork(parent, f.get(parent).await.cut.turn_count - back).await;
        f.append(&fork, 2).await;
        chain.push(fork);
    }
    let last = chain.pop().unwrap();
    let thread = f.thread(&last).await;
    assert_eq!(thread.turns.len(), 10 + 200 - 14);
    assert_eq!(f.history(&last).await.slices.len(), 101);
    let mut totals = Totals::ZERO;
    for kept in &thread.turns {
        totals = totals + kept.turn.measures();
        assert_eq!(kept.totals, totals);
    }
    assert_eq!(thread.session.totals, totals);
    f.signal(&last, 0, SignalKind::Negative).await;
    for (index, id) in chain.iter().enumerate() {
        assert_eq!(f.get(id).await.flipped, 1, "all {} hold the first turn", chain.len());
        if index % 10 == 0 {
            let some = f.store.load_thread(id, 3..9).await.unwrap().unwrap().turns;
            assert_eq!(some.len(), 6);
        }
    }
    let before = f.thread(&last).await;
    assert_eq!(f.store.list_family(&chain[0]).await.unwrap().len(), 101);
    for id in &chain {
        f.delete(id).await;
    }
    assert_eq!(f.thread(&last).await, before, "the last one outlives all of its ancestors");
    assert_eq!(f.stats().await.turns_stored, 196);
    f.delete(&last).await;
    assert_eq!(f.stats().await, StoreStats::default());
}

pub async fn a_thousand_forks_of_one_session_share_its_turns(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(20).await;
    let record = f.get(&parent).await;
    let mut forks = Vec::new();
    for batch in 0..10_u64 {
        let mut change = f.change();
        for number in 0..100_u64 {
            let (id, fork) = f.fork_of(&record, (batch * 100 + number) % 21);
            change.require.extend(fork.require);
            change.writes.extend(fork.writes);
            forks.push(id);
        }
        f.commit(change).await;
    }
    assert_eq!(f.stats().await.turns_stored, 20);
    f.signal(&parent, 10, SignalKind::Negative).await;
    let turned = count_turned(&f, &forks).await;
    assert_eq!(turned, (0..1_000_u64).filter(|number| number % 21 > 10).count());
    f.delete(&parent).await;
    assert_eq!(f.stats().await.turns_stored, 20, "some fork sees each of them");
    assert_eq!(f.said(&forks[19]).await.len(), 19);
}

/// How many of these sessions show exactly one turned turn.
async fn count_turned(f: &Fixture, ids: &[SessionId]) -> usize {
    let mut count = 0;
    for id in ids {
        count += usize::from(f.get(id).await.flipped == 1);
    }
    count
}
