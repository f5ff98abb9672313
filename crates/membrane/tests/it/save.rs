//! Saving: the difference to what is stored, at once, or nothing.

use membrane::{ChatError, CheckpointKind, DomainError, Json, Limits, NewTurn, SignalKind, WriteOptions};

use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    a_new_session_is_stored_with_its_turns_at_version_1,
    saving_without_change_writes_nothing,
    an_added_turn_is_appended_and_the_rest_stays_the_very_same,
    a_changed_turn_is_a_rewind_and_appends,
    turns_taken_off_can_be_restored,
    a_turn_taken_off_and_put_back_is_no_change,
    a_turn_moved_or_copied_gets_an_id_of_its_own,
    changed_names_are_patched_and_the_turns_stay,
    everything_at_once_is_one_version,
    a_stale_version_is_a_conflict_and_changes_nothing,
    a_stale_session_without_change_is_a_conflict_too,
    of_two_that_save_at_once_one_gets_a_conflict,
    a_session_deleted_after_loading_is_not_brought_back,
    a_session_deleted_after_saving_is_not_brought_back,
    a_new_session_with_a_taken_id_changes_nothing,
    what_is_too_large_leaves_the_stored_session_alone,
    a_busy_session_takes_new_names_but_no_turns,
    evidence_follows_what_was_saved,
    a_signal_given_meanwhile_is_no_conflict,
    a_long_session_loads_whole_and_saves_one_more,
);

async fn a_new_session_is_stored_with_its_turns_at_version_1(keep: &Keep) {
    let mut session = keep.chat.new_session();
    session.project_id = Some("p".into());
    session.tags = vec!["t".into()];
    session.add_turn("one", "1");
    session.add(NewTurn::new("two", "2"));
    assert!(session.version().is_none() && session.record().is_none());
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.version, saved.kept, saved.removed, saved.appended), (1, 0, 0, 2));
    assert_eq!(session.version(), Some(1));
    assert_eq!(session.record(), Some(&keep.record(session.id()).await));
    let loaded = keep.chat.load_session(session.id()).await.unwrap().unwrap();
    assert_eq!(
        (loaded.turns, loaded.project_id, loaded.tags),
        (session.turns, session.project_id, session.tags)
    );
}

async fn saving_without_change_writes_nothing(keep: &Keep) {
    let mut session = keep.chat.new_session();
    session.add_turn("one", "1");
    keep.chat.save_session(&mut session).await.unwrap();
    let before = keep.record(session.id()).await;
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.version, saved.kept, saved.appended, saved.renamed), (1, 1, 0, false));
    assert_eq!(keep.record(session.id()).await, before);
    let mut loaded = keep.chat.load_session(session.id()).await.unwrap().unwrap();
    let _ = loaded.turns.get_mut(0).unwrap();
    keep.chat.save_session(&mut loaded).await.unwrap();
    assert_eq!(keep.record(session.id()).await, before, "looking at a turn is no change");
}

async fn an_added_turn_is_appended_and_the_rest_stays_the_very_same(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let before = keep.kept(&id).await;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    session.add_turn("more", "yes");
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.kept, saved.removed, saved.appended, saved.renamed), (5, 0, 1, false));
    let after = keep.kept(&id).await;
    assert_eq!(after[..5], before[..]);
    assert_eq!(after[5].turn, session.turns[5]);
    assert!(keep.chat.list_checkpoints(&id).await.unwrap().is_empty());
    session.add_turn("and more", "yes");
    assert_eq!(keep.chat.save_session(&mut session).await.unwrap().kept, 6);
}

async fn a_changed_turn_is_a_rewind_and_appends(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let before = keep.kept(&id).await;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    let loaded = session.version().unwrap();
    session.turns.get_mut(3).unwrap().assistant.content = "better".into();
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.kept, saved.removed, saved.appended), (3, 2, 2));
    assert_eq!(saved.version, loaded + 1, "both are one commit");
    let after = keep.kept(&id).await;
    assert_eq!(after[..3], before[..3]);
    assert_eq!(after[3].turn.assistant.content, "better");
    for number in [3, 4] {
        assert_ne!(after[number].turn.id, before[number].turn.id, "a finished turn never changes");
        assert_eq!(after[number].turn, session.turns[number], "the new id is in the session in memory too");
    }
    let left = keep.chat.list_checkpoints(&id).await.unwrap();
    assert_eq!((left.len(), left[0].kind), (1, CheckpointKind::Rewind));
    keep.chat.restore(&id, &left[0].id, None).await.unwrap();
    assert_eq!(keep.kept(&id).await, before);
}

async fn turns_taken_off_can_be_restored(keep: &Keep) {
    let id = keep.session_of(4).await.id;
    let before = keep.essence(&id).await;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    session.turns.truncate(1);
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.kept, saved.removed, saved.appended), (1, 3, 0));
    assert_eq!(keep.words(&id).await, ["u0"]);
    let left = keep.chat.list_checkpoints(&id).await.unwrap().remove(0);
    keep.chat.restore(&id, &left.id, None).await.unwrap();
    assert_eq!(keep.essence(&id).await, before);
}

