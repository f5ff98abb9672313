//! What happens when the session changes between reading and committing: the decision is made anew, never
//! carried out on what it was not made for.

use membrane::{
    Chat, ChatError, CrystalDraft, ForkOptions, MergeOptions, MergeStrategy, NewTurn, SessionId, SignalKind,
    WriteOptions,
};

use crate::keep::{Keep, on_every_store, refused};
use crate::meddling::{Before, Meddling};

on_every_store!(
    a_fork_decided_before_a_rewind_is_decided_again,
    a_fork_decided_before_a_delete_finds_nothing,
    a_rewind_decided_before_an_append_counts_from_the_new_end,
    a_rewind_with_a_version_does_not_try_again,
    a_checkpoint_decided_before_a_rewind_stands_where_the_session_stands,
    a_merge_decided_before_a_rewind_holds_what_is_there_then,
    a_restore_decided_before_its_checkpoint_is_deleted_finds_nothing,
    a_restore_decided_before_turns_are_gone_stops_before_the_gap,
    a_signal_decided_before_its_turn_is_replaced_meets_the_new_one,
    a_crystal_decided_before_an_append_counts_it,
    a_save_decided_before_an_append_is_a_conflict,
    a_save_committed_before_an_append_carries_its_own_version,
    a_new_session_deleted_right_after_its_save_is_not_brought_back,
    a_session_that_never_holds_still_is_unavailable,
);

async fn rewind(chat: Chat, id: SessionId, turns: u64) {
    chat.rewind(&id, turns, WriteOptions::default()).await.unwrap();
}

async fn append(chat: Chat, id: SessionId) {
    chat.append(&id, NewTurn::new("meanwhile", "yes"), WriteOptions::default()).await.unwrap();
}

/// A handle whose next commit comes after a rewind of this session.
fn after_rewind(keep: &Keep, id: &SessionId, turns: u64) -> Chat {
    let id = id.clone();
    Meddling::doing(Before::Commit, &keep.store, 1, move |chat| rewind(chat, id.clone(), turns)).0
}

/// A handle whose next commit comes after an append to this session.
fn after_append(keep: &Keep, id: &SessionId) -> Chat {
    let id = id.clone();
    Meddling::doing(Before::Commit, &keep.store, 1, move |chat| append(chat, id.clone())).0
}

fn draft(id: &SessionId) -> CrystalDraft {
    CrystalDraft {
        session: id.clone(),
        title: "t".into(),
        summary: "s".into(),
        key_decisions: vec![],
        artifacts: vec![],
        key: None,
    }
}

async fn a_fork_decided_before_a_rewind_is_decided_again(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let fork = after_rewind(keep, &id, 2).fork(&id, ForkOptions::default()).await.unwrap();
    assert_eq!((fork.turn_count(), fork.fork_point), (3, Some(3)));
    let at_three = ForkOptions { fork_point: Some(3), ..ForkOptions::default() };
    let error = refused(after_rewind(keep, &id, 1).fork(&id, at_three).await);
    assert!(error.to_string().contains("fork point 3 exceeds the session's 2 turns"), "{error}");
}

