//! Merges: new histories of slices over the sources' segments.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::collections::BTreeMap;
use std::sync::Arc;

use membrane_core::evidence::{LegacySet, unite_legacy};
use membrane_core::ids::SessionId;
use membrane_core::merge;
use membrane_core::session::NewSession;
use membrane_core::turn::{SignalKind, Totals};

use super::fixture::Fixture;
use crate::change::Origin;
use crate::{Store, Write};

/// The totals of a session and of each of its turns follow from its turns.
async fn adds_up(f: &Fixture, id: &SessionId) {
    let thread = f.thread(id).await;
    let mut totals = Totals::ZERO;
    for kept in &thread.turns {
        totals = totals + kept.turn.measures();
        assert_eq!(kept.totals, totals, "after turn {}", kept.number);
    }
    assert_eq!(thread.session.totals, totals);
}

pub async fn a_merge_shows_both_and_marks_its_sources(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let left = f.session(3).await;
    let right = f.fork(&left, 2).await;
    f.say(&right, "right's").await;
    f.say(&left, "left's").await;
    let versions = (f.get(&left).await.version, f.get(&right).await.version);
    let (id, change) = f.merge_of(&f.get(&left).await, &f.get(&right).await).await.unwrap();
    let receipt = f.commit(change).await;
    let order: Vec<_> = receipt.sessions.iter().map(|stamp| stamp.id.clone()).collect();
    assert_eq!(order, [id.clone(), left.clone(), right.clone()], "in the order of the first writing");
    assert_eq!(f.said(&id).await, ["turn 0", "turn 1", "turn 2", "left's", "right's"]);
    adds_up(&f, &id).await;
    let (l, r) = (f.get(&left).await, f.get(&right).await);
    assert_eq!((l.version, r.version), (versions.0 + 1, versions.1 + 1));
    assert_eq!((l.is_merged, r.is_merged), (true, true));
    assert_eq!((l.merged_into, r.merged_into), (Some(id.clone()), Some(id.clone())));
    assert_eq!(f.get(&id).await.version, 1);
    assert_eq!(f.stats().await.turns_stored, 5, "no turn is copied");
}

pub async fn an_interleaved_merge_alternates_between_segments(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (left, right) = (f.create().await, f.create().await);
    for round in 0..10 {
        f.say(&left, &format!("left {round}")).await;
        f.say(&right, &format!("right {round}")).await;
    }
    let (l, r) = (f.get(&left).await, f.get(&right).await);
    let marks = (f.store.list_marks(l.cut).await.unwrap(), f.store.list_marks(r.cut).await.unwrap());
    let spans = merge::interleave(&marks.0, &marks.1);
    let known: BTreeMap<_, _> = marks.0.into_iter().chain(marks.1).map(|mark| (mark.at, mark)).collect();
    let slices = merge::lay_out(&spans, &known).unwrap();
    assert_eq!(slices.len(), 20);
    let (id, change) = f.merge_into(&l, &r, Origin::Slices { slices: slices.clone(), legacy: Vec::new() });
    f.commit(change).await;
    let expected: Vec<_> =
        (0..10).flat_map(|round| [format!("left {round}"), format!("right {round}")]).collect();
    assert_eq!(f.said(&id).await, expected);
    assert_eq!(f.history(&id).await.slices, slices);
    adds_up(&f, &id).await;
    for range in [0..3, 7..8, 5..16, 19..20] {
        let some = f.store.load_thread(&id, range.clone()).await.unwrap().unwrap().turns;
        let numbers: Vec<_> = some.iter().map(|kept| kept.number).collect();
        assert_eq!(numbers, range.collect::<Vec<_>>());
    }
    f.signal(&id, 13, SignalKind::Negative).await;
    assert_eq!(
        (f.get(&id).await.flipped, f.get(&right).await.flipped, f.get(&left).await.flipped),
        (1, 1, 0)
    );
    f.delete(&left).await;
    assert_eq!(f.said(&id).await, expected, "a merge outlives its sources");
    f.delete(&right).await;
    assert_eq!(f.said(&id).await, expected);
    adds_up(&f, &id).await;
    let fork = f.fork(&id, 7).await;
    f.say(&fork, "on").await;
    f.delete(&id).await;
    assert_eq!(f.said(&fork).await.len(), 8);
    assert_eq!(f.stats().await.turns_stored, 8, "of both segments only what the fork sees is left");
}

pub async fn a_merge_is_appended_to_in_a_segment_of_its_own(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (left, right) = (f.session(2).await, f.session(2).await);
    let id = f.merge(&left, &right).await;
    let laid_out = f.get(&id).await.cut.history;
    f.say(&id, "on").await;
    f.say(&id, "and on").await;
    f.say(&left, "left goes on").await;
    assert_eq!(f.said(&id).await[3..], ["turn 1", "on", "and on"]);
    assert_eq!(f.store.find_history(laid_out).await.unwrap(), None, "nothing points at it any more");
    adds_up(&f, &id).await;
}

pub async fn a_merge_of_nothing_is_empty_and_can_go_on(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (left, right) = (f.create().await, f.create().await);
    let id = f.merge(&left, &right).await;
    assert_eq!((f.get(&id).await.cut.turn_count, f.history(&id).await.slices.len()), (0, 0));
    let fork = f.fork(&id, 0).await;
    f.say(&id, "first").await;
    f.say(&fork, "other first").await;
    assert_eq!((f.said(&id).await, f.said(&fork).await), (vec!["first".into()], vec!["other first".into()]));
}

pub async fn merging_unites_the_legacy_observations(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let set = |origin: &str, alpha| LegacySet { origin: SessionId::from_stored(origin), alpha, beta: 1.0 };
    let mut sources = Vec::new();
    for legacy in [vec![set("a", 1.0), set("b", 2.0)], vec![set("b", 2.0), set("c", 4.0)]] {
        let id = f.session_id();
        let origin = Origin::Empty { legacy };
        f.write(Write::CreateSession { session: NewSession::root(id.clone()), origin, created_at: None })
            .await;
        sources.push(id);
    }
    let id = f.merge(&sources[0], &sources[1]).await;
    assert!((f.get(&id).await.legacy.alpha - 7.0).abs() < 1e-9, "each origin counts once");
    let (left, right) = (f.history(&sources[0]).await, f.history(&sources[1]).await);
    assert_eq!(f.history(&id).await.legacy, unite_legacy(&left.legacy, &right.legacy));
}

pub async fn merging_a_fork_into_its_source_adds_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let source = f.session(4).await;
    let fork = f.fork(&source, 4).await;
    let id = f.merge(&source, &fork).await;
    assert_eq!(f.kept(&id).await, f.kept(&source).await);
    f.signal(&source, 1, SignalKind::Correction).await;
    assert_eq!(f.get(&id).await.evidence(), f.get(&source).await.evidence());
}
