//! Forks, rewinds, the tree.

use membrane::core::session::NewSession;
use membrane::store::change::Origin;
use membrane::store::{Change, Write};
use membrane::{
    BranchNode, ChatError, CrystalDraft, DomainError, ForkOptions, Json, NewSessionOptions, NewTurn,
    SessionId, Timestamp, WriteOptions,
};

use crate::keep::{Keep, id, on_every_store, refusal, refused};

on_every_store!(
    a_fork_holds_the_very_same_turns_up_to_its_fork_point,
    a_fork_takes_names_along_but_no_checkpoints_and_no_crystal,
    a_fork_point_beyond_the_end_or_negative_names_both_numbers,
    a_fork_and_its_parent_go_on_apart,
    a_fork_outlives_its_parent_whole,
    a_hundred_forks_of_forks_read_through_all_of_them,
    forks_under_appends_see_whole_prefixes,
    a_rewind_takes_off_exactly_what_was_asked_and_its_evidence,
    a_rewind_can_be_undone,
    a_rewind_too_far_or_of_nothing_is_refused,
    a_rewind_of_another_version_is_a_conflict,
    rewinds_under_appends_take_off_exactly_their_turns,
    branches_come_breadth_first_with_deleted_ancestors,
    a_parent_of_which_nothing_is_known_shows_as_deleted,
);

async fn a_fork_holds_the_very_same_turns_up_to_its_fork_point(keep: &Keep) {
    let parent = keep.session_of(4).await;
    let turns = keep.kept(&parent.id).await;
    for (fork_point, holds) in [(None, 4), (Some(0), 0), (Some(2), 2), (Some(4), 4)] {
        let fork =
            keep.chat.fork(&parent.id, ForkOptions { fork_point, ..Default::default() }).await.unwrap();
        assert_eq!((fork.turn_count(), fork.fork_point), (holds, Some(holds)));
        assert_eq!((fork.parent_id.as_ref(), &fork.family), (Some(&parent.id), &parent.family));
        assert_eq!(keep.kept(&fork.id).await, turns[..usize::try_from(holds).unwrap()]);
    }
    assert_eq!(keep.record(&parent.id).await, parent, "a fork changes nothing of its parent");
}

