//! Deleting: what goes, what stays, and what is remembered.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::CheckpointKind;
use membrane_core::crystal::Crystal;
use membrane_core::history::Cut;
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::run::RunShape;
use membrane_core::session::NewSession;
use membrane_core::turn::SignalKind;

use super::fixture::{Fixture, LONG_LEASE, append, assert_refused, create_root, text_pieces};
use crate::change::Origin;
use crate::{Requirement, Store, StoreError, StoreStats, Subject, Write};

/// How many of a family's nodes are tombstones.
async fn count_dead(f: &Fixture, family: &SessionId) -> usize {
    let nodes = f.store.list_family(family).await.unwrap();
    nodes.iter().filter(|node| matches!(node, BranchNode::Deleted(_))).count()
}

pub async fn deleting_the_only_session_leaves_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    f.name_place(&id, "place").await;
    f.rewind(&id, 1).await;
    f.append(&id, 1).await;
    f.signal(&id, 0, SignalKind::Negative).await;
    f.write(Write::SaveCrystal(Crystal {
        session: id.clone(),
        title: String::new(),
        summary: String::new(),
        key_decisions: Vec::new(),
        artifacts: Vec::new(),
        final_evidence: Json::empty_object(),
        final_turn_count: 2,
        created_at: f.now(),
    }))
    .await;
    let run = f.begin(&id, LONG_LEASE).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(0, &["half"]) }).await;
    let receipt = f.delete(&id).await;
    assert_eq!(receipt.sessions, [], "what is gone stands nowhere");
    assert_eq!(f.stats().await, StoreStats::default());
    assert_eq!(f.store.find_session(&id).await.unwrap(), None);
    assert_eq!(f.store.load_thread(&id, 0..9).await.unwrap(), None);
    assert_eq!(f.store.list_checkpoints(&id).await.unwrap(), []);
    assert_eq!(f.store.find_crystal(&id).await.unwrap(), None);
    assert_eq!(f.store.find_run(&id).await.unwrap(), None);
    assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap(), []);
    assert_eq!(f.store.list_lease_owners().await.unwrap(), []);
    assert_eq!(f.store.list_family(&id).await.unwrap(), [], "the last of a family leaves no tombstone");
    assert_refused!(
        f.refused_write(Write::DeleteSession { session: id }).await,
        StoreError::NotFound { subject: Subject::Session, .. }
    );
}

pub async fn the_writer_of_a_deleted_sessions_run_must_stop(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let run = f.begin(&id, LONG_LEASE).await;
    f.delete(&id).await;
    let lease = Requirement::Lease { run: run.id.clone(), token: run.lease.token };
    assert_refused!(
        f.check(lease).await.unwrap_err(),
        StoreError::LeaseLost { run: named } if *named == run.id
    );
    let turn = Box::new(f.turn("late"));
    let error = f.refused_write(Write::FinishRun { run: run.id, turn, shape: RunShape::default() }).await;
    assert_refused!(error, StoreError::NotFound { subject: Subject::Run, .. });
}

pub async fn a_fork_outlives_its_parent_whole(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(5).await;
    f.signal(&parent, 1, SignalKind::Negative).await;
    f.signal(&parent, 4, SignalKind::Negative).await;
    let (idle, active) = (f.fork(&parent, 3).await, f.fork(&parent, 5).await);
    f.append(&active, 2).await;
    f.append(&parent, 4).await;
    let before = (f.thread(&idle).await, f.thread(&active).await);
    assert_eq!(f.stats().await.turns_stored, 11);
    f.delete(&parent).await;
    assert_eq!((f.thread(&idle).await, f.thread(&active).await), before);
    assert_eq!(f.stats().await.turns_stored, 7, "what only the parent saw is gone");
    f.delete(&active).await;
    assert_eq!(f.stats().await.turns_stored, 3);
    assert_eq!(f.thread(&idle).await, before.0);
    f.say(&idle, "on").await;
    assert_eq!(f.said(&idle).await, ["turn 0", "turn 1", "turn 2", "on"]);
    assert_eq!(f.get(&idle).await.flipped, 1);
}

pub async fn deleting_a_fork_leaves_its_parent_whole(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(5).await;
    let fork = f.fork(&parent, 3).await;
    let before = f.thread(&parent).await;
    f.append(&fork, 2).await;
    f.name_place(&fork, "place").await;
    f.delete(&fork).await;
    assert_eq!(f.thread(&parent).await, before);
    assert_eq!(f.stats().await.turns_stored, 5);
    f.append(&parent, 1).await;
    assert_eq!(f.get(&parent).await.cut.history, before.session.cut.history);
}

pub async fn deleting_the_middle_of_a_chain_of_forks_hurts_nobody(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let a = f.session(2).await;
    let b = f.fork(&a, 2).await;
    f.append(&b, 2).await;
    let c = f.fork(&b, 3).await;
    f.append(&c, 2).await;
    let before = (f.thread(&a).await, f.thread(&c).await);
    f.delete(&b).await;
    assert_eq!((f.thread(&a).await, f.thread(&c).await), before);
    assert_eq!(f.stats().await.turns_stored, 5, "b's second turn is gone");
    f.delete(&a).await;
    assert_eq!(f.thread(&c).await, before.1);
    assert_eq!(f.stats().await.turns_stored, 5);
    f.delete(&c).await;
    assert_eq!(f.stats().await, StoreStats::default());
}

