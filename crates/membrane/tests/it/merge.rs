//! Merges.

use membrane::core::evidence::LegacySet;
use membrane::core::session::NewSession;
use membrane::store::change::Origin;
use membrane::store::{Change, Write};
use membrane::{
    ChatError, DomainError, ForkOptions, Json, MergeOptions, MergeStrategy, NewSessionOptions, NewTurn, Pick,
    Session, SessionId, SignalKind, Timestamp, WriteOptions,
};

use crate::keep::{Keep, id, on_every_store, refusal, refused};

on_every_store!(
    a_merge_is_a_new_session_and_its_sources_stay,
    merging_a_fork_into_its_source_gives_the_source,
    sequential_puts_what_is_new_behind,
    sequential_merges_of_three_do_not_depend_on_the_grouping,
    interleave_goes_by_time_and_from_either_side,
    manual_keeps_the_picks_in_their_order,
    picks_that_make_no_sense_are_refused,
    a_session_cannot_be_merged_with_itself,
    legacy_observations_of_both_are_united,
    a_shared_turn_counts_once_with_its_signals,
    sessions_of_two_families_merge_into_the_bases_family,
    a_merge_can_be_appended_to_rewound_and_merged_again,
    a_merge_outlives_both_sources,
    merges_under_appends_hold_whole_prefixes,
);

async fn merge(keep: &Keep, a: &SessionId, b: &SessionId, strategy: MergeStrategy) -> Session {
    keep.chat.merge(a, b, MergeOptions::by(strategy)).await.unwrap()
}

async fn sequential(keep: &Keep, a: &SessionId, b: &SessionId) -> Session {
    merge(keep, a, b, MergeStrategy::Sequential).await
}

