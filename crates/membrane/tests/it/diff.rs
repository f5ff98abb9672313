//! Comparing sessions.

use membrane::{MergeOptions, MergeStrategy, NewTurn, SignalKind, WriteOptions};

use crate::keep::{Keep, on_every_store};

on_every_store!(
    only_what_one_side_holds_is_shown_numbered_as_there,
    seen_from_the_other_side_it_is_inverted,
    a_session_differs_from_itself_in_nothing,
    a_fork_that_did_not_go_on_is_equivalent,
    a_signal_on_an_own_turn_makes_the_evidence_differ,
    equal_words_of_different_turns_have_the_same_hash,
    diffs_under_rewinds_and_appends_fit_together,
);

async fn only_what_one_side_holds_is_shown_numbered_as_there(keep: &Keep) {
    let a = keep.session_of(4).await.id;
    let b = keep.fork_at(&a, 2).await.id;
    keep.say(&b, "b0").await;
    keep.say(&b, "b1").await;
    keep.say(&b, "b2").await;
    let merged = keep.chat.merge(&a, &b, MergeOptions::default()).await.unwrap().id;
    let found = keep.chat.diff(&b, &merged).await.unwrap();
    assert_eq!((found.common, found.only_left.len()), (5, 0));
    let right: Vec<_> =
        found.only_right.iter().map(|kept| (kept.number, kept.turn.user.content.as_str())).collect();
    assert_eq!(right, [(2, "u2"), (3, "u3")]);
    let found = keep.chat.diff(&a, &b).await.unwrap();
    assert_eq!((found.common, found.left.turn_count(), found.right.turn_count()), (2, 4, 5));
    let numbers = |turns: &[membrane::KeptTurn]| turns.iter().map(|kept| kept.number).collect::<Vec<_>>();
    assert_eq!((numbers(&found.only_left), numbers(&found.only_right)), (vec![2, 3], vec![2, 3, 4]));
    assert!(!found.content_hash_same && !found.evidence_equivalent);
}

async fn seen_from_the_other_side_it_is_inverted(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let b = keep.fork_at(&a, 1).await.id;
    keep.say(&b, "b").await;
    let there = keep.chat.diff(&a, &b).await.unwrap();
    assert_eq!(there.inverted(), keep.chat.diff(&b, &a).await.unwrap());
}

async fn a_session_differs_from_itself_in_nothing(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let found = keep.chat.diff(&a, &a).await.unwrap();
    assert_eq!((found.common, found.only_left.len(), found.only_right.len()), (3, 0, 0));
    assert!(found.content_hash_same && found.evidence_equivalent);
}

async fn a_fork_that_did_not_go_on_is_equivalent(keep: &Keep) {
    let a = keep.session_of(3).await.id;
    let b = keep.fork_at(&a, 3).await.id;
    let found = keep.chat.diff(&a, &b).await.unwrap();
    assert!(found.common == 3 && found.content_hash_same && found.evidence_equivalent);
}

async fn a_signal_on_an_own_turn_makes_the_evidence_differ(keep: &Keep) {
    let a = keep.session_of(2).await.id;
    let b = keep.fork_at(&a, 1).await.id;
    keep.extend(&b, 1).await;
    assert!(keep.chat.diff(&a, &b).await.unwrap().evidence_equivalent);
    keep.chat.feedback(&b, 1, SignalKind::Negative, None, None).await.unwrap();
    assert!(!keep.chat.diff(&a, &b).await.unwrap().evidence_equivalent);
}

async fn equal_words_of_different_turns_have_the_same_hash(keep: &Keep) {
    let (a, b) = (keep.session_of(3).await.id, keep.session_of(3).await.id);
    let found = keep.chat.diff(&a, &b).await.unwrap();
    assert_eq!((found.common, found.only_left.len(), found.only_right.len()), (0, 3, 3));
    assert!(found.content_hash_same);
    keep.chat.append(&a, NewTurn::new("ab", "cd"), WriteOptions::default()).await.unwrap();
    keep.chat.append(&b, NewTurn::new("ab", "ce"), WriteOptions::default()).await.unwrap();
    assert!(!keep.chat.diff(&a, &b).await.unwrap().content_hash_same, "same length, other words");
    let (x, y) = (keep.session_of(0).await.id, keep.session_of(0).await.id);
    assert!(keep.chat.diff(&x, &y).await.unwrap().content_hash_same, "both say nothing");
    assert!(!keep.chat.diff(&x, &a).await.unwrap().content_hash_same);
}

async fn diffs_under_rewinds_and_appends_fit_together(keep: &Keep) {
    let a = keep.session_of(6).await.id;
    let b = keep.fork_at(&a, 4).await.id;
    let (chat, id) = (keep.chat.clone(), b.clone());
    let working = tokio::spawn(async move {
        for n in 0..15 {
            chat.append(&id, NewTurn::new(format!("{n}"), "yes"), WriteOptions::default()).await.unwrap();
            chat.rewind(&id, 1 + n % 2, WriteOptions::default()).await.unwrap();
            chat.append(&id, NewTurn::new(format!("{n}!"), "yes"), WriteOptions::default()).await.unwrap();
        }
    });
    for n in 0..20 {
        let found = keep.chat.diff(&a, &b).await.unwrap();
        assert_eq!(found.common + found.only_left.len() as u64, found.left.turn_count());
        assert_eq!(found.common + found.only_right.len() as u64, found.right.turn_count());
        if n == 10 {
            keep.chat.merge(&a, &b, MergeOptions::by(MergeStrategy::Sequential)).await.unwrap();
        }
    }
    working.await.unwrap();
}
