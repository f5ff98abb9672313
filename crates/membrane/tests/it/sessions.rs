//! Sessions as a whole.

use membrane::{
    Action, ChatError, DomainError, ForkOptions, Json, Limits, MergeOptions, NewSessionOptions, PageRequest,
    SessionFilter, SessionPatch, State, Subject, WriteOptions,
};

use crate::keep::{Keep, id, on_every_store, refusal, refused};

on_every_store!(
    a_new_session_is_empty_idle_and_on_main,
    all_that_was_given_comes_back,
    a_taken_id_is_refused_and_nothing_is_changed,
    a_page_follows_its_cursor_without_skipping_or_repeating,
    a_patch_changes_what_it_names_and_nothing_else,
    a_patch_of_another_version_is_a_conflict,
    a_patch_of_nothing_writes_nothing,
    deleting_twice_finds_it_once,
    of_many_deletes_at_once_exactly_one_succeeds,
    names_of_64_kib_are_accepted_and_longer_ones_refused,
    metadata_that_is_no_object_is_refused,
    a_busy_session_can_be_renamed_and_deleted,
    after_close_every_call_says_closed,
    what_is_missing_is_none_to_find_and_not_found_to_change,
    calls_can_be_made_from_other_threads,
);

async fn a_new_session_is_empty_idle_and_on_main(keep: &Keep) {
    let session = keep.chat.create_session(NewSessionOptions::default()).await.unwrap();
    assert_eq!((session.branch_name.as_str(), session.turn_count(), session.version), ("main", 0, 1));
    assert_eq!((session.state, session.family.clone()), (State::Idle, session.id.clone()));
    assert_eq!(keep.chat.find_session(&session.id).await.unwrap(), Some(session));
}

