//! Idempotency keys: a call is made once, however often it is sent.

use membrane::{
    ChatError, CheckpointKind, ClientKey, CrystalDraft, ForkOptions, MergeOptions, NewSessionOptions,
    NewTurn, SessionPatch, SignalKind, WriteOptions,
};

use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    every_call_sent_twice_is_made_once,
    a_replay_answers_though_the_call_would_be_refused_by_now,
    a_replayed_append_gives_the_place_and_ids_of_the_first_time,
    the_same_key_with_another_body_is_refused,
    the_same_key_on_another_call_or_session_is_another_key,
    a_key_goes_with_its_session,
    the_same_call_from_everywhere_at_once_is_made_once,
    a_replayed_restore_says_again_what_was_missing,
    keys_that_are_empty_or_too_long_are_refused,
);

fn key(word: &str) -> ClientKey {
    ClientKey::for_body(word, b"body")
}

fn once(word: &str) -> WriteOptions {
    WriteOptions::once(key(word))
}

async fn every_call_sent_twice_is_made_once(keep: &Keep) {
    let chat = &keep.chat;
    let create = || NewSessionOptions { key: Some(key("k")), ..Default::default() };
    let made = chat.create_session(create()).await.unwrap();
    assert_eq!(chat.create_session(create()).await.unwrap(), made);
    let id = &made.id;
    keep.extend(id, 4).await;

    let fork = || ForkOptions { key: Some(key("k")), ..Default::default() };
    let forked = chat.fork(id, fork()).await.unwrap();
    assert_eq!(chat.fork(id, fork()).await.unwrap(), forked);

    let rewound = chat.rewind(id, 1, once("k")).await.unwrap();
    assert_eq!(chat.rewind(id, 1, once("k")).await.unwrap(), rewound);

    let patch = || SessionPatch { title: Some(Some("t".into())), ..Default::default() };
    let patched = chat.patch_session(id, patch(), once("k")).await.unwrap();
    assert_eq!(chat.patch_session(id, patch(), once("k")).await.unwrap(), patched);

    let left = chat.checkpoint(id, None, Some(key("k"))).await.unwrap();
    assert_eq!(chat.checkpoint(id, None, Some(key("k"))).await.unwrap(), left);

    let restored = chat.restore(id, &left.id, Some(key("k"))).await.unwrap();
    assert_eq!(chat.restore(id, &left.id, Some(key("k"))).await.unwrap(), restored);

    let said = chat.feedback(id, 0, SignalKind::Negative, None, Some(key("k"))).await.unwrap();
    let again = chat.feedback(id, 0, SignalKind::Negative, None, Some(key("k"))).await.unwrap();
    assert_eq!((again.turn.signals.len(), again), (1, said));

    let merge = || MergeOptions { key: Some(key("k")), ..Default::default() };
    let merged = chat.merge(id, &forked.id, merge()).await.unwrap();
    assert_eq!(chat.merge(id, &forked.id, merge()).await.unwrap(), merged);

    let draft = || CrystalDraft {
        session: id.clone(),
        title: "t".into(),
        summary: "s".into(),
        key_decisions: vec![],
        artifacts: vec![],
        key: Some(key("k")),
    };
    let crystal = chat.save_crystal(draft()).await.unwrap();
    assert_eq!(chat.save_crystal(draft()).await.unwrap(), crystal);

    assert_eq!(chat.stats().await.unwrap().sessions, 3);
    assert_eq!(chat.list_checkpoints(id).await.unwrap().len(), 3, "named, rewind, restore");
}

async fn a_replay_answers_though_the_call_would_be_refused_by_now(keep: &Keep) {
    let chat = &keep.chat;
    let id = keep.session_of(3).await.id;
    let other = keep.session_of(1).await.id;
    let fork = || ForkOptions { fork_point: Some(3), key: Some(key("f")), ..Default::default() };
    let forked = chat.fork(&id, fork()).await.unwrap();
    let merge = || MergeOptions { key: Some(key("m")), ..Default::default() };
    let merged = chat.merge(&id, &other, merge()).await.unwrap();
    chat.delete_session(&other).await.unwrap();
    let at = WriteOptions { expected_version: Some(keep.record(&id).await.version), key: Some(key("r")) };
    let rewound = chat.rewind(&id, 2, at.clone()).await.unwrap();
    assert_eq!(chat.rewind(&id, 2, at).await.unwrap(), rewound, "its version is another by now");
    assert_eq!(chat.fork(&id, fork()).await.unwrap().id, forked.id, "there are fewer turns by now");
    assert_eq!(chat.merge(&id, &other, merge()).await.unwrap().id, merged.id, "the other is gone by now");
    keep.begin_run(&id).await;
    assert_eq!(chat.merge(&id, &other, merge()).await.unwrap().id, merged.id, "it is busy by now");
}

