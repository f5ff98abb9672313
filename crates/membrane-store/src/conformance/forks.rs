//! Forks: they share what they took along and nothing else.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::branches::{BranchNode, breadth_first};
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::session::NewSession;

use super::fixture::Fixture;
use crate::change::Origin;
use crate::{Store, Write};

pub async fn a_fork_sees_the_prefix_and_copies_no_turn(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(5).await;
    let all = f.thread(&parent).await;
    for fork_point in 0..=5 {
        let fork = f.thread(&f.fork(&parent, fork_point).await).await;
        let taken = usize::try_from(fork_point).unwrap();
        assert_eq!(fork.turns, all.turns[..taken]);
        assert_eq!((fork.session.version, fork.session.fork_point), (1, Some(fork_point)));
        assert_eq!(fork.session.parent_id.as_ref(), Some(&parent));
        let totals = all.turns[..taken].last().map(|kept| kept.totals).unwrap_or_default();
        assert_eq!(fork.session.totals, totals);
    }
    assert_eq!(f.thread(&parent).await, all, "the parent does not change");
    let stats = f.stats().await;
    assert_eq!((stats.turns_stored, stats.histories, stats.turns_shown), (5, 1, 20));
}

pub async fn a_fork_and_its_parent_go_their_own_ways(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(3).await;
    let (at_end, inside) = (f.fork(&parent, 3).await, f.fork(&parent, 1).await);
    f.say(&parent, "parent goes on").await;
    f.say(&at_end, "fork goes on").await;
    f.say(&inside, "other goes on").await;
    f.say(&at_end, "and on").await;
    f.say(&parent, "and on").await;
    assert_eq!(f.said(&parent).await, ["turn 0", "turn 1", "turn 2", "parent goes on", "and on"]);
    assert_eq!(f.said(&at_end).await, ["turn 0", "turn 1", "turn 2", "fork goes on", "and on"]);
    assert_eq!(f.said(&inside).await, ["turn 0", "other goes on"]);
    let histories = [f.history(&parent).await, f.history(&at_end).await, f.history(&inside).await];
    assert_eq!(histories.map(|history| history.slices.len()), [1, 2, 2]);
    assert_eq!(f.kept(&parent).await[..3], f.kept(&at_end).await[..3], "shared turns are the same turns");
}

pub async fn a_forks_first_append_opens_a_segment_and_the_next_goes_in_place(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(2).await;
    let fork = f.fork(&parent, 2).await;
    let shared = f.get(&fork).await.cut.history;
    assert_eq!(shared, f.get(&parent).await.cut.history);
    f.append(&fork, 1).await;
    let own = f.get(&fork).await.cut.history;
    assert_ne!(own, shared);
    f.append(&fork, 1).await;
    assert_eq!(f.get(&fork).await.cut.history, own);
    let kept = f.kept(&fork).await;
    assert_eq!(kept[2].at.segment, kept[3].at.segment);
    assert_eq!((kept[2].at.position, kept[3].at.position), (0, 1), "a fresh segment counts from 0");
    assert!(kept[2].order_at > kept[1].order_at);
}

pub async fn the_last_user_of_a_history_takes_it_along(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(2).await;
    let (left, right) = (f.fork(&parent, 2).await, f.fork(&parent, 1).await);
    f.append(&left, 1).await;
    f.append(&right, 1).await;
    let shared = f.get(&parent).await.cut.history;
    f.delete(&parent).await;
    assert_eq!(f.store.find_history(shared).await.unwrap(), None, "nothing points at it any more");
    assert_eq!(f.stats().await.histories, 2);
    let child = f.fork(&left, 2).await;
    let before = f.get(&left).await.cut.history;
    f.delete(&left).await;
    assert!(f.store.find_history(before).await.unwrap().is_some(), "the fork still points at it");
    f.append(&child, 1).await;
    assert_eq!(f.store.find_history(before).await.unwrap(), None, "its first append leaves it");
    assert_eq!(f.said(&child).await.len(), 3);
    assert_eq!((f.stats().await.histories, f.stats().await.turns_stored), (2, 4));
}

pub async fn forks_of_forks_read_from_each_ancestor(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let mut last = f.session(3).await;
    let mut expected = f.said(&last).await;
    for level in 0..6_u64 {
        let taken = level + 2;
        last = f.fork(&last, taken).await;
        expected.truncate(usize::try_from(taken).unwrap());
        for word in ["a", "b"] {
            let text = format!("{word}{level}");
            f.say(&last, &text).await;
            expected.push(text);
        }
        assert_eq!(f.said(&last).await, expected);
    }
    let thread = f.thread(&last).await;
    assert_eq!(thread.turns.last().map(|kept| kept.totals), Some(thread.session.totals));
    let refs: std::collections::BTreeSet<_> = thread.turns.iter().map(|kept| kept.at).collect();
    assert_eq!(refs.len(), thread.turns.len(), "an identity stands for one turn");
}

pub async fn a_fork_takes_the_legacy_observations_along(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session_id();
    let legacy = vec![LegacySet { origin: SessionId::from_stored("old"), alpha: 3.0, beta: 0.5 }];
    let origin = Origin::Empty { legacy: legacy.clone() };
    let session = NewSession::root(parent.clone());
    f.write(Write::CreateSession { session, origin, created_at: None }).await;
    f.append(&parent, 2).await;
    let fork = f.fork(&parent, 0).await;
    assert_eq!(f.get(&fork).await.legacy, f.get(&parent).await.legacy);
    f.append(&fork, 1).await;
    assert_eq!(f.history(&fork).await.legacy, legacy, "its own history holds them too");
    f.delete(&parent).await;
    assert!((f.get(&fork).await.evidence().alpha - 5.0).abs() < 1e-9);
}

pub async fn a_family_is_listed_with_its_dead(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (root, stranger) = (f.session(2).await, f.session(1).await);
    let (a, b) = (f.fork(&root, 1).await, f.fork(&root, 2).await);
    let c = f.fork(&a, 1).await;
    let change = f.change();
    let deleted_at = change.now;
    f.commit(change.write(Write::DeleteSession { session: a.clone() })).await;
    let nodes = breadth_first(f.store.list_family(&root).await.unwrap());
    assert_eq!(
        nodes.iter().map(|node| node.id().clone()).collect::<Vec<_>>(),
        [root.clone(), b, a.clone(), c.clone()]
    );
    for node in &nodes {
        match node {
            BranchNode::Live(session) => assert_eq!(**session, f.get(&session.id).await),
            BranchNode::Deleted(tombstone) => {
                assert_eq!((&tombstone.id, &tombstone.family), (&a, &root));
                assert_eq!((tombstone.parent_id.as_ref(), tombstone.fork_point), (Some(&root), Some(1)));
                assert_eq!(tombstone.deleted_at, deleted_at);
            }
        }
    }
    assert_eq!(f.get(&c).await.parent_id, Some(a), "a deleted parent's id stays in its children");
    assert_eq!(f.store.list_family(&stranger).await.unwrap().len(), 1);
}