async fn a_merge_is_a_new_session_and_its_sources_stay(keep: &Keep) {
    let options = NewSessionOptions {
        metadata: Some(Json::parse("metadata", r#"{"k": 1e400}"#).unwrap()),
        title: Some("t".into()),
        ..Default::default()
    };
    let base = keep.chat.create_session(options).await.unwrap();
    let options = NewSessionOptions {
        project_id: Some("p".into()),
        branch_name: Some("side".into()),
        ..Default::default()
    };
    let other = keep.chat.create_session(options).await.unwrap();
    keep.extend(&base.id, 2).await;
    keep.extend(&other.id, 1).await;
    let merged = sequential(keep, &base.id, &other.id).await;
    assert_eq!((merged.parent_id.as_ref(), merged.fork_point), (Some(&base.id), None));
    assert_eq!((merged.branch_name.as_str(), merged.project_id.as_deref()), ("main+side", Some("p")));
    assert_eq!((merged.title.as_deref(), merged.version, merged.is_merged), (Some("t"), 1, false));
    let from = format!(r#"{{"k":1e400,"merged_from":["{}","{}"]}}"#, base.id, other.id);
    assert_eq!(merged.metadata.as_str(), from);
    for source in [&base, &other] {
        let now = keep.record(&source.id).await;
        assert!(now.is_merged && now.merged_into.as_ref() == Some(&merged.id));
        assert_eq!(now.version, source.version + 2, "one append, one mark");
    }
    assert_eq!(keep.words(&base.id).await.len(), 2);
}

async fn merging_a_fork_into_its_source_gives_the_source(keep: &Keep) {
    let source = keep.session_of(5).await;
    let before = keep.essence(&source.id).await;
    for point in [0, 3, 5] {
        let fork = keep.fork_at(&source.id, point).await;
        for strategy in [MergeStrategy::Sequential, MergeStrategy::Interleave] {
            let merged = merge(keep, &source.id, &fork.id, strategy).await;
            assert_eq!(keep.essence(&merged.id).await, before, "{strategy} at {point}");
        }
    }
}

async fn sequential_puts_what_is_new_behind(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let b = keep.fork_at(&a, 2).await.id;
    keep.say(&b, "b").await;
    keep.say(&a, "a").await;
    assert_eq!(keep.words(&sequential(keep, &a, &b).await.id).await, ["u0", "u1", "u2", "a", "b"]);
    assert_eq!(keep.words(&sequential(keep, &b, &a).await.id).await, ["u0", "u1", "b", "u2", "a"]);
}

async fn sequential_merges_of_three_do_not_depend_on_the_grouping(keep: &Keep) {
    let a = keep.session_of(2).await.id;
    let b = keep.fork_at(&a, 1).await.id;
    keep.say(&b, "b").await;
    let c = keep.fork_at(&b, 2).await.id;
    keep.say(&c, "c").await;
    keep.say(&a, "a").await;
    let left = sequential(keep, &sequential(keep, &a, &b).await.id, &c).await.id;
    let right = sequential(keep, &a, &sequential(keep, &b, &c).await.id).await.id;
    assert_eq!(keep.essence(&left).await, keep.essence(&right).await);
    let copy = keep.chat.fork(&left, ForkOptions::default()).await.unwrap().id;
    let again = sequential(keep, &left, &copy).await.id;
    assert_eq!(keep.essence(&again).await, keep.essence(&left).await, "merging the same adds nothing");
}

async fn interleave_goes_by_time_and_from_either_side(keep: &Keep) {
    let at = |user: &str, second: i64| NewTurn {
        started_at: Some(Timestamp::from_micros(second * 1_000_000)),
        ..NewTurn::new(user, "yes")
    };
    let (a, b) = (keep.session_of(0).await.id, keep.session_of(0).await.id);
    let append = async |id: &SessionId, turns| {
        keep.chat.append_many(id, turns, WriteOptions::default()).await.unwrap();
    };
    append(&a, vec![at("1", 1), at("4", 4), at("5", 5)]).await;
    append(&b, vec![at("2", 2), at("3", 3), at("6", 6)]).await;
    let left = merge(keep, &a, &b, MergeStrategy::Interleave).await;
    assert_eq!(keep.words(&left.id).await, ["1", "2", "3", "4", "5", "6"]);
    let right = merge(keep, &b, &a, MergeStrategy::Interleave).await;
    assert_eq!(keep.essence(&right.id).await, keep.essence(&left.id).await);
}

async fn manual_keeps_the_picks_in_their_order(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let b = keep.fork_at(&a, 1).await.id;
    keep.say(&b, "b").await;
    let pick = |session: &SessionId, turn_number| Pick { session: session.clone(), turn_number };
    let picks = vec![pick(&b, 1), pick(&a, 2), pick(&b, 0)];
    let merged = keep.chat.merge(&a, &b, MergeOptions::picking(picks)).await.unwrap();
    assert_eq!(keep.words(&merged.id).await, ["b", "u2", "u0"]);
    assert_eq!(merged.evidence().tools_succeeded, 3);
}

async fn picks_that_make_no_sense_are_refused(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let b = keep.fork_at(&a, 2).await.id;
    let c = keep.session_of(1).await.id;
    let pick = |session: &SessionId, turn_number| Pick { session: session.clone(), turn_number };
    let try_picks = async |picks| refusal(keep.chat.merge(&a, &b, MergeOptions::picking(picks)).await);
    assert!(try_picks(vec![]).await.contains("manual"));
    assert!(try_picks(vec![pick(&c, 0)]).await.contains(c.as_str()));
    assert!(try_picks(vec![pick(&b, 2)]).await.contains("no turn 2; its 2 turns"));
    assert!(try_picks(vec![pick(&a, -1)]).await.contains("no turn -1"));
    assert!(try_picks(vec![pick(&a, 0), pick(&b, 0)]).await.contains("picked twice"));
    let odd =
        MergeOptions { strategy: MergeStrategy::Sequential, ..MergeOptions::picking(vec![pick(&a, 0)]) };
    let error = refusal(keep.chat.merge(&a, &b, odd).await);
    assert!(error.contains("sequential") && error.contains("manual"), "{error}");
    assert!(!keep.record(&a).await.is_merged && keep.chat.stats().await.unwrap().sessions == 3);
}

async fn a_session_cannot_be_merged_with_itself(keep: &Keep) {
    let session = keep.session_of(2).await;
    let error = refused(keep.chat.merge(&session.id, &session.id, MergeOptions::default()).await);
    assert!(matches!(error, ChatError::Refused(DomainError::MergeWithItself { .. })), "{error:?}");
    assert_eq!(keep.record(&session.id).await, session);
}

async fn legacy_observations_of_both_are_united(keep: &Keep) {
    let old = async |name: &str, sets: &[(&str, f64, f64)]| {
        let set = |(origin, alpha, beta): &(&str, f64, f64)| LegacySet {
            origin: id(origin),
            alpha: *alpha,
            beta: *beta,
        };
        let origin = Origin::Empty { legacy: sets.iter().map(set).collect() };
        let create = Write::CreateSession { session: NewSession::root(id(name)), origin, created_at: None };
        keep.store.commit(Change::at(Timestamp::from_micros(0)).write(create)).await.unwrap();
    };
    old("x", &[("o1", 3.0, 1.0), ("o2", 2.0, 0.0)]).await;
    old("y", &[("o2", 2.0, 0.0), ("o3", 1.0, 4.0)]).await;
    let merged = sequential(keep, &id("x"), &id("y")).await;
    let evidence = merged.evidence();
    assert!((evidence.alpha - 7.0).abs() < 1e-9 && (evidence.beta - 6.0).abs() < 1e-9, "{evidence:?}");
    let fork = keep.chat.fork(&merged.id, ForkOptions::default()).await.unwrap();
    assert_eq!(fork.evidence(), evidence);
}

async fn a_shared_turn_counts_once_with_its_signals(keep: &Keep) {
    let a = keep.session_of(2).await.id;
    let b = keep.fork_at(&a, 2).await.id;
    keep.chat.feedback(&b, 1, SignalKind::Correction, None, None).await.unwrap();
    let merged = sequential(keep, &a, &b).await;
    let evidence = merged.evidence();
    assert!((evidence.alpha - 2.0).abs() < 1e-9 && (evidence.beta - 2.0).abs() < 1e-9, "{evidence:?}");
    assert_eq!(evidence, keep.record(&a).await.evidence());
}

async fn sessions_of_two_families_merge_into_the_bases_family(keep: &Keep) {
    let (a, b) = (keep.session_of(2).await, keep.session_of(3).await);
    let merged = sequential(keep, &a.id, &b.id).await;
    assert_eq!((&merged.family, merged.turn_count()), (&a.family, 5));
    let nodes = keep.chat.branches(&merged.id).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.id().clone()).collect::<Vec<_>>(), [a.id, merged.id]);
}

async fn a_merge_can_be_appended_to_rewound_and_merged_again(keep: &Keep) {
    let a = keep.session_of(2).await.id;
    let b = keep.fork_at(&a, 1).await.id;
    keep.say(&b, "b").await;
    let merged = sequential(keep, &a, &b).await.id;
    keep.say(&merged, "on").await;
    assert_eq!(keep.words(&merged).await, ["u0", "u1", "b", "on"]);
    keep.chat.rewind(&merged, 3, WriteOptions::default()).await.unwrap();
    keep.say(&merged, "else").await;
    assert_eq!(keep.words(&merged).await, ["u0", "else"]);
    let again = sequential(keep, &merged, &b).await;
    assert_eq!(keep.words(&again.id).await, ["u0", "else", "b"]);
    let kept = keep.kept(&again.id).await;
    assert_eq!(kept[2].totals, again.totals, "totals at the end are the session's");
}

async fn a_merge_outlives_both_sources(keep: &Keep) {
    let (a, b) = (keep.session_of(2).await.id, keep.session_of(3).await.id);
    let merged = merge(keep, &a, &b, MergeStrategy::Interleave).await.id;
    let before = keep.essence(&merged).await;
    keep.chat.delete_session(&a).await.unwrap();
    keep.chat.delete_session(&b).await.unwrap();
    assert_eq!(keep.essence(&merged).await, before);
}

async fn merges_under_appends_hold_whole_prefixes(keep: &Keep) {
    let (a, b) = (keep.session_of(3).await.id, keep.session_of(3).await.id);
    let (chat, ids) = (keep.chat.clone(), [a.clone(), b.clone()]);
    let appending = tokio::spawn(async move {
        for n in 0..30 {
            let turn = NewTurn::new(format!("u{}", n / 2 + 3), "yes");
            chat.append(&ids[n % 2], turn, WriteOptions::default()).await.unwrap();
        }
    });
    let mut merges = Vec::new();
    for n in 0..10 {
        let strategy = if n % 2 == 0 { MergeStrategy::Sequential } else { MergeStrategy::Interleave };
        merges.push((strategy, merge(keep, &a, &b, strategy).await.id));
    }
    appending.await.unwrap();
    let (of_a, of_b) = (keep.kept(&a).await, keep.kept(&b).await);
    for (strategy, merged) in merges {
        let refs: Vec<_> = keep.kept(&merged).await.iter().map(|kept| kept.at).collect();
        for source in [&of_a, &of_b] {
            let held = source.iter().filter(|kept| refs.contains(&kept.at)).count();
            assert!(held >= 3 && source[..held].iter().all(|kept| refs.contains(&kept.at)), "{strategy}");
        }
    }
}
