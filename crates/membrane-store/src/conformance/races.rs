//! What happens at the same moment: exactly one wins where one must, and nobody is lost where all may.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::ids::SessionId;
use membrane_core::run::{RunEnd, RunShape};
use membrane_core::turn::SignalKind;
use tokio::sync::Barrier;

use super::fixture::{Fixture, LONG_LEASE, append, is_full};
use crate::{Change, Receipt, Requirement, Store, StoreError, StoreStats, Subject, Write};

type Outcome = Result<Receipt, StoreError>;

fn rounds() -> u64 {
    if is_full() { 200 } else { 25 }
}

/// Commits all changes at the same moment, each from a task of its own.
async fn at_once(f: &Fixture, changes: Vec<Change>) -> Vec<Outcome> {
    let barrier = Arc::new(Barrier::new(changes.len()));
    let tasks: Vec<_> = changes
        .into_iter()
        .map(|change| {
            let (store, barrier) = (Arc::clone(&f.store), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                store.commit(change).await
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

fn delete(f: &Fixture, session: &SessionId) -> Change {
    f.change().write(Write::DeleteSession { session: session.clone() })
}

/// How many went well; every other must be this kind of error.
fn count_won(outcomes: Vec<Outcome>, is_expected: impl Fn(&StoreError) -> bool) -> usize {
    let mut won = 0;
    for outcome in outcomes {
        match outcome {
            Ok(_) => won += 1,
            Err(error) => assert!(is_expected(&error), "{error:?}"),
        }
    }
    won
}

fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { subject: Subject::Session, .. })
}

pub async fn of_many_deletions_exactly_one_succeeds(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for _ in 0..rounds() {
        let id = f.session(3).await;
        let outcomes = at_once(&f, (0..8).map(|_| delete(&f, &id)).collect()).await;
        assert_eq!(count_won(outcomes, is_gone), 1);
        assert_eq!(f.stats().await, StoreStats::default());
    }
}

pub async fn a_fork_beside_a_deletion_is_whole_or_refused(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for round in 0..rounds() {
        let parent = f.session(5).await;
        let (fork, change) = f.fork_of(&f.get(&parent).await, round % 6);
        let mut changes = vec![delete(&f, &parent), change];
        changes.rotate_left(usize::try_from(round % 2).unwrap());
        let won = count_won(at_once(&f, changes).await, is_gone);
        assert_eq!(f.store.find_session(&parent).await.unwrap(), None);
        match f.store.find_session(&fork).await.unwrap() {
            None => assert_eq!((won, f.stats().await.turns_stored), (1, 0)),
            Some(session) => {
                assert_eq!(
                    (won, session.cut.turn_count, f.stats().await.turns_stored),
                    (2, round % 6, round % 6)
                );
                f.say(&fork, "on").await;
                assert_eq!(u64::try_from(f.said(&fork).await.len()), Ok(round % 6 + 1));
                f.delete(&fork).await;
            }
        }
    }
}

pub async fn a_merge_beside_a_deletion_is_whole_or_refused(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for round in 0..rounds() {
        let (left, right) = (f.session(3).await, f.session(2).await);
        let (merge, change) = f.merge_of(&f.get(&left).await, &f.get(&right).await).await.unwrap();
        let mut changes = vec![change, delete(&f, &left), delete(&f, &right)];
        changes.rotate_left(usize::try_from(round % 3).unwrap());
        let won = count_won(at_once(&f, changes).await, is_gone);
        if f.store.find_session(&merge).await.unwrap().is_some() {
            assert_eq!((won, f.said(&merge).await.len()), (3, 5));
            f.delete(&merge).await;
        } else {
            assert_eq!(won, 2);
        }
        assert_eq!(f.stats().await, StoreStats::default());
    }
}

pub async fn a_restore_beside_its_sessions_deletion_brings_nothing_back(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for _ in 0..rounds() {
        let id = f.session(4).await;
        let left = f.rewind(&id, 1).await;
        let restore = f.restore_of(&f.checkpoint(&id, &left).await);
        let outcomes = at_once(&f, vec![delete(&f, &id), restore]).await;
        count_won(outcomes, |error| matches!(error, StoreError::NotFound { .. }));
        assert_eq!(f.stats().await, StoreStats::default());
    }
}

pub async fn a_restore_beside_the_owners_deletion_has_all_turns_or_says_what_is_left(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let mut whole = 0_u64;
    for round in 0..rounds() {
        let parent = f.session(6).await;
        let fork = f.fork(&parent, 6).await;
        let left = f.rewind(&fork, 2).await;
        let restore = f.restore_of(&f.checkpoint(&fork, &left).await);
        let mut changes = vec![delete(&f, &parent), restore];
        changes.rotate_left(usize::try_from(round % 2).unwrap());
        let won = count_won(at_once(&f, changes).await, |error| {
            matches!(error, StoreError::Gap { intact: 2, turn_count: 6 })
        });
        let expected = if won == 2 { 6 } else { 2 };
        whole += u64::from(won == 2);
        assert_eq!(
            (f.said(&fork).await.len(), f.stats().await.turns_stored),
            (expected, u64::try_from(expected).unwrap())
        );
        f.delete(&fork).await;
    }
    assert!(whole <= rounds());
}

pub async fn an_append_beside_a_deletion_leaves_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for _ in 0..rounds() {
        let id = f.session(1).await;
        let mut changes = vec![delete(&f, &id)];
        changes.extend((0..4).map(|_| {
            let turns = f.turns(2);
            f.change().write(append(&id, turns))
        }));
        let won = count_won(at_once(&f, changes).await, is_gone);
        assert!(won >= 1, "the deletion always succeeds");
        assert_eq!(f.stats().await, StoreStats::default());
    }
}

pub async fn sixty_four_appenders_lose_nothing_and_keep_their_order(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let each: u64 = if is_full() { 50 } else { 6 };
    let id = f.create().await;
    let barrier = Arc::new(Barrier::new(64));
    let tasks: Vec<_> = (0..64_u64)
        .map(|writer| {
            let (f, id, barrier) = (f.clone(), id.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let mut seen = Vec::new();
                for number in 0..each {
                    let receipt = f.say(&id, &format!("{writer} {number}")).await;
                    seen.push(receipt.stamp(&id).unwrap().clone());
                }
                seen
            })
        })
        .collect();
    let mut stamps = Vec::new();
    for task in tasks {
        let seen = task.await.unwrap();
        assert!(seen.is_sorted_by(|a, b| a.version < b.version && a.cut.turn_count < b.cut.turn_count));
        stamps.extend(seen);
    }
    let thread = f.thread(&id).await;
    let total = 64 * each;
    assert_eq!((thread.session.cut.turn_count, thread.session.version), (total, total + 1));
    let mut counts: Vec<_> = stamps.iter().map(|stamp| stamp.cut.turn_count).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=total).collect::<Vec<_>>(), "each answer names a place of its own");
    for (kept, number) in thread.turns.iter().zip(0..) {
        assert_eq!((kept.number, kept.at.position), (number, i64::try_from(number).unwrap()));
    }
    for writer in 0..64 {
        let prefix = format!("{writer} ");
        let said = thread.turns.iter().map(|kept| kept.turn.user.content.as_str());
        let own: Vec<_> = said.filter(|text| text.starts_with(&prefix)).collect();
        assert_eq!(own, (0..each).map(|number| format!("{writer} {number}")).collect::<Vec<_>>());
    }
    assert_eq!(f.stats().await.slices, 1);
}

