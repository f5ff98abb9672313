//! Checkpoints and restores.

use membrane::{ChatError, CheckpointId, CheckpointKind, DomainError, SignalKind, Subject, WriteOptions};

use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    restoring_a_checkpoint_gives_back_what_was,
    a_checkpoint_tells_what_it_holds_after_its_session_moved,
    a_restore_goes_forwards_again,
    checkpoints_are_listed_newest_first_with_their_kind,
    restoring_where_the_session_stands_is_fine,
    a_restore_counts_the_signals_of_now,
    a_named_checkpoint_keeps_its_turns_when_their_session_is_deleted,
    a_gap_is_restored_up_to_it_and_said,
    a_deleted_checkpoint_is_gone_with_what_only_it_held,
    the_checkpoint_of_another_session_is_not_found,
    only_the_newest_twenty_automatic_ones_are_kept,
    a_busy_session_can_be_checkpointed_but_not_restored,
);

async fn restoring_a_checkpoint_gives_back_what_was(keep: &Keep) {
    let id = keep.session_of(3).await.id;
    let before = keep.essence(&id).await;
    let left = keep.chat.checkpoint(&id, Some("here".into()), None).await.unwrap();
    assert_eq!(
        (left.name.as_deref(), left.kind, left.cut.turn_count),
        (Some("here"), CheckpointKind::Named, 3)
    );
    keep.extend(&id, 2).await;
    keep.chat.rewind(&id, 4, WriteOptions::default()).await.unwrap();
    keep.say(&id, "else").await;
    let restored = keep.chat.restore(&id, &left.id, None).await.unwrap();
    assert_eq!((restored.missing, restored.session.turn_count()), (0, 3));
    assert_eq!(keep.essence(&id).await, before);
    keep.say(&id, "on").await;
    assert_eq!(keep.words(&id).await, ["u0", "u1", "u2", "on"]);
}

async fn a_checkpoint_tells_what_it_holds_after_its_session_moved(keep: &Keep) {
    let id = keep.session_of(0).await.id;
    let empty = keep.chat.checkpoint(&id, None, None).await.unwrap();
    keep.extend(&id, 3).await;
    let left = keep.chat.checkpoint(&id, None, None).await.unwrap();
    keep.chat.rewind(&id, 3, WriteOptions::default()).await.unwrap();
    keep.say(&id, "else").await;
    let last = keep.chat.find_last_turn(&left).await.unwrap().unwrap();
    assert_eq!((last.turn.user.content.as_str(), last.number, last.totals.succeeded), ("u2", 2, 3));
    assert_eq!(keep.chat.find_last_turn(&empty).await.unwrap(), None);
}

async fn a_restore_goes_forwards_again(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let early = keep.chat.checkpoint(&id, None, None).await.unwrap();
    keep.extend(&id, 3).await;
    let late = keep.essence(&id).await;
    keep.chat.restore(&id, &early.id, None).await.unwrap();
    assert_eq!(keep.words(&id).await.len(), 2);
    let undo = keep.chat.list_checkpoints(&id).await.unwrap().remove(0);
    assert_eq!((undo.kind, undo.cut.turn_count), (CheckpointKind::Restore, 5));
    keep.chat.restore(&id, &undo.id, None).await.unwrap();
    assert_eq!(keep.essence(&id).await, late);
}

async fn checkpoints_are_listed_newest_first_with_their_kind(keep: &Keep) {
    let id = keep.session_of(3).await.id;
    let named = keep.chat.checkpoint(&id, None, None).await.unwrap();
    keep.chat.rewind(&id, 1, WriteOptions::default()).await.unwrap();
    keep.chat.restore(&id, &named.id, None).await.unwrap();
    let kinds: Vec<_> = keep.chat.list_checkpoints(&id).await.unwrap().iter().map(|left| left.kind).collect();
    assert_eq!(kinds, [CheckpointKind::Restore, CheckpointKind::Rewind, CheckpointKind::Named]);
}

async fn restoring_where_the_session_stands_is_fine(keep: &Keep) {
    let id = keep.session_of(3).await.id;
    let before = keep.essence(&id).await;
    let here = keep.chat.checkpoint(&id, None, None).await.unwrap();
    let restored = keep.chat.restore(&id, &here.id, None).await.unwrap();
    assert_eq!(restored.missing, 0);
    assert_eq!(keep.essence(&id).await, before);
    keep.say(&id, "on").await;
    assert_eq!(keep.words(&id).await.len(), 4);
}

async fn a_restore_counts_the_signals_of_now(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let left = keep.chat.checkpoint(&id, None, None).await.unwrap();
    keep.chat.feedback(&id, 0, SignalKind::Negative, None, None).await.unwrap();
    let evidence = keep.chat.restore(&id, &left.id, None).await.unwrap().session.evidence();
    assert!((evidence.alpha - 2.0).abs() < 1e-9 && (evidence.beta - 2.0).abs() < 1e-9, "{evidence:?}");
}