async fn a_fork_takes_names_along_but_no_checkpoints_and_no_crystal(keep: &Keep) {
    let options = NewSessionOptions {
        project_id: Some("p".into()),
        title: Some("t".into()),
        tags: vec!["x".into()],
        metadata: Some(Json::parse("metadata", r#"{"k": 1}"#).unwrap()),
        ..Default::default()
    };
    let parent = keep.chat.create_session(options).await.unwrap();
    keep.extend(&parent.id, 1).await;
    keep.chat.checkpoint(&parent.id, None, None).await.unwrap();
    let draft = CrystalDraft {
        session: parent.id.clone(),
        title: "t".into(),
        summary: "s".into(),
        key_decisions: vec![],
        artifacts: vec![],
        key: None,
    };
    keep.chat.save_crystal(draft).await.unwrap();
    let first = keep.chat.fork(&parent.id, ForkOptions::default()).await.unwrap();
    assert_eq!((first.project_id.as_deref(), first.title.as_deref()), (Some("p"), Some("t")));
    assert_eq!((first.tags, first.metadata.as_str()), (vec!["x".to_owned()], r#"{"k": 1}"#));
    assert!(keep.chat.list_checkpoints(&first.id).await.unwrap().is_empty());
    assert!(keep.chat.load_crystal(&first.id).await.unwrap().is_none());
    let second = keep.chat.fork(&first.id, ForkOptions::default()).await.unwrap();
    assert_eq!((first.branch_name.as_str(), second.branch_name.as_str()), ("branch-1", "branch-2"));
    let named = ForkOptions { branch_name: Some(String::new()), ..Default::default() };
    assert_eq!(keep.chat.fork(&parent.id, named).await.unwrap().branch_name, "");
}

async fn a_fork_point_beyond_the_end_or_negative_names_both_numbers(keep: &Keep) {
    let parent = keep.session_of(3).await;
    for fork_point in [4, -1, i64::MAX, i64::MIN] {
        let options = ForkOptions { fork_point: Some(fork_point), ..Default::default() };
        let error = refusal(keep.chat.fork(&parent.id, options).await);
        assert!(error.contains(&fork_point.to_string()) && error.contains("3 turns"), "{error}");
    }
    assert_eq!(keep.chat.stats().await.unwrap().sessions, 1);
}

async fn a_fork_and_its_parent_go_on_apart(keep: &Keep) {
    let parent = keep.session_of(3).await;
    let fork = keep.fork_at(&parent.id, 2).await;
    keep.say(&fork.id, "fork").await;
    keep.say(&parent.id, "parent").await;
    assert_eq!(keep.words(&parent.id).await, ["u0", "u1", "u2", "parent"]);
    assert_eq!(keep.words(&fork.id).await, ["u0", "u1", "fork"]);
}

async fn a_fork_outlives_its_parent_whole(keep: &Keep) {
    let parent = keep.session_of(5).await;
    let fork = keep.fork_at(&parent.id, 3).await;
    let before = keep.essence(&fork.id).await;
    keep.chat.rewind(&parent.id, 4, WriteOptions::default()).await.unwrap();
    keep.chat.delete_session(&parent.id).await.unwrap();
    assert_eq!(keep.essence(&fork.id).await, before);
    assert_eq!(keep.chat.stats().await.unwrap().turns_stored, 3, "what only the parent held is gone");
    keep.say(&fork.id, "on").await;
}

async fn a_hundred_forks_of_forks_read_through_all_of_them(keep: &Keep) {
    let mut last = keep.session_of(1).await;
    for n in 1..=100 {
        last = keep.chat.fork(&last.id, ForkOptions::default()).await.unwrap();
        keep.say(&last.id, &format!("level {n}")).await;
    }
    let words = keep.words(&last.id).await;
    assert_eq!((words.len(), words[0].as_str(), words[100].as_str()), (101, "u0", "level 100"));
    let stats = keep.chat.stats().await.unwrap();
    assert_eq!((stats.sessions, stats.turns_stored), (101, 101));
}

async fn forks_under_appends_see_whole_prefixes(keep: &Keep) {
    let parent = keep.session_of(0).await;
    let (chat, id) = (keep.chat.clone(), parent.id.clone());
    let appending = tokio::spawn(async move {
        for n in 0..40 {
            chat.append(&id, NewTurn::new(format!("u{n}"), "yes"), WriteOptions::default()).await.unwrap();
        }
    });
    let mut forks = Vec::new();
    for _ in 0..20 {
        forks.push(keep.chat.fork(&parent.id, ForkOptions::default()).await.unwrap());
    }
    appending.await.unwrap();
    for fork in forks {
        let words = keep.words(&fork.id).await;
        assert_eq!(Some(words.len() as u64), fork.fork_point);
        assert!(words.iter().zip(0..).all(|(word, n)| *word == format!("u{n}")));
    }
}

async fn a_rewind_takes_off_exactly_what_was_asked_and_its_evidence(keep: &Keep) {
    let id = keep.session_of(3).await.id;
    let before = keep.essence(&id).await;
    keep.extend(&id, 4).await;
    let session = keep.chat.rewind(&id, 4, WriteOptions::default()).await.unwrap();
    assert_eq!(session.turn_count(), 3);
    assert_eq!(keep.essence(&id).await, before);
    let empty = keep.chat.rewind(&id, 3, WriteOptions::default()).await.unwrap();
    assert_eq!((empty.turn_count(), empty.evidence()), (0, membrane::Evidence::NONE));
    keep.say(&id, "anew").await;
    assert_eq!(keep.words(&id).await, ["anew"]);
}

async fn a_rewind_can_be_undone(keep: &Keep) {
    let id = keep.session_of(5).await.id;
    let before = keep.essence(&id).await;
    keep.chat.rewind(&id, 2, WriteOptions::default()).await.unwrap();
    keep.say(&id, "instead").await;
    let left = keep.chat.list_checkpoints(&id).await.unwrap();
    assert_eq!((left.len(), left[0].cut.turn_count), (1, 5));
    let restored = keep.chat.restore(&id, &left[0].id, None).await.unwrap();
    assert_eq!(restored.missing, 0);
    assert_eq!(keep.essence(&id).await, before);
}

async fn a_rewind_too_far_or_of_nothing_is_refused(keep: &Keep) {
    let session = keep.session_of(3).await;
    let error = refused(keep.chat.rewind(&session.id, 4, WriteOptions::default()).await);
    assert!(
        matches!(error, ChatError::Refused(DomainError::RewindTooFar { turns: 4, turn_count: 3 })),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "Cannot rewind 4 turns, session only has 3 turns");
    let nothing = refusal(keep.chat.rewind(&session.id, 0, WriteOptions::default()).await);
    assert!(nothing.contains('0') && nothing.contains("1 up to"), "{nothing}");
    assert_eq!(keep.record(&session.id).await, session);
}

async fn a_rewind_of_another_version_is_a_conflict(keep: &Keep) {
    let session = keep.session_of(3).await;
    let stale = WriteOptions::at_version(session.version - 1);
    let error = refused(keep.chat.rewind(&session.id, 1, stale).await);
    assert!(matches!(error, ChatError::Conflict { .. }), "{error:?}");
    assert_eq!(keep.record(&session.id).await, session);
    let now = WriteOptions::at_version(session.version);
    assert_eq!(keep.chat.rewind(&session.id, 1, now).await.unwrap().turn_count(), 2);
}

async fn rewinds_under_appends_take_off_exactly_their_turns(keep: &Keep) {
    let id = keep.session_of(30).await.id;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (chat, id) = (keep.chat.clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    chat.append(&id, NewTurn::new("a", "b"), WriteOptions::default()).await.unwrap();
                }
            })
        })
        .collect();
    let mut rewound = 0;
    while rewound < 10 {
        match keep.chat.rewind(&id, 2, WriteOptions::default()).await {
            Ok(_) => rewound += 1,
            Err(ChatError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(keep.record(&id).await.turn_count(), 30 + 40 - 20);
}

async fn branches_come_breadth_first_with_deleted_ancestors(keep: &Keep) {
    let root = keep.session_of(2).await.id;
    let a = keep.fork_at(&root, 2).await.id;
    let b = keep.fork_at(&root, 1).await.id;
    let a1 = keep.fork_at(&a, 1).await.id;
    let order = async |from: &SessionId| {
        let nodes = keep.chat.branches(from).await.unwrap();
        nodes.iter().map(|node| node.id().clone()).collect::<Vec<_>>()
    };
    let all = [root.clone(), a.clone(), b.clone(), a1.clone()];
    assert_eq!(order(&b).await, all);
    keep.chat.delete_session(&root).await.unwrap();
    keep.chat.delete_session(&a).await.unwrap();
    let nodes = keep.chat.branches(&a1).await.unwrap();
    assert_eq!(nodes.len(), 4);
    assert!(matches!(&nodes[0], BranchNode::Deleted(stone) if stone.id == root));
    let deleted: Vec<_> = nodes.iter().filter(|node| matches!(node, BranchNode::Deleted(_))).collect();
    assert!(deleted.len() == 2 && deleted[1].parent_id() == Some(&root));
    keep.chat.delete_session(&b).await.unwrap();
    keep.chat.delete_session(&a1).await.unwrap();
    let error = refused(keep.chat.branches(&a1).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
}

async fn a_parent_of_which_nothing_is_known_shows_as_deleted(keep: &Keep) {
    let (orphan, parent) = (id("orphan"), id("never-here"));
    let session = NewSession {
        parent_id: Some(parent.clone()),
        fork_point: Some(3),
        ..NewSession::root(orphan.clone())
    };
    let origin = Origin::Empty { legacy: Vec::new() };
    let create = Write::CreateSession { session, origin, created_at: None };
    keep.store.commit(Change::at(Timestamp::from_micros(5)).write(create)).await.unwrap();
    let nodes = keep.chat.branches(&orphan).await.unwrap();
    assert!(matches!(&nodes[0], BranchNode::Deleted(stone) if stone.id == parent));
    assert!(matches!(&nodes[1], BranchNode::Live(session) if session.id == orphan));
}