pub async fn a_forks_first_appends_at_once_share_one_segment(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(2).await;
    for _ in 0..rounds() {
        let fork = f.fork(&parent, 1).await;
        let changes = (0..6).map(|_| {
            let turns = f.turns(1);
            f.change().write(append(&fork, turns))
        });
        let outcomes = at_once(&f, changes.collect()).await;
        assert_eq!(count_won(outcomes, |_| false), 6);
        let kept = f.kept(&fork).await;
        assert_eq!((kept.len(), f.history(&fork).await.slices.len()), (7, 2));
        assert!(kept[1..].iter().all(|turn| turn.at.segment == kept[1].at.segment));
        f.delete(&fork).await;
    }
}

pub async fn of_two_writers_at_one_version_exactly_one_succeeds(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    for round in 0..rounds() {
        let version = round + 2;
        let changes = (0..6).map(|_| {
            let turns = f.turns(1);
            f.change()
                .require(Requirement::Version { session: id.clone(), version })
                .write(append(&id, turns))
        });
        let outcomes = at_once(&f, changes.collect()).await;
        let won = count_won(outcomes, |error| {
            let both = (version, version + 1);
            matches!(error, StoreError::Conflict { expected, actual, .. } if (*expected, *actual) == both)
        });
        assert_eq!((won, f.get(&id).await.version), (1, version + 1));
    }
}