async fn a_turn_taken_off_and_put_back_is_no_change(keep: &Keep) {
    let before = keep.session_of(4).await;
    let mut session = keep.chat.load_session(&before.id).await.unwrap().unwrap();
    let last = session.turns[3].clone();
    session.turns.truncate(3);
    session.turns.push(last);
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.kept, saved.removed, saved.appended), (4, 0, 0));
    assert_eq!(keep.record(&before.id).await, before);
}

async fn a_turn_moved_or_copied_gets_an_id_of_its_own(keep: &Keep) {
    let id = keep.session_of(4).await.id;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    let copy = session.turns[0].clone();
    session.turns.as_mut_vec().remove(1);
    session.turns.push(copy);
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.kept, saved.removed, saved.appended), (1, 3, 3));
    assert_eq!(keep.words(&id).await, ["u0", "u2", "u3", "u0"]);
    let mut ids: Vec<_> = keep.kept(&id).await.into_iter().map(|kept| kept.turn.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

async fn changed_names_are_patched_and_the_turns_stay(keep: &Keep) {
    let before = keep.session_of(2).await;
    let turns = keep.kept(&before.id).await;
    let mut session = keep.chat.load_session(&before.id).await.unwrap().unwrap();
    session.title = Some("t".into());
    session.metadata = Json::parse("metadata", r#"{"a":1}"#).unwrap();
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert!(saved.renamed && saved.version == before.version + 1);
    let after = keep.record(&before.id).await;
    assert_eq!((after.title.as_deref(), after.metadata.as_str()), (Some("t"), r#"{"a":1}"#));
    assert_eq!(keep.kept(&before.id).await, turns);
    session.title = None;
    keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!(keep.record(&before.id).await.title, None);
}

async fn everything_at_once_is_one_version(keep: &Keep) {
    let before = keep.session_of(3).await;
    let mut session = keep.chat.load_session(&before.id).await.unwrap().unwrap();
    session.branch_name = "other".into();
    session.turns.truncate(2);
    session.add_turn("new", "yes");
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!((saved.version, saved.kept, saved.removed, saved.appended), (before.version + 1, 2, 1, 1));
    assert_eq!(keep.words(&before.id).await, ["u0", "u1", "new"]);
    assert_eq!(keep.record(&before.id).await.branch_name, "other");
}

async fn a_stale_version_is_a_conflict_and_changes_nothing(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    keep.say(&id, "meanwhile").await;
    let stored = keep.record(&id).await;
    session.add_turn("mine", "yes");
    session.title = Some("mine".into());
    session.turns.get_mut(0).unwrap().user.content = "mine".into();
    for _ in 0..2 {
        let error = refused(keep.chat.save_session(&mut session).await);
        let both = matches!(&error, ChatError::Conflict { expected, actual, .. }
            if Some(*expected) == session.version() && *actual == stored.version);
        assert!(both, "{error:?}");
    }
    assert_eq!(keep.record(&id).await, stored);
    assert_eq!(keep.words(&id).await, ["u0", "u1", "meanwhile"]);
}

async fn a_stale_session_without_change_is_a_conflict_too(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    keep.say(&id, "meanwhile").await;
    assert!(matches!(refused(keep.chat.save_session(&mut session).await), ChatError::Conflict { .. }));
}

async fn of_two_that_save_at_once_one_gets_a_conflict(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (chat, id) = (keep.chat.clone(), id.clone());
            tokio::spawn(async move {
                let mut session = chat.load_session(&id).await.unwrap().unwrap();
                let loaded = session.version().unwrap();
                session.add_turn(format!("from {n}"), "yes");
                (loaded, chat.save_session(&mut session).await)
            })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (loaded, Ok(saved)) => {
                assert_eq!(saved.version, loaded + 1);
                versions.push(saved.version);
            }
            (_, Err(error)) => assert!(matches!(error, ChatError::Conflict { .. }), "{error:?}"),
        }
    }
    versions.sort_unstable();
    let expected: Vec<u64> = (3..).take(versions.len()).collect();
    assert!(!versions.is_empty() && versions == expected, "each version was made once: {versions:?}");
    assert_eq!(keep.words(&id).await.len(), 1 + versions.len());
}

async fn a_session_deleted_after_loading_is_not_brought_back(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    let mut edited = session.clone();
    keep.chat.delete_session(&id).await.unwrap();
    let unchanged = refused(keep.chat.save_session(&mut session).await);
    assert!(matches!(unchanged, ChatError::NotFound { .. }), "{unchanged:?}");
    session.add_turn("more", "yes");
    let added = refused(keep.chat.save_session(&mut session).await);
    assert!(matches!(added, ChatError::NotFound { .. }), "{added:?}");
    edited.turns.get_mut(0).unwrap().user.content = "edited".into();
    let changed = refused(keep.chat.save_session(&mut edited).await);
    assert!(matches!(changed, ChatError::NotFound { .. }), "{changed:?}");
    assert!(keep.chat.find_session(&id).await.unwrap().is_none());
}

async fn a_session_deleted_after_saving_is_not_brought_back(keep: &Keep) {
    let mut session = keep.chat.new_session();
    keep.chat.save_session(&mut session).await.unwrap();
    keep.chat.delete_session(session.id()).await.unwrap();
    session.add_turn("more", "yes");
    assert!(matches!(refused(keep.chat.save_session(&mut session).await), ChatError::NotFound { .. }));
    assert!(keep.chat.find_session(session.id()).await.unwrap().is_none());
}

async fn a_new_session_with_a_taken_id_changes_nothing(keep: &Keep) {
    let stored = keep.session_of(2).await;
    let mut session = keep.chat.new_session_with_id(stored.id.clone());
    session.add_turn("mine", "yes");
    let error = refused(keep.chat.save_session(&mut session).await);
    assert!(matches!(error, ChatError::AlreadyExists { .. }), "{error:?}");
    assert_eq!((session.version(), keep.record(&stored.id).await), (None, stored));
}

async fn what_is_too_large_leaves_the_stored_session_alone(keep: &Keep) {
    let small = keep.with_limits(Limits { max_message_bytes: 4, ..Limits::default() });
    let before = keep.session_of(2).await;
    let mut session = small.load_session(&before.id).await.unwrap().unwrap();
    session.add_turn("fits", "an answer may be longer than a message");
    session.add_turn("12345", "");
    let error = refused(small.save_session(&mut session).await);
    assert!(matches!(error, ChatError::TooLarge { bytes: 5, max_bytes: 4, .. }), "{error:?}");
    assert_eq!(keep.record(&before.id).await, before);
    session.turns.get_mut(3).unwrap().user.content.pop();
    assert_eq!(small.save_session(&mut session).await.unwrap().appended, 2);
}

async fn a_busy_session_takes_new_names_but_no_turns(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    keep.begin_run(&id).await;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    session.title = Some("t".into());
    keep.chat.save_session(&mut session).await.unwrap();
    session.add_turn("more", "yes");
    let error = refused(keep.chat.save_session(&mut session).await);
    assert!(matches!(error, ChatError::Refused(DomainError::WrongState { .. })), "{error:?}");
    assert_eq!(keep.words(&id).await.len(), 2);
}

async fn evidence_follows_what_was_saved(keep: &Keep) {
    let mut session = keep.chat.new_session();
    session.add_turn("a", "b");
    session.add_turn("c", "d");
    assert!((session.evidence().alpha - 1.0).abs() < 1e-9, "nothing is stored yet");
    let saved = keep.chat.save_session(&mut session).await.unwrap();
    assert_eq!(saved.evidence, session.evidence());
    assert!((session.evidence().alpha - 3.0).abs() < 1e-9);
    session.turns.truncate(1);
    keep.chat.save_session(&mut session).await.unwrap();
    assert!((session.evidence().alpha - 2.0).abs() < 1e-9, "a rewind takes its evidence back");
}

async fn a_signal_given_meanwhile_is_no_conflict(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let mut session = keep.chat.load_session(&id).await.unwrap().unwrap();
    keep.chat.feedback(&id, 0, SignalKind::Negative, None, None).await.unwrap();
    session.add_turn("more", "yes");
    keep.chat.save_session(&mut session).await.unwrap();
    let evidence = session.evidence();
    assert!((evidence.alpha - 3.0).abs() < 1e-9 && (evidence.beta - 2.0).abs() < 1e-9, "{evidence:?}");
}

async fn a_long_session_loads_whole_and_saves_one_more(keep: &Keep) {
    let mut session = keep.chat.new_session();
    for n in 0..11_000 {
        session.add_turn(format!("u{n}"), "yes");
    }
    keep.chat.save_session(&mut session).await.unwrap();
    let mut loaded = keep.chat.load_session(session.id()).await.unwrap().unwrap();
    assert_eq!(loaded.turns, session.turns);
    loaded.add_turn("last", "yes");
    let saved = keep.chat.save_session(&mut loaded).await.unwrap();
    assert_eq!((saved.kept, saved.appended), (11_000, 1));
    let tail = keep.chat.load_turns(session.id(), 10_999..u64::MAX).await.unwrap().unwrap();
    assert_eq!(tail.turns.iter().map(|kept| kept.number).collect::<Vec<_>>(), [10_999, 11_000]);
    keep.chat.append(session.id(), NewTurn::new("x", "y"), WriteOptions::default()).await.unwrap();
}