async fn a_fork_decided_before_a_delete_finds_nothing(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let gone = id.clone();
    let (chat, _) = Meddling::doing(Before::Commit, &keep.store, 1, move |chat| {
        let gone = gone.clone();
        async move { chat.delete_session(&gone).await.unwrap() }
    });
    let error = refused(chat.fork(&id, ForkOptions::default()).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
    assert_eq!(keep.chat.stats().await.unwrap().sessions, 0);
}

async fn a_rewind_decided_before_an_append_counts_from_the_new_end(keep: &Keep) {
    let id = keep.session_of(3).await.id;
    let session = after_append(keep, &id).rewind(&id, 1, WriteOptions::default()).await.unwrap();
    assert_eq!(session.turn_count(), 3, "it takes off exactly one");
    assert_eq!(keep.words(&id).await, ["u0", "u1", "u2"]);
}

async fn a_rewind_with_a_version_does_not_try_again(keep: &Keep) {
    let session = keep.session_of(3).await;
    let at = WriteOptions::at_version(session.version);
    let error = refused(after_append(keep, &session.id).rewind(&session.id, 1, at).await);
    let both = matches!(error, ChatError::Conflict { expected, actual, .. }
        if (expected, actual) == (session.version, session.version + 1));
    assert!(both, "{error:?}");
    assert_eq!(keep.words(&session.id).await.len(), 4);
}

async fn a_checkpoint_decided_before_a_rewind_stands_where_the_session_stands(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let left = after_rewind(keep, &id, 2).checkpoint(&id, None, None).await.unwrap();
    assert_eq!(left.cut.turn_count, 3);
}

async fn a_merge_decided_before_a_rewind_holds_what_is_there_then(keep: &Keep) {
    for strategy in [MergeStrategy::Sequential, MergeStrategy::Interleave] {
        let (a, b) = (keep.session_of(3).await.id, keep.session_of(4).await.id);
        let merge = async |chat: Chat| chat.merge(&a, &b, MergeOptions::by(strategy)).await.unwrap();
        assert_eq!(merge(after_rewind(keep, &b, 3)).await.turn_count(), 4, "{strategy}");
        assert_eq!(merge(after_rewind(keep, &a, 1)).await.turn_count(), 3, "{strategy}");
    }
}

async fn a_restore_decided_before_its_checkpoint_is_deleted_finds_nothing(keep: &Keep) {
    let session = keep.session_of(5).await;
    let left = keep.chat.checkpoint(&session.id, None, None).await.unwrap();
    let (id, checkpoint) = (session.id.clone(), left.id.clone());
    let (chat, _) = Meddling::doing(Before::Commit, &keep.store, 1, move |chat| {
        let (id, checkpoint) = (id.clone(), checkpoint.clone());
        async move { chat.delete_checkpoint(&id, &checkpoint).await.unwrap() }
    });
    let error = refused(chat.restore(&session.id, &left.id, None).await);
    assert!(error.to_string().contains(left.id.as_str()), "{error}");
    assert_eq!(keep.record(&session.id).await, session);
}

async fn a_restore_decided_before_turns_are_gone_stops_before_the_gap(keep: &Keep) {
    let parent = keep.session_of(6).await.id;
    let fork = keep.fork_at(&parent, 6).await.id;
    keep.chat.rewind(&fork, 4, WriteOptions::default()).await.unwrap();
    let left = keep.chat.list_checkpoints(&fork).await.unwrap().remove(0);
    let (chat, _) = Meddling::doing(Before::Commit, &keep.store, 1, move |chat| {
        let parent = parent.clone();
        async move { chat.delete_session(&parent).await.unwrap() }
    });
    let restored = chat.restore(&fork, &left.id, None).await.unwrap();
    assert_eq!((restored.missing, restored.session.turn_count()), (4, 2));
}

async fn a_signal_decided_before_its_turn_is_replaced_meets_the_new_one(keep: &Keep) {
    let session = keep.session_of(2).await.id;
    let id = session.clone();
    let (chat, _) = Meddling::doing(Before::Commit, &keep.store, 1, move |chat| {
        let id = id.clone();
        async move {
            rewind(chat.clone(), id.clone(), 1).await;
            append(chat, id).await;
        }
    });
    let found = chat.feedback(&session, 1, SignalKind::Negative, None, None).await.unwrap();
    assert_eq!((found.turn.turn.user.content.as_str(), found.turn.signals.len()), ("meanwhile", 1));
    assert!((found.session.evidence().beta - 2.0).abs() < 1e-9, "{:?}", found.session.evidence());
}

async fn a_crystal_decided_before_an_append_counts_it(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let crystal = after_append(keep, &id).save_crystal(draft(&id)).await.unwrap();
    assert_eq!(crystal.final_turn_count, 3);
    assert!(crystal.final_evidence.as_str().contains(r#""prior_alpha":4,"#), "{crystal:?}");
}

async fn a_save_decided_before_an_append_is_a_conflict(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let chat = after_append(keep, &id);
    let mut session = chat.load_session(&id).await.unwrap().unwrap();
    session.turns.truncate(1);
    let error = refused(chat.save_session(&mut session).await);
    assert!(matches!(error, ChatError::Conflict { .. }), "{error:?}");
    assert_eq!(keep.words(&id).await, ["u0", "u1", "meanwhile"]);
}

/// Somebody comes between the commit and reading back: the next save must notice.
async fn a_save_committed_before_an_append_carries_its_own_version(keep: &Keep) {
    let session = keep.session_of(1).await;
    let id = session.id.clone();
    let (chat, _) =
        Meddling::doing(Before::FindSession, &keep.store, 1, move |chat| append(chat, id.clone()));
    let mut loaded = chat.load_session(&session.id).await.unwrap().unwrap();
    loaded.add_turn("mine", "yes");
    let saved = chat.save_session(&mut loaded).await.unwrap();
    assert_eq!((saved.version, loaded.version()), (session.version + 1, Some(session.version + 1)));
    loaded.add_turn("mine again", "yes");
    let error = refused(chat.save_session(&mut loaded).await);
    assert!(matches!(error, ChatError::Conflict { expected, .. } if expected == saved.version), "{error:?}");
    assert_eq!(keep.words(&session.id).await, ["u0", "mine", "meanwhile"]);
}

/// Deleted between the commit and reading back: it was saved, it is gone, and it stays gone.
async fn a_new_session_deleted_right_after_its_save_is_not_brought_back(keep: &Keep) {
    let id = membrane::SessionId::from_stored("short-lived");
    let gone = id.clone();
    let (chat, _) = Meddling::doing(Before::FindSession, &keep.store, 1, move |chat| {
        let gone = gone.clone();
        async move { chat.delete_session(&gone).await.unwrap() }
    });
    let mut session = chat.new_session_with_id(id.clone());
    session.add_turn("a", "b");
    for _ in 0..2 {
        let error = refused(chat.save_session(&mut session).await);
        assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
    }
    assert!(keep.chat.find_session(&id).await.unwrap().is_none());
}

async fn a_session_that_never_holds_still_is_unavailable(keep: &Keep) {
    let session = keep.session_of(1).await.id;
    let id = session.clone();
    let (chat, store) =
        Meddling::doing(Before::Commit, &keep.store, usize::MAX, move |chat| append(chat, id.clone()));
    let error = refused(chat.rewind(&session, 1, WriteOptions::default()).await);
    assert!(matches!(error, ChatError::Unavailable { .. }), "{error:?}");
    assert_eq!(store.commits(), 64);
    assert_eq!(keep.words(&session).await.len(), 65, "nothing was taken off");
}