pub async fn of_many_runs_begun_at_once_exactly_one_is_open(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    for _ in 0..rounds() {
        let changes =
            (0..6).map(|_| f.change().write(Write::BeginRun { run: f.run(&id, "?"), lease_for: LONG_LEASE }));
        let outcomes = at_once(&f, changes.collect()).await;
        assert_eq!(count_won(outcomes, |error| matches!(error, StoreError::Busy { .. })), 1);
        let open = f.store.find_run(&id).await.unwrap().unwrap();
        f.write(Write::FinishRun {
            run: open.id,
            turn: Box::new(f.turn("done")),
            shape: RunShape::default(),
        })
        .await;
    }
    assert_eq!((f.get(&id).await.cut.turn_count, f.stats().await.runs), (1 + rounds(), 0));
}

pub async fn a_turn_closed_by_its_owner_and_by_another_at_once_is_there_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    for round in 0..rounds() {
        let run = f.begin(&id, Duration::ZERO).await;
        let dead_owner = Some(run.lease.owner.clone());
        let finish = |end| {
            let turn = Box::new(run.finish(&[], end, f.now()));
            f.change().write(Write::FinishRun { run: run.id.clone(), turn, shape: RunShape::default() })
        };
        let owner = finish(RunEnd::complete())
            .require(Requirement::Lease { run: run.id.clone(), token: run.lease.token });
        let other = finish(RunEnd::interrupted("owner_lost", "its process is gone"))
            .require(Requirement::Abandoned { run: run.id.clone(), dead_owner });
        let outcomes = at_once(&f, vec![owner, other]).await;
        assert_eq!(count_won(outcomes, |error| matches!(error, StoreError::LeaseLost { .. })), 1);
        assert_eq!(f.get(&id).await.cut.turn_count, round + 1);
    }
}

pub async fn one_key_sent_many_times_at_once_is_done_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    for round in 0..rounds() {
        let changes = (0..8).map(|sender| {
            let key = f.key(Some(&id), &format!("key {round}"), &format!("result {sender}"));
            let turns = f.turns(1);
            f.change().once(Some(key)).write(append(&id, turns))
        });
        let receipts: Vec<Receipt> =
            at_once(&f, changes.collect()).await.into_iter().map(|outcome| outcome.unwrap()).collect();
        let first = receipts.iter().find(|receipt| !receipt.replayed).unwrap();
        let replays = receipts.iter().filter(|receipt| receipt.replayed);
        assert_eq!(replays.clone().count(), 7);
        for replay in replays {
            assert_eq!((&replay.result, &replay.sessions), (&first.result, &first.sessions));
        }
        assert_eq!(f.get(&id).await.cut.turn_count, round + 1);
    }
}

pub async fn forks_beside_appends_in_place_are_never_refused(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(3).await;
    for _ in 0..rounds() {
        let record = f.get(&parent).await;
        let count = record.cut.turn_count;
        let mut changes: Vec<_> = (0..3).map(|_| f.fork_of(&record, count).1).collect();
        for _ in 0..3 {
            let turns = f.turns(1);
            changes.push(f.change().write(append(&parent, turns)));
        }
        assert_eq!(count_won(at_once(&f, changes).await, |_| false), 6);
    }
    assert_eq!(f.get(&parent).await.cut.turn_count, 3 + 3 * rounds());
}

pub async fn moves_of_one_version_at_once_leave_one_checkpoint(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(5).await;
    for _ in 0..rounds().min(15) {
        let record = f.get(&id).await;
        let before = f.store.list_checkpoints(&id).await.unwrap().len();
        let changes = (0..4).map(|back| {
            let to = membrane_core::history::Cut { turn_count: back, ..record.cut };
            let (_, change) = f.move_to(&id, to, CheckpointKind::Rewind);
            change.require(Requirement::Version { session: id.clone(), version: record.version })
        });
        let won = count_won(at_once(&f, changes.collect()).await, |error| {
            matches!(error, StoreError::Conflict { .. })
        });
        assert_eq!((won, f.store.list_checkpoints(&id).await.unwrap().len()), (1, before + 1));
        // As many as any of them may move to, wherever the winner went.
        f.append(&id, 3).await;
    }
}