async fn all_that_was_given_comes_back(keep: &Keep) {
    let metadata = Json::parse("metadata", r#"{"b": 1e400, "a": "\ud800"}"#).unwrap();
    let options = NewSessionOptions {
        id: Some(id("an old id/ü\0")),
        project_id: Some("p".into()),
        branch_name: Some(String::new()),
        title: Some("🙂\0".into()),
        tags: vec!["z".into(), "a".into()],
        metadata: Some(metadata.clone()),
        key: None,
    };
    let session = keep.chat.create_session(options).await.unwrap();
    let session = keep.chat.load_session(&session.id).await.unwrap().unwrap();
    assert_eq!(session.id().as_str(), "an old id/ü\0");
    assert_eq!((session.project_id.as_deref(), session.branch_name.as_str()), (Some("p"), ""));
    assert_eq!((session.title.as_deref(), session.tags.len()), (Some("🙂\0"), 2));
    assert_eq!((session.metadata, session.turns.len()), (metadata, 0));
}

async fn a_taken_id_is_refused_and_nothing_is_changed(keep: &Keep) {
    let first = keep.session_of(2).await;
    let options = NewSessionOptions {
        id: Some(first.id.clone()),
        title: Some("mine".into()),
        ..NewSessionOptions::default()
    };
    let error = refused(keep.chat.create_session(options).await);
    assert!(matches!(error, ChatError::AlreadyExists { subject: Subject::Session, .. }), "{error:?}");
    assert_eq!(keep.record(&first.id).await, first);
}

async fn a_page_follows_its_cursor_without_skipping_or_repeating(keep: &Keep) {
    for n in 0..25 {
        let project_id = Some(if n % 5 == 0 { "fives" } else { "others" }.to_owned());
        keep.chat.create_session(NewSessionOptions { project_id, ..Default::default() }).await.unwrap();
    }
    let filter = SessionFilter { project_id: Some("others".into()), branch_name: None };
    let mut page = PageRequest::first(6);
    let mut seen = Vec::new();
    loop {
        let found = keep.chat.list_sessions(&filter, &page).await.unwrap();
        assert_eq!(found.total, 20);
        seen.extend(found.sessions);
        // Somebody else goes on working.
        let project_id = Some("fives".to_owned());
        keep.chat.create_session(NewSessionOptions { project_id, ..Default::default() }).await.unwrap();
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 20);
    assert!(seen.is_sorted_by(|a, b| (a.last_active, &a.id) > (b.last_active, &b.id)));
    assert_eq!(keep.chat.count_sessions(&filter).await.unwrap(), 20);
    assert_eq!(keep.chat.count_sessions(&SessionFilter::default()).await.unwrap(), 29);
}

async fn a_patch_changes_what_it_names_and_nothing_else(keep: &Keep) {
    let before = keep.session_of(1).await;
    let patch = SessionPatch { title: Some(Some("t".into())), pinned: Some(true), ..Default::default() };
    let after = keep.chat.patch_session(&before.id, patch, WriteOptions::default()).await.unwrap();
    assert_eq!((after.title.as_deref(), after.pinned, after.version), (Some("t"), true, before.version + 1));
    let back = SessionPatch { title: Some(None), pinned: Some(false), ..Default::default() };
    let back = keep.chat.patch_session(&before.id, back, WriteOptions::default()).await.unwrap();
    assert_eq!(membrane::Session { version: before.version, ..back }, before);
}

async fn a_patch_of_another_version_is_a_conflict(keep: &Keep) {
    let session = keep.session_of(1).await;
    let patch = || SessionPatch { archived: Some(true), ..Default::default() };
    let stale = WriteOptions::at_version(session.version - 1);
    let error = refused(keep.chat.patch_session(&session.id, patch(), stale).await);
    let named = matches!(&error, ChatError::Conflict { expected, actual, .. }
        if (*expected, *actual) == (session.version - 1, session.version));
    assert!(named, "{error:?}");
    let now = WriteOptions::at_version(session.version);
    assert!(keep.chat.patch_session(&session.id, patch(), now).await.unwrap().archived);
}

async fn a_patch_of_nothing_writes_nothing(keep: &Keep) {
    let session = keep.session_of(1).await;
    let patched =
        keep.chat.patch_session(&session.id, SessionPatch::default(), WriteOptions::default()).await.unwrap();
    assert_eq!(patched, session);
}

async fn deleting_twice_finds_it_once(keep: &Keep) {
    let session = keep.session_of(3).await;
    keep.chat.delete_session(&session.id).await.unwrap();
    assert_eq!(keep.chat.find_session(&session.id).await.unwrap(), None);
    let error = refused(keep.chat.delete_session(&session.id).await);
    assert!(matches!(error, ChatError::NotFound { subject: Subject::Session, .. }), "{error:?}");
    assert_eq!(keep.chat.stats().await.unwrap().turns_stored, 0);
}

async fn of_many_deletes_at_once_exactly_one_succeeds(keep: &Keep) {
    let session = keep.session_of(1).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (chat, id) = (keep.chat.clone(), session.id.clone());
            tokio::spawn(async move { chat.delete_session(&id).await })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => succeeded += 1,
            Err(error) => assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}"),
        }
    }
    assert_eq!(succeeded, 1);
}

async fn names_of_64_kib_are_accepted_and_longer_ones_refused(keep: &Keep) {
    let create = async |length: usize| {
        let branch_name = Some("n".repeat(length));
        keep.chat.create_session(NewSessionOptions { branch_name, ..Default::default() }).await
    };
    assert_eq!(create(65_536).await.unwrap().branch_name.len(), 65_536);
    let error = refused(create(65_537).await);
    let named =
        matches!(error, ChatError::TooLarge { what: "branch name", bytes: 65_537, max_bytes: 65_536 });
    assert!(named, "{error:?}");
    let few = keep.with_limits(Limits { max_tags: 2, ..Limits::default() });
    let tags = |count| NewSessionOptions { tags: vec!["t".to_owned(); count], ..Default::default() };
    few.create_session(tags(2)).await.unwrap();
    assert!(refusal(few.create_session(tags(3)).await).contains("3 entries, at most 2"));
}

async fn metadata_that_is_no_object_is_refused(keep: &Keep) {
    let session = keep.session_of(0).await;
    let patch = SessionPatch { metadata: Some(Json::null()), ..Default::default() };
    let error = refusal(keep.chat.patch_session(&session.id, patch, WriteOptions::default()).await);
    assert!(error.contains("metadata") && error.contains("object"), "{error}");
    assert_eq!(keep.record(&session.id).await, session);
}