async fn a_replayed_append_gives_the_place_and_ids_of_the_first_time(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let turns = || vec![NewTurn::new("a", "b"), NewTurn::new("c", "d")];
    let first = keep.chat.append_many(&id, turns(), once("k")).await.unwrap();
    keep.say(&id, "later").await;
    let again = keep.chat.append_many(&id, turns(), once("k")).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(membrane::Appended { replayed: false, ..again }, first);
    assert_eq!(keep.words(&id).await, ["u0", "u1", "a", "c", "later"]);
}

async fn the_same_key_with_another_body_is_refused(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    keep.chat.rewind(&id, 1, once("k")).await.unwrap();
    let other = WriteOptions::once(ClientKey::for_body("k", b"another body"));
    for turns in [1, 9] {
        let error = refused(keep.chat.rewind(&id, turns, other.clone()).await);
        assert!(matches!(&error, ChatError::KeyReused { key } if key == "k"), "{error:?}");
    }
    assert_eq!(keep.record(&id).await.turn_count(), 1);
}

async fn the_same_key_on_another_call_or_session_is_another_key(keep: &Keep) {
    let (a, b) = (keep.session_of(2).await.id, keep.session_of(2).await.id);
    keep.chat.append(&a, NewTurn::new("x", "y"), once("k")).await.unwrap();
    keep.chat.append(&b, NewTurn::new("x", "y"), once("k")).await.unwrap();
    keep.chat.rewind(&a, 1, once("k")).await.unwrap();
    assert_eq!((keep.words(&a).await.len(), keep.words(&b).await.len()), (2, 3));
}

async fn a_key_goes_with_its_session(keep: &Keep) {
    let create = || NewSessionOptions { key: Some(key("k")), ..Default::default() };
    let first = keep.chat.create_session(create()).await.unwrap();
    keep.chat.delete_session(&first.id).await.unwrap();
    let second = keep.chat.create_session(create()).await.unwrap();
    assert_ne!(first.id, second.id);
}

async fn the_same_call_from_everywhere_at_once_is_made_once(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (chat, id) = (keep.chat.clone(), id.clone());
            tokio::spawn(async move {
                let fork = ForkOptions { key: Some(key("k")), ..Default::default() };
                let forked = chat.fork(&id, fork).await.unwrap().id;
                chat.rewind(&id, 1, once("k")).await.unwrap();
                (forked, chat.append(&id, NewTurn::new("x", "y"), once("k")).await.unwrap().turn_ids)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 1, "everybody got the same answer");
    assert_eq!(keep.record(&id).await.turn_count(), 5);
    assert_eq!(keep.chat.stats().await.unwrap().sessions, 2);
}

async fn a_replayed_restore_says_again_what_was_missing(keep: &Keep) {
    let parent = keep.session_of(6).await.id;
    let fork = keep.fork_at(&parent, 6).await.id;
    keep.chat.rewind(&fork, 5, WriteOptions::default()).await.unwrap();
    keep.chat.delete_session(&parent).await.unwrap();
    let left = keep.chat.list_checkpoints(&fork).await.unwrap().remove(0);
    assert_eq!(left.kind, CheckpointKind::Rewind);
    let first = keep.chat.restore(&fork, &left.id, Some(key("k"))).await.unwrap();
    let again = keep.chat.restore(&fork, &left.id, Some(key("k"))).await.unwrap();
    assert_eq!((first.missing, &again), (5, &first));
}

async fn keys_that_are_empty_or_too_long_are_refused(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let error = refused(keep.chat.append(&id, NewTurn::new("a", "b"), once(&"k".repeat(256))).await);
    let named = matches!(error, ChatError::TooLarge { what: "idempotency key", bytes: 256, max_bytes: 255 });
    assert!(named, "{error:?}");
    let error = refused(keep.chat.rewind(&id, 1, once("")).await);
    assert!(matches!(error, ChatError::Refused(_)), "{error:?}");
    keep.chat.append(&id, NewTurn::new("a", "b"), once(&"k".repeat(255))).await.unwrap();
    assert_eq!(keep.words(&id).await.len(), 3);
}
