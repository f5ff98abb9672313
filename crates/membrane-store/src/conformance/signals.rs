//! Signals: they belong to the turn and count in every session that holds it.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::evidence::Evidence;
use membrane_core::turn::{Signal, SignalKind, TurnStatus};

use super::fixture::{Fixture, append};
use crate::{Store, Write};

pub async fn signals_come_back_with_their_turn_oldest_first(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    let at = f.history(&id).await.locate(1).unwrap();
    let comments = [None, Some(String::new()), Some("why\0 not? 🙂".to_owned())];
    let kinds = [SignalKind::Correction, SignalKind::Negative, SignalKind::Positive];
    let mut added = Vec::new();
    for (comment, kind) in comments.into_iter().zip(kinds) {
        let signal = Signal { kind, comment, created_at: f.now() };
        let receipt = f.write(Write::AddSignal { at, signal: signal.clone() }).await;
        assert_eq!(receipt.sessions, []);
        added.push(signal);
    }
    let kept = f.kept(&id).await;
    assert_eq!(kept[1].signals, added);
    assert!(kept[0].signals.is_empty() && kept[2].signals.is_empty());
}

pub async fn a_signal_touches_neither_version_nor_activity(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let before = f.get(&id).await;
    f.signal(&id, 0, SignalKind::Negative).await;
    let after = f.get(&id).await;
    assert_eq!((after.flipped, after.totals), (1, before.totals));
    assert_eq!((after.version, after.last_active), (before.version, before.last_active));
}

pub async fn the_latest_signal_counts_and_the_latest_is_the_one_added_last(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let at = f.history(&id).await.locate(0).unwrap();
    let now = f.now();
    for (kind, seconds_ago, flipped) in [
        (SignalKind::Negative, 0, 1),
        (SignalKind::Correction, 5, 1),
        (SignalKind::Positive, 100, 0),
        (SignalKind::Positive, 0, 0),
        (SignalKind::Correction, 1_000, 1),
        (SignalKind::Negative, 0, 1),
    ] {
        let created_at = now.minus(std::time::Duration::from_secs(seconds_ago));
        f.write(Write::AddSignal { at, signal: Signal { kind, comment: None, created_at } }).await;
        let thread = f.thread(&id).await;
        assert_eq!((thread.session.flipped, thread.turns[0].flipped), (flipped, flipped), "{kind:?}");
    }
}

pub async fn only_an_observed_success_can_be_turned(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let mut interrupted = f.turn("cut off");
    interrupted.status = TurnStatus::Interrupted;
    let mut failed = f.turn("error");
    failed.status = TurnStatus::Failed;
    let turns = vec![
        interrupted,
        failed,
        f.tool_turn("bad tool", false),
        f.tool_turn("good tool", true),
        f.turn("plain"),
    ];
    f.write(append(&id, turns)).await;
    for number in 0..5 {
        f.signal(&id, number, SignalKind::Negative).await;
    }
    let thread = f.thread(&id).await;
    let flips: Vec<_> = thread.turns.iter().map(|kept| kept.flipped).collect();
    assert_eq!(flips, [0, 0, 0, 1, 2]);
    let evidence = thread.session.evidence();
    assert!((evidence.alpha - 1.0).abs() < 1e-9 && (evidence.beta - 4.0).abs() < 1e-9, "{evidence:?}");
}

pub async fn every_session_that_holds_the_turn_follows_at_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(4).await;
    let (with, without) = (f.fork(&parent, 3).await, f.fork(&parent, 2).await);
    let grandchild = f.fork(&with, 3).await;
    f.append(&grandchild, 2).await;
    f.append(&without, 2).await;
    let merge = f.merge(&without, &with).await;
    let (rewound, stranger) = (f.fork(&parent, 4).await, f.session(4).await);
    f.rewind(&rewound, 2).await;
    f.signal(&grandchild, 2, SignalKind::Correction).await;
    for (id, flipped) in [
        (&parent, 1),
        (&with, 1),
        (&grandchild, 1),
        (&merge, 1),
        (&without, 0),
        (&rewound, 0),
        (&stranger, 0),
    ] {
        assert_eq!(f.get(id).await.flipped, flipped);
    }
    f.signal(&merge, 4, SignalKind::Positive).await;
    for id in [&parent, &with, &grandchild, &merge] {
        assert_eq!(f.get(id).await.flipped, 0, "whoever takes it back takes it back for all");
    }
}

