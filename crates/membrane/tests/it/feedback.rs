//! Signals and crystals.

use membrane::{
    ChatError, CrystalDraft, DomainError, Item, Json, NewTurn, SessionId, SignalKind, ToolUse, TurnStatus,
    WriteOptions, significance,
};

use crate::keep::{Keep, on_every_store, refusal, refused};

on_every_store!(
    the_latest_signal_counts,
    a_signal_counts_in_every_session_that_holds_the_turn,
    a_signal_changes_nothing_of_a_failure_or_an_interrupted_turn,
    a_turn_that_is_not_there_is_refused,
    a_busy_session_takes_feedback,
    a_crystal_holds_a_snapshot_and_a_second_replaces_it,
    significance_follows_the_old_formula,
);

async fn counts(keep: &Keep, id: &SessionId) -> (f64, f64) {
    let evidence = keep.record(id).await.evidence();
    (evidence.alpha, evidence.beta)
}

fn tool_turn(success: bool) -> NewTurn {
    NewTurn::new("do it", "done").items(vec![Item::Tool(ToolUse {
        success,
        duration_ms: 1.0,
        ..ToolUse::new("c", "t", Json::null())
    })])
}

async fn the_latest_signal_counts(keep: &Keep) {
    let session = keep.session_of(2).await;
    let id = &session.id;
    let comment = Some("no\0🙂".to_owned());
    let found = keep.chat.feedback(id, 1, SignalKind::Negative, comment.clone(), None).await.unwrap();
    assert_eq!((found.turn.number, found.turn.signals.len(), found.turn.flipped), (1, 1, 1));
    assert_eq!(
        (found.turn.signals[0].kind, &found.turn.signals[0].comment),
        (SignalKind::Negative, &comment)
    );
    assert_eq!(found.session.evidence(), keep.record(id).await.evidence());
    assert_eq!(counts(keep, id).await, (2.0, 2.0));
    keep.chat.feedback(id, 1, SignalKind::Positive, None, None).await.unwrap();
    assert_eq!(counts(keep, id).await, (3.0, 1.0));
    let last = keep.chat.feedback(id, 1, SignalKind::Correction, None, None).await.unwrap();
    assert_eq!((last.turn.signals.len(), counts(keep, id).await), (3, (2.0, 2.0)));
    assert_eq!(keep.record(id).await.version, session.version, "a signal is no change of the record");
}

async fn a_signal_counts_in_every_session_that_holds_the_turn(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let (b, c) = (keep.fork_at(&a, 2).await.id, keep.fork_at(&a, 1).await.id);
    keep.chat.feedback(&b, 1, SignalKind::Negative, None, None).await.unwrap();
    assert_eq!(counts(keep, &a).await, (3.0, 2.0));
    assert_eq!(counts(keep, &b).await, (2.0, 2.0));
    assert_eq!(counts(keep, &c).await, (2.0, 1.0), "this one does not hold it");
    keep.chat.rewind(&a, 2, WriteOptions::default()).await.unwrap();
    assert_eq!(counts(keep, &a).await, (2.0, 1.0));
}

async fn a_signal_changes_nothing_of_a_failure_or_an_interrupted_turn(keep: &Keep) {
    let id = keep.session_of(0).await.id;
    keep.chat.append(&id, tool_turn(false), WriteOptions::default()).await.unwrap();
    let cut_off = NewTurn::new("a", "b").status(TurnStatus::Interrupted);
    keep.chat.append(&id, cut_off, WriteOptions::default()).await.unwrap();
    assert_eq!(counts(keep, &id).await, (1.0, 2.0));
    for number in [0, 1] {
        keep.chat.feedback(&id, number, SignalKind::Negative, None, None).await.unwrap();
        keep.chat.feedback(&id, number, SignalKind::Positive, None, None).await.unwrap();
    }
    assert_eq!(counts(keep, &id).await, (1.0, 2.0));
}

async fn a_turn_that_is_not_there_is_refused(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    for number in [2, -1, i64::MAX, i64::MIN] {
        let error = refused(keep.chat.feedback(&id, number, SignalKind::Positive, None, None).await);
        let named = matches!(error, ChatError::Refused(DomainError::NoSuchTurn { turn_number, turn_count: 2, .. })
            if turn_number == number);
        assert!(named, "{error:?}");
    }
    let long = Some("x".repeat(65_537));
    let error = refusal(keep.chat.feedback(&id, 0, SignalKind::Positive, long, None).await);
    assert!(error.contains("comment"), "{error}");
}

async fn a_busy_session_takes_feedback(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    keep.begin_run(&id).await;
    keep.chat.feedback(&id, 0, SignalKind::Negative, None, None).await.unwrap();
    assert_eq!(counts(keep, &id).await, (1.0, 2.0));
}

async fn a_crystal_holds_a_snapshot_and_a_second_replaces_it(keep: &Keep) {
    let id = keep.session_of(2).await.id;
    let draft = |title: &str| CrystalDraft {
        session: id.clone(),
        title: title.to_owned(),
        summary: "what remains\0".to_owned(),
        key_decisions: vec!["one".to_owned()],
        artifacts: vec!["a.rs".to_owned(), String::new()],
        key: None,
    };
    let first = keep.chat.save_crystal(draft("first")).await.unwrap();
    assert_eq!((first.final_turn_count, first.key_decisions.len(), first.artifacts.len()), (2, 1, 2));
    let evidence = first.final_evidence.as_str();
    assert!(evidence.contains(r#""prior_alpha":3,"prior_beta":1,"confidence":0.75"#), "{evidence}");
    keep.extend(&id, 1).await;
    assert_eq!(keep.chat.load_crystal(&id).await.unwrap(), Some(first), "a snapshot does not move");
    let second = keep.chat.save_crystal(draft("second")).await.unwrap();
    assert_eq!((second.title.as_str(), second.final_turn_count), ("second", 3));
    assert_eq!(keep.chat.load_crystal(&id).await.unwrap(), Some(second));
    keep.begin_run(&id).await;
    let error = refused(keep.chat.save_crystal(draft("third")).await);
    assert!(matches!(error, ChatError::Refused(DomainError::WrongState { .. })), "{error:?}");
    keep.chat.delete_session(&id).await.unwrap();
    assert!(keep.chat.load_crystal(&id).await.unwrap().is_none());
    assert!(matches!(refused(keep.chat.save_crystal(draft("late")).await), ChatError::NotFound { .. }));
}

async fn significance_follows_the_old_formula(keep: &Keep) {
    let id = keep.session_of(9).await.id;
    assert!(significance(&keep.record(&id).await).score.abs() < 1e-12);
    keep.chat.append(&id, tool_turn(true), WriteOptions::default()).await.unwrap();
    let ten = significance(&keep.record(&id).await);
    assert!((ten.score - 15.0).abs() < 1e-9 && !ten.is_significant, "10 for ten turns, 5 for a tool");
    keep.chat.append(&id, tool_turn(true), WriteOptions::default()).await.unwrap();
    assert!(significance(&keep.record(&id).await).is_significant);
}