pub async fn what_a_rewound_session_left_behind_goes_with_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(6).await;
    f.rewind(&id, 3).await;
    f.append(&id, 2).await;
    f.rewind(&id, 4).await;
    f.append(&id, 1).await;
    let fork = f.fork(&id, 4).await;
    let before = f.thread(&fork).await;
    assert_eq!(f.stats().await.turns_stored, 9);
    f.delete(&id).await;
    assert_eq!(f.thread(&fork).await, before);
    assert_eq!(f.stats().await.turns_stored, 4);
}

pub async fn an_owned_segment_may_lie_behind_the_place_where_its_owner_stands(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    // The owner goes another way and forgets the first one, which only a fork's automatic checkpoint
    // still sees: that goes with the owner all the same.
    let id = f.session(4).await;
    let fork = f.fork(&id, 4).await;
    let left = f.rewind(&fork, 1).await;
    let kept = f.checkpoint(&fork, &left).await.cut;
    let own = f.rewind(&id, 0).await;
    f.append(&id, 1).await;
    f.write(Write::DeleteCheckpoint { session: id.clone(), id: own }).await;
    assert_eq!(f.store.load_turns(kept, 0..9).await.unwrap().len(), 4, "their owner lives");
    f.delete(&id).await;
    assert_eq!(f.store.load_turns(kept, 0..9).await.unwrap().len(), 1);
    assert_eq!(f.stats().await.turns_stored, 1);
    assert_eq!(f.said(&fork).await, ["turn 0"]);
}

pub async fn tombstones_stay_until_the_last_of_the_family_goes(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let root = f.session(1).await;
    let a = f.fork(&root, 1).await;
    let (b, c) = (f.fork(&a, 1).await, f.fork(&a, 0).await);
    f.delete(&root).await;
    f.delete(&a).await;
    f.delete(&b).await;
    assert_eq!(count_dead(&f, &root).await, 3);
    f.delete(&c).await;
    assert_eq!(f.store.list_family(&root).await.unwrap(), []);
    let again = f.session_id();
    let session = NewSession { family: root.clone(), ..NewSession::root(again.clone()) };
    let origin = Origin::Empty { legacy: Vec::new() };
    f.write(Write::CreateSession { session, origin, created_at: None }).await;
    assert_eq!((f.store.list_family(&root).await.unwrap().len(), count_dead(&f, &root).await), (1, 0));
}

pub async fn an_id_that_comes_back_is_no_longer_dead_and_owns_nothing_old(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let root = f.session(3).await;
    let fork = f.fork(&root, 3).await;
    f.delete(&root).await;
    assert_eq!(count_dead(&f, &root).await, 1);
    let before = f.thread(&fork).await;
    f.write(create_root(&root)).await;
    assert_eq!((count_dead(&f, &root).await, f.get(&root).await.version), (0, 1));
    // The new one goes to where the old one stood: the end of what the old one owned.
    let (_, change) = f.move_to(&root, before.session.cut, CheckpointKind::Restore);
    f.commit(change).await;
    f.say(&root, "new owner").await;
    f.say(&fork, "fork").await;
    assert_eq!(f.said(&root).await[3..], ["new owner"]);
    assert_eq!(f.said(&fork).await[3..], ["fork"]);
    assert_ne!(f.kept(&root).await[3].at.segment, before.turns[0].at.segment);
    f.delete(&root).await;
    assert_eq!(f.said(&fork).await.len(), 4);
}

pub async fn one_change_may_delete_and_create(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(3).await, f.session(1).await);
    let (doomed, turns) = (f.turns(2), f.turns(1));
    let change = f
        .change()
        .write(append(&id, doomed))
        .write(Write::DeleteSession { session: id.clone() })
        .write(Write::DeleteSession { session: other.clone() })
        .write(create_root(&id))
        .write(append(&id, turns));
    let receipt = f.commit(change).await;
    let ids: Vec<_> = receipt.sessions.iter().map(|stamp| (stamp.id.clone(), stamp.version)).collect();
    assert_eq!(ids, [(id.clone(), 1)], "the new one, once");
    assert_eq!((f.said(&id).await.len(), f.stats().await.turns_stored), (1, 1));
    let twice = f
        .change()
        .write(Write::DeleteSession { session: id.clone() })
        .write(Write::DeleteSession { session: id.clone() });
    assert_refused!(f.refused(twice).await, StoreError::NotFound { subject: Subject::Session, .. });
    assert_eq!(f.said(&id).await.len(), 1);
}

pub async fn a_turn_that_a_merge_shows_stays(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (left, right) = (f.session(3).await, f.session(2).await);
    let id = f.merge(&left, &right).await;
    f.append(&left, 1).await;
    f.signal(&right, 1, SignalKind::Negative).await;
    let before = f.thread(&id).await;
    f.delete(&right).await;
    f.delete(&left).await;
    assert_eq!(f.thread(&id).await, before);
    assert_eq!((before.session.flipped, f.stats().await.turns_stored), (1, 5));
    assert_eq!(f.get(&id).await.parent_id, Some(left));
}

pub async fn a_cut_inside_a_deleted_owners_segment_can_be_moved_to(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(6).await;
    let fork = f.fork(&parent, 4).await;
    f.delete(&parent).await;
    let cut = f.get(&fork).await.cut;
    f.rewind(&fork, 2).await;
    assert!(f.check(Requirement::Intact { cut }).await.is_ok(), "a rewind is no deletion: it can be undone");
    let (_, back) = f.move_to(&fork, cut, CheckpointKind::Restore);
    f.commit(back.require(Requirement::Intact { cut })).await;
    assert_eq!(f.said(&fork).await.len(), 4);
    let beyond = Cut { turn_count: 6, ..cut };
    let error = f.check(Requirement::Intact { cut: beyond }).await.unwrap_err();
    assert_refused!(error, StoreError::Gap { intact: 4, turn_count: 6 });
}