async fn a_busy_session_can_be_renamed_and_deleted(keep: &Keep) {
    let session = keep.session_of(2).await;
    keep.begin_run(&session.id).await;
    let patch = SessionPatch { title: Some(Some("t".into())), ..Default::default() };
    keep.chat.patch_session(&session.id, patch, WriteOptions::default()).await.unwrap();
    let error = refused(keep.chat.rewind(&session.id, 1, WriteOptions::default()).await);
    let state = matches!(
        error,
        ChatError::Refused(DomainError::WrongState { state: State::Processing, action: Action::Rewind, .. })
    );
    assert!(state, "{error:?}");
    keep.chat.delete_session(&session.id).await.unwrap();
}

async fn after_close_every_call_says_closed(keep: &Keep) {
    let session = keep.session_of(1).await;
    let other_handle = keep.chat.clone();
    keep.chat.close().await.unwrap();
    assert!(matches!(refused(other_handle.find_session(&session.id).await), ChatError::Closed));
    assert!(matches!(refused(other_handle.delete_session(&session.id).await), ChatError::Closed));
    assert!(matches!(refused(keep.chat.fork(&session.id, ForkOptions::default()).await), ChatError::Closed));
}

async fn what_is_missing_is_none_to_find_and_not_found_to_change(keep: &Keep) {
    let gone = id("gone");
    let chat = &keep.chat;
    assert!(chat.find_session(&gone).await.unwrap().is_none());
    assert!(chat.load_session(&gone).await.unwrap().is_none());
    assert!(chat.load_turns(&gone, 0..1).await.unwrap().is_none());
    assert!(chat.load_crystal(&gone).await.unwrap().is_none());
    let there = keep.session_of(1).await.id;
    let once = WriteOptions::default;
    let errors = [
        refusal(chat.patch_session(&gone, SessionPatch::default(), once()).await),
        refusal(chat.append_many(&gone, Vec::new(), once()).await),
        refusal(chat.append(&gone, membrane::NewTurn::new("", ""), once()).await),
        refusal(chat.fork(&gone, ForkOptions::default()).await),
        refusal(chat.rewind(&gone, 1, once()).await),
        refusal(chat.merge(&there, &gone, MergeOptions::default()).await),
        refusal(chat.merge(&gone, &there, MergeOptions::default()).await),
        refusal(chat.checkpoint(&gone, None, None).await),
        refusal(chat.list_checkpoints(&gone).await),
        refusal(chat.restore(&gone, &membrane::CheckpointId::from_stored("c"), None).await),
        refusal(chat.diff(&there, &gone).await),
        refusal(chat.diff(&gone, &there).await),
        refusal(chat.branches(&gone).await),
        refusal(chat.feedback(&gone, 0, membrane::SignalKind::Positive, None, None).await),
    ];
    for error in errors {
        assert!(error.starts_with("session gone not found"), "{error}");
    }
}

/// Compiles only if the futures of all calls are `Send`, as servers need them.
async fn calls_can_be_made_from_other_threads(keep: &Keep) {
    let (chat, session) = (keep.chat.clone(), keep.session_of(2).await);
    tokio::spawn(async move {
        let id = &session.id;
        let fork = chat.fork(id, ForkOptions::default()).await?;
        chat.feedback(id, 0, membrane::SignalKind::Negative, None, None).await?;
        let left = chat.checkpoint(id, None, None).await?;
        chat.rewind(id, 1, WriteOptions::default()).await?;
        chat.restore(id, &left.id, None).await?;
        chat.merge(id, &fork.id, MergeOptions::default()).await?;
        chat.diff(id, &fork.id).await?;
        let mut loaded = chat.load_session(id).await?.expect("it is there");
        loaded.add_turn("more", "yes");
        chat.save_session(&mut loaded).await?;
        let (title, summary) = ("t".to_owned(), "s".to_owned());
        let (key_decisions, artifacts) = (Vec::new(), Vec::new());
        let session = id.clone();
        chat.save_crystal(membrane::CrystalDraft {
            session,
            title,
            summary,
            key_decisions,
            artifacts,
            key: None,
        })
        .await?;
        chat.branches(id).await
    })
    .await
    .unwrap()
    .unwrap();
}