pub async fn readers_see_whole_changes_only(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    let writes = rounds();
    let writer = tokio::spawn({
        let (f, id) = (f.clone(), id.clone());
        async move {
            for _ in 0..writes {
                f.append(&id, 3).await;
                let left = f.rewind(&id, f.get(&id).await.cut.turn_count - 1).await;
                f.restore(&id, &left).await;
            }
        }
    });
    let mut last = 0;
    while last < writes * 3 {
        let thread = f.thread(&id).await;
        let (count, shown) = (thread.session.cut.turn_count, thread.turns.len());
        assert_eq!(u64::try_from(shown), Ok(count), "a thread is one snapshot");
        assert!(count % 3 != 1, "{count} turns: half of a change");
        assert_eq!(thread.session.totals.succeeded.unsigned_abs(), count);
        last = if writer.is_finished() { writes * 3 } else { count.min(writes * 3 - 1) };
    }
    writer.await.unwrap();
    assert_eq!(f.get(&id).await.cut.turn_count, writes * 3);
}

pub async fn a_dropped_commit_leaves_all_or_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let mut sessions = Vec::new();
    for round in 0..rounds() {
        let id = f.create().await;
        let turns = f.turns(5);
        let change = f.change().write(append(&id, turns));
        // Polled a few times at the most, then dropped.
        let patience = Duration::from_micros(round * 20 % 400);
        let answered = tokio::time::timeout(patience, f.store.commit(change)).await.is_ok();
        f.say(&id, "after").await;
        sessions.push((id, answered));
    }
    for (id, answered) in sessions {
        let said = f.said(&id).await;
        let complete = f.turns(5).into_iter().map(|turn| turn.user.content);
        let others: Vec<_> = said.iter().filter(|text| *text != "after").cloned().collect();
        assert!(others.is_empty() || others.iter().cloned().eq(complete), "half of a change: {said:?}");
        assert!(!answered || said.len() == 6, "what was answered is there: {said:?}");
    }
}

pub async fn a_signal_on_a_turn_that_is_forked_all_the_time_gets_through(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(2).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let forkers: Vec<_> = (0..6)
        .map(|_| {
            let (f, parent, is_over) = (f.clone(), parent.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut forks = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    forks.push(f.fork(&parent, 1).await);
                    // Few at a time: each signal counts in all of them.
                    if forks.len() > 4 {
                        f.delete(&forks.remove(0)).await;
                    }
                }
                forks
            })
        })
        .collect();
    for _ in 0..rounds() / 5 {
        f.signal(&parent, 0, SignalKind::Negative).await;
        f.signal(&parent, 0, SignalKind::Positive).await;
    }
    f.signal(&parent, 0, SignalKind::Negative).await;
    is_over.store(true, Ordering::Relaxed);
    for forker in forkers {
        for fork in forker.await.unwrap() {
            assert_eq!(f.get(&fork).await.flipped, 1);
        }
    }
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

pub async fn appends_to_forks_beside_signals_on_their_turn_are_each_there_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(1).await;
    let mut forks = Vec::new();
    for _ in 0..24 {
        forks.push(f.fork(&parent, 1).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    // Each signal locks all of the forks, and writes them.
    let signals = {
        let (f, parent, is_over) = (f.clone(), parent.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                f.signal(&parent, 0, SignalKind::Negative).await;
                f.signal(&parent, 0, SignalKind::Positive).await;
            }
        })
    };
    let appends: Vec<_> = forks
        .iter()
        .map(|fork| {
            let (f, fork) = (f.clone(), fork.clone());
            tokio::spawn(async move {
                for number in 0..rounds() {
                    f.say(&fork, &number.to_string()).await;
                }
            })
        })
        .collect();
    for append in appends {
        append.await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    signals.await.unwrap();
    let all: Vec<_> = (0..rounds()).map(|number| number.to_string()).collect();
    for fork in &forks {
        assert_eq!(f.said(fork).await[1..], all);
    }
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}