async fn a_named_checkpoint_keeps_its_turns_when_their_session_is_deleted(keep: &Keep) {
    let parent = keep.session_of(4).await.id;
    let fork = keep.fork_at(&parent, 4).await.id;
    let left = keep.chat.checkpoint(&fork, None, None).await.unwrap();
    keep.chat.rewind(&fork, 3, WriteOptions::default()).await.unwrap();
    keep.chat.delete_session(&parent).await.unwrap();
    let restored = keep.chat.restore(&fork, &left.id, None).await.unwrap();
    assert_eq!(restored.missing, 0);
    assert_eq!(keep.words(&fork).await, ["u0", "u1", "u2", "u3"]);
}

async fn a_gap_is_restored_up_to_it_and_said(keep: &Keep) {
    let parent = keep.session_of(6).await.id;
    let fork = keep.fork_at(&parent, 6).await.id;
    keep.say(&fork, "own").await;
    keep.chat.rewind(&fork, 5, WriteOptions::default()).await.unwrap();
    keep.chat.delete_session(&parent).await.unwrap();
    let left = keep.chat.list_checkpoints(&fork).await.unwrap().remove(0);
    assert_eq!((left.kind, left.cut.turn_count), (CheckpointKind::Rewind, 7));
    let restored = keep.chat.restore(&fork, &left.id, None).await.unwrap();
    assert_eq!((restored.missing, restored.session.turn_count()), (5, 2));
    assert_eq!(keep.words(&fork).await, ["u0", "u1"]);
    keep.say(&fork, "on").await;
    assert_eq!(keep.words(&fork).await, ["u0", "u1", "on"]);
}

async fn a_deleted_checkpoint_is_gone_with_what_only_it_held(keep: &Keep) {
    let parent = keep.session_of(4).await.id;
    let fork = keep.fork_at(&parent, 4).await.id;
    let left = keep.chat.checkpoint(&fork, None, None).await.unwrap();
    keep.chat.rewind(&fork, 3, WriteOptions::default()).await.unwrap();
    keep.chat.delete_session(&parent).await.unwrap();
    assert_eq!(keep.chat.stats().await.unwrap().turns_stored, 4);
    keep.chat.delete_checkpoint(&fork, &left.id).await.unwrap();
    assert_eq!(keep.chat.stats().await.unwrap().turns_stored, 1);
    for error in [
        refused(keep.chat.delete_checkpoint(&fork, &left.id).await),
        refused(keep.chat.restore(&fork, &left.id, None).await),
    ] {
        let gone = matches!(&error, ChatError::NotFound { subject: Subject::Checkpoint, id }
            if id == left.id.as_str());
        assert!(gone, "{error:?}");
    }
}

async fn the_checkpoint_of_another_session_is_not_found(keep: &Keep) {
    let (a, b) = (keep.session_of(2).await.id, keep.session_of(2).await.id);
    let left = keep.chat.checkpoint(&a, None, None).await.unwrap();
    let error = refused(keep.chat.restore(&b, &left.id, None).await);
    assert!(matches!(error, ChatError::NotFound { subject: Subject::Checkpoint, .. }), "{error:?}");
    let unknown = CheckpointId::from_stored("ckpt-none");
    let error = refused(keep.chat.restore(&a, &unknown, None).await);
    assert!(matches!(error, ChatError::NotFound { subject: Subject::Checkpoint, .. }), "{error:?}");
}

async fn only_the_newest_twenty_automatic_ones_are_kept(keep: &Keep) {
    let id = keep.session_of(30).await.id;
    keep.chat.checkpoint(&id, Some("stays".into()), None).await.unwrap();
    for _ in 0..25 {
        keep.chat.rewind(&id, 1, WriteOptions::default()).await.unwrap();
    }
    let left = keep.chat.list_checkpoints(&id).await.unwrap();
    assert_eq!(left.len(), 21);
    assert_eq!(left[0].cut.turn_count, 6, "the newest is that of the last rewind");
    assert_eq!(left[19].cut.turn_count, 25);
    assert_eq!(left[20].name.as_deref(), Some("stays"));
}

async fn a_busy_session_can_be_checkpointed_but_not_restored(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    keep.begin_run(&id).await;
    let left = keep.chat.checkpoint(&id, None, None).await.unwrap();
    assert_eq!(left.cut.turn_count, 2);
    let error = refused(keep.chat.restore(&id, &left.id, None).await);
    assert!(matches!(error, ChatError::Refused(DomainError::WrongState { .. })), "{error:?}");
}
