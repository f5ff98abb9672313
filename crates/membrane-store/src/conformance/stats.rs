//! How much there is: what forks share, what is kept beside turns, and what began when.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::crystal::Crystal;
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::time::Timestamp;

use super::fixture::{Fixture, LONG_LEASE, append, create_root};
use crate::stats::Begun;
use crate::{Store, StoreStats, Write};

/// Bytes of text of all sessions, added up turn by turn.
async fn shown_turn_by_turn(f: &Fixture, sessions: &[&SessionId]) -> u64 {
    let mut bytes = 0;
    for session in sessions {
        for kept in f.thread(session).await.turns {
            bytes += kept.turn.user.content.len() + kept.turn.assistant.content.len();
        }
    }
    u64::try_from(bytes).unwrap()
}

pub async fn text_that_forks_share_is_shown_often_and_stored_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    assert_eq!(f.stats().await, StoreStats::default());
    let root = f.session_id();
    f.write(create_root(&root)).await;
    let mut turns = f.turns(4);
    for (turn, text) in turns.iter_mut().zip(["plain", "zwölf Boxkämpfer", "nul \0 inside", ""]) {
        text.clone_into(&mut turn.user.content);
        turn.assistant.content = format!("{text} {text}");
    }
    f.write(append(&root, turns)).await;
    let alone = shown_turn_by_turn(&f, &[&root]).await;
    let stats = f.stats().await;
    assert_eq!((stats.text_bytes_shown, stats.text_bytes_stored), (alone, alone));
    let whole = f.fork(&root, 4).await;
    let part = f.fork(&root, 2).await;
    let empty = f.fork(&root, 0).await;
    let stats = f.stats().await;
    assert_eq!(stats.text_bytes_stored, alone, "a fork copies no text");
    f.append(&part, 3).await;
    f.append(&root, 2).await;
    let merge = f.merge(&root, &part).await;
    f.append(&merge, 1).await;
    f.rewind(&root, 3).await;
    let all = [&root, &whole, &part, &empty, &merge];
    let stats = f.stats().await;
    assert_eq!(stats.text_bytes_shown, shown_turn_by_turn(&f, &all).await);
    assert!(stats.text_bytes_shown > stats.text_bytes_stored, "{stats:?}");
    for gone in [&root, &merge] {
        f.delete(gone).await;
    }
    let stats = f.stats().await;
    assert_eq!(stats.text_bytes_shown, shown_turn_by_turn(&f, &[&whole, &part, &empty]).await);
    for gone in [&whole, &part, &empty] {
        f.delete(gone).await;
    }
    assert_eq!(f.stats().await, StoreStats::default());
}

pub async fn everything_that_is_kept_is_counted(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    f.name_place(&id, "here").await;
    f.rewind(&id, 2).await;
    f.write(Write::SaveCrystal(Crystal {
        session: id.clone(),
        title: "a title is no text of a turn".to_owned(),
        summary: String::new(),
        key_decisions: Vec::new(),
        artifacts: Vec::new(),
        final_evidence: Json::empty_object(),
        final_turn_count: 2,
        created_at: f.now(),
    }))
    .await;
    f.begin(&f.session(0).await, LONG_LEASE).await;
    let stats = f.stats().await;
    assert_eq!((stats.sessions, stats.turns_shown, stats.turns_stored), (2, 2, 3));
    assert_eq!((stats.checkpoints, stats.crystals, stats.runs), (2, 1, 1));
    assert!(
        stats.text_bytes_stored > stats.text_bytes_shown,
        "what only a checkpoint sees is stored: {stats:?}"
    );
    let begun: u64 = stats.growth.days.iter().map(|day| day.turns).sum();
    assert_eq!(begun, 3, "a turn that is under way has not ended");
}

pub async fn growth_is_told_by_the_days_on_which_things_began(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    let created_at = f.thread(&id).await.session.created_at;
    let mut turns = f.turns(3);
    for (turn, text) in turns.iter_mut().zip([
        "2020-02-29T23:59:59.999999Z",
        "2020-03-01T00:00:00Z",
        "2020-03-01T23:59:59.999999Z",
    ]) {
        turn.started_at = Timestamp::parse(text).unwrap();
        turn.completed_at = turn.started_at;
    }
    f.write(append(&id, turns)).await;
    f.fork(&id, 3).await;
    let growth = f.stats().await.growth;
    let begun = |period: &str, sessions, turns| Begun { period: period.to_owned(), sessions, turns };
    let today = &created_at.to_string()[..10];
    assert_eq!(growth.days, [begun(today, 2, 0), begun("2020-03-01", 0, 2), begun("2020-02-29", 0, 1)]);
    assert_eq!(growth.months, []);
}