pub async fn who_comes_later_to_a_turned_turn_counts_it_too(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(3).await;
    f.signal(&parent, 0, SignalKind::Negative).await;
    f.signal(&parent, 2, SignalKind::Negative).await;
    let (two, three) = (f.fork(&parent, 2).await, f.fork(&parent, 3).await);
    assert_eq!((f.get(&two).await.flipped, f.get(&three).await.flipped), (1, 2));
    let merge = f.merge(&two, &parent).await;
    assert_eq!(f.get(&merge).await.flipped, 2);
    f.append(&three, 1).await;
    assert_eq!(f.get(&three).await.flipped, 2, "an append keeps the count");
}

pub async fn a_rewind_takes_its_evidence_back_and_a_restore_brings_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(4).await;
    f.signal(&id, 1, SignalKind::Negative).await;
    let before = f.get(&id).await.evidence();
    f.append(&id, 2).await;
    f.signal(&id, 5, SignalKind::Negative).await;
    let full = f.get(&id).await.evidence();
    let left = f.rewind(&id, 4).await;
    assert_eq!(f.get(&id).await.evidence(), before);
    f.rewind(&id, 0).await;
    assert_eq!(f.get(&id).await.evidence(), Evidence::NONE);
    f.restore(&id, &left).await;
    assert_eq!(f.get(&id).await.evidence(), full);
    f.rewind(&id, 1).await;
    let at = f.kept(&id).await[0].at;
    let signal = Signal { kind: SignalKind::Negative, comment: None, created_at: f.now() };
    f.write(Write::AddSignal { at, signal }).await;
    let checkpoint = f.checkpoint(&id, &left).await;
    f.commit(f.restore_of(&checkpoint)).await;
    assert_eq!(f.get(&id).await.flipped, 3, "a restore derives afresh");
}

pub async fn loading_a_part_counts_the_turned_ones_before_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(6).await;
    let id = f.fork(&parent, 4).await;
    f.append(&id, 3).await;
    for number in [0, 2, 3, 5] {
        f.signal(&id, number, SignalKind::Negative).await;
    }
    let cut = f.get(&id).await.cut;
    for start in 0..7 {
        let some = f.store.load_turns(cut, start..7).await.unwrap();
        let flips: Vec<_> = some.iter().map(|kept| kept.flipped).collect();
        let expected = &[1, 1, 2, 3, 3, 4, 4][usize::try_from(start).unwrap()..];
        assert_eq!(flips, expected, "from turn {start}");
        assert_eq!(f.store.load_thread(&id, start..7).await.unwrap().unwrap().turns, some);
    }
}

pub async fn signals_go_with_their_turn(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    f.signal(&id, 2, SignalKind::Negative).await;
    let at = f.kept(&id).await[2].at;
    let left = f.rewind(&id, 2).await;
    f.write(Write::DeleteCheckpoint { session: id.clone(), id: left }).await;
    assert_eq!(f.store.find_marks(&[at]).await.unwrap(), []);
    let signal = Signal { kind: SignalKind::Positive, comment: None, created_at: f.now() };
    let error = f.refused_write(Write::AddSignal { at, signal }).await;
    super::fixture::assert_refused!(error, crate::StoreError::NotFound { subject: crate::Subject::Turn, .. });
    f.append(&id, 1).await;
    assert_eq!(f.get(&id).await.flipped, 0);
}
