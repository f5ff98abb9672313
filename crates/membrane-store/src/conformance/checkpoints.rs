//! Checkpoints: names for cuts that keep turns alive, or do not.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::history::Cut;
use membrane_core::ids::CheckpointId;

use super::fixture::{Fixture, assert_refused};
use crate::{Store, StoreError, Subject, Write};

pub async fn a_named_checkpoint_comes_back_as_it_was_made(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(3).await, f.session(1).await);
    let before = f.get(&id).await;
    for (name, turn_count) in [(Some("here".to_owned()), 3), (None, 1), (Some(String::new()), 0)] {
        let checkpoint = CheckpointId::generate(&*f.ids);
        let cut = Cut { turn_count, ..before.cut };
        let change = f.change();
        let expected = Checkpoint {
            id: checkpoint.clone(),
            session: id.clone(),
            cut,
            name: name.clone(),
            kind: CheckpointKind::Named,
            created_at: change.now,
        };
        let create = Write::CreateCheckpoint { id: checkpoint.clone(), session: id.clone(), name, cut };
        let receipt = f.commit(change.write(create)).await;
        assert_eq!(receipt.sessions, [], "the session's record is not touched");
        assert_eq!(f.checkpoint(&id, &checkpoint).await, expected);
        assert_eq!(f.store.find_checkpoint(&other, &checkpoint).await.unwrap(), None, "it is another's");
    }
    assert_eq!(f.get(&id).await, before);
    assert_eq!(f.store.list_checkpoints(&other).await.unwrap(), []);
}

pub async fn checkpoints_are_listed_in_the_order_of_making_last_first(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let cut = f.get(&id).await.cut;
    let now = f.now();
    let mut made = Vec::new();
    for (number, back) in [0, 0, 0, 50, 10, 0].into_iter().enumerate() {
        // Ids that sort against the order of making, times that stand still or run backwards.
        let checkpoint = CheckpointId::from_stored(&format!("c{}", 9 - number));
        let mut change = f.change();
        change.now = now.minus(Duration::from_secs(back));
        let (id, session, name) = (checkpoint.clone(), id.clone(), None);
        f.commit(change.write(Write::CreateCheckpoint { id, session, name, cut })).await;
        made.insert(0, checkpoint);
    }
    let listed: Vec<_> =
        f.store.list_checkpoints(&id).await.unwrap().into_iter().map(|checkpoint| checkpoint.id).collect();
    assert_eq!(listed, made);
}

pub async fn a_taken_checkpoint_id_is_refused(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(1).await, f.session(1).await);
    let taken = f.name_place(&id, "first").await;
    let cut = f.get(&other).await.cut;
    for session in [&id, &other] {
        let (id, session, name) = (taken.clone(), session.clone(), None);
        let error = f.refused_write(Write::CreateCheckpoint { id, session, name, cut }).await;
        assert_refused!(error, StoreError::AlreadyExists { subject: Subject::Checkpoint, .. });
    }
    assert_eq!(f.checkpoint(&id, &taken).await.name.as_deref(), Some("first"));
}

pub async fn a_deleted_checkpoint_is_gone_and_only_its_own_session_may_delete_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(2).await, f.session(2).await);
    let checkpoint = f.name_place(&id, "mine").await;
    let delete = |session: &membrane_core::ids::SessionId| Write::DeleteCheckpoint {
        session: session.clone(),
        id: checkpoint.clone(),
    };
    let error = f.refused_write(delete(&other)).await;
    assert_refused!(error, StoreError::NotFound { subject: Subject::Checkpoint, .. });
    let receipt = f.write(delete(&id)).await;
    assert_eq!(receipt.sessions, []);
    assert_eq!(f.store.find_checkpoint(&id, &checkpoint).await.unwrap(), None);
    let error = f.refused_write(delete(&id)).await;
    assert_refused!(error, StoreError::NotFound { subject: Subject::Checkpoint, .. });
    assert_eq!(f.said(&id).await.len(), 2, "what the session sees stays");
}

pub async fn deleting_a_checkpoint_removes_what_nothing_else_reaches(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(6).await;
    let (all, some) = (f.name_place(&id, "six").await, f.rewind(&id, 4).await);
    let four = f.name_place(&id, "four").await;
    f.rewind(&id, 1).await;
    let delete =
        |checkpoint: &CheckpointId| Write::DeleteCheckpoint { session: id.clone(), id: checkpoint.clone() };
    f.write(delete(&all)).await;
    assert_eq!(f.stats().await.turns_stored, 6, "the rewind's own checkpoint still sees six");
    f.write(delete(&some)).await;
    assert_eq!(f.stats().await.turns_stored, 4);
    f.write(delete(&four)).await;
    assert_eq!(f.stats().await.turns_stored, 4, "the second rewind's still sees four");
    let last = f.store.list_checkpoints(&id).await.unwrap();
    f.write(delete(&last[0].id)).await;
    assert_eq!((f.stats().await.turns_stored, f.said(&id).await.len()), (1, 1));
}

pub async fn a_named_checkpoint_keeps_a_deleted_parents_turns(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(10).await;
    let fork = f.fork(&parent, 10).await;
    let before = f.said(&fork).await;
    let named = f.name_place(&fork, "ten").await;
    f.rewind(&fork, 5).await;
    f.append(&parent, 3).await;
    f.delete(&parent).await;
    assert_eq!(f.stats().await.turns_stored, 10);
    f.restore(&fork, &named).await;
    assert_eq!(f.said(&fork).await, before);
}

pub async fn an_automatic_checkpoint_keeps_nothing_of_a_deleted_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(10).await;
    let fork = f.fork(&parent, 10).await;
    f.append(&fork, 2).await;
    let left = f.rewind(&fork, 5).await;
    let checkpoint = f.checkpoint(&fork, &left).await;
    assert_eq!(checkpoint.cut.turn_count, 12);
    f.delete(&parent).await;
    assert_eq!(f.checkpoint(&fork, &left).await, checkpoint, "the checkpoint itself stays");
    assert_eq!(f.stats().await.turns_stored, 7, "five that the fork sees and the two that are its own");
    let error = f.refused(f.restore_of(&checkpoint)).await;
    assert_refused!(error, StoreError::Gap { intact: 5, turn_count: 12 });
    let shown = f.store.load_turns(checkpoint.cut, 0..u64::MAX).await.unwrap();
    let numbers: Vec<_> = shown.iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 10, 11], "turns that are gone are left out");
    assert_eq!(f.store.list_marks(checkpoint.cut).await.unwrap().len(), 7);
    let intact = Checkpoint { cut: Cut { turn_count: 5, ..checkpoint.cut }, ..checkpoint };
    f.commit(f.restore_of(&intact)).await;
    f.say(&fork, "on").await;
    assert_eq!(f.said(&fork).await.len(), 6);
}

pub async fn an_automatic_checkpoint_of_a_living_owner_keeps_its_turns(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(4).await;
    let (fork, bystander) = (f.fork(&parent, 4).await, f.fork(&parent, 4).await);
    let left = f.rewind(&parent, 1).await;
    f.delete(&fork).await;
    f.delete(&bystander).await;
    assert_eq!(f.stats().await.turns_stored, 4);
    f.restore(&parent, &left).await;
    assert_eq!(f.said(&parent).await.len(), 4);
}
