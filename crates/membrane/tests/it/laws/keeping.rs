//! A turn keeps its identity and its content, nothing that happens elsewhere changes a session, deleting
//! takes exactly what nobody else holds, and what is saved is what was in memory.

use std::collections::{BTreeMap, BTreeSet};

use membrane::core::history::TurnRef;
use membrane::{ChatError, Turn};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::campaign::{Case, laws};
use super::drafts;
use super::driven::{Driven, Facts};
use super::ops::newest;

laws!(
    an_identity_keeps_its_content_and_is_never_given_twice,
    a_session_changes_only_by_what_is_done_to_it,
    deleting_takes_what_nobody_else_holds_and_nothing_more,
    what_is_saved_is_what_was_in_memory,
);

async fn an_identity_keeps_its_content_and_is_never_given_twice(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    let mut seen: BTreeMap<TurnRef, Turn> = BTreeMap::new();
    for op in &case.ops {
        let Some(session) = driven.play(op).await else { continue };
        for kept in driven.kept(session).await {
            let first = seen.entry(kept.at).or_insert_with(|| kept.turn.clone());
            prop_assert_eq!(&kept.turn, &*first);
        }
    }
    let names: BTreeSet<_> = seen.values().map(|turn| &turn.id).collect();
    prop_assert_eq!(names.len(), seen.len(), "one name for two turns");
    Ok(driven.facts)
}

async fn a_session_changes_only_by_what_is_done_to_it(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    let mut held = vec![driven.shown(0).await];
    for op in &case.ops {
        let changed = driven.play(op).await;
        for session in 0..driven.ids.len() {
            let now = driven.shown(session).await;
            if session == held.len() {
                held.push(now);
            } else if changed == Some(session) {
                held[session] = now;
            } else {
                prop_assert_eq!(&held[session].turns, &now.turns);
            }
        }
    }
    Ok(driven.facts)
}

/// Sessions are deleted one by one; the others stay as they are, named checkpoints can be returned to, and
/// the last one leaves an empty store.
async fn deleting_takes_what_nobody_else_holds_and_nothing_more(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let mut living: Vec<usize> = (0..driven.ids.len()).collect();
    while !living.is_empty() {
        let selector = case.picks[living.len() % 3];
        let gone = living.remove(newest(selector, living.len()));
        let mut before = Vec::new();
        for &session in &living {
            before.push(driven.shown(session).await);
        }
        driven.chat.delete_session(&driven.ids[gone]).await.unwrap();
        let again = driven.chat.delete_session(&driven.ids[gone]).await;
        let is_gone = matches!(again, Err(ChatError::NotFound { .. }));
        prop_assert!(is_gone, "deleted twice: {again:?}");
        for (&session, before) in living.iter().zip(&before) {
            prop_assert_eq!(&driven.shown(session).await, before, "after {} was deleted", gone);
        }
        if let Some(&session) = living.last() {
            returns_to_every_checkpoint(&driven, session).await?;
        }
    }
    let stats = driven.chat.stats().await.unwrap();
    let left = (stats.sessions, stats.turns_stored, stats.histories, stats.slices, stats.runs);
    prop_assert_eq!(left, (0, 0, 0, 0, 0), "something is left behind");
    Ok(driven.facts)
}

/// In a fork, because that leaves the session as it is: to the named ones whole, to the automatic ones up
/// to where something is missing.
async fn returns_to_every_checkpoint(driven: &Driven, session: usize) -> Result<(), TestCaseError> {
    let before = driven.shown(session).await;
    let here = driven.chat.checkpoint(&driven.ids[session], None, None).await.unwrap();
    for (left, list) in driven.checkpoints[session].iter().zip(&driven.plain.checkpoints[session]) {
        let restored = match driven.chat.restore(&driven.ids[session], &left.id, None).await {
            Ok(restored) => restored,
            // Returning leaves automatic checkpoints too, and only the newest of them are kept.
            Err(ChatError::NotFound { .. }) if left.kind.is_automatic() => continue,
            Err(error) => panic!("{error}"),
        };
        prop_assert!(restored.missing == 0 || left.kind.is_automatic());
        let all = driven.plain.refs(list);
        let there = all.len() - usize::try_from(restored.missing).unwrap();
        prop_assert_eq!(&driven.refs(session).await[..], &all[..there]);
    }
    driven.chat.restore(&driven.ids[session], &here.id, None).await.unwrap();
    driven.chat.delete_checkpoint(&driven.ids[session], &here.id).await.unwrap();
    prop_assert_eq!(&driven.shown(session).await, &before);
    Ok(())
}

async fn what_is_saved_is_what_was_in_memory(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for (session, id) in driven.ids.iter().enumerate() {
        let before = driven.refs(session).await;
        let mut loaded = driven.chat.load_session(id).await.unwrap().unwrap();
        let version = loaded.version();
        let place = usize::from(case.picks[session % 3]) % (loaded.turns.len() + 1);
        match case.picks[(session + 1) % 3] % 5 {
            0 => loaded.turns.truncate(place),
            1 => {
                if let Some(turn) = loaded.turns.get_mut(place) {
                    turn.assistant.content.push_str(", in other words");
                }
            }
            2 => loaded.turns.as_mut_vec().reverse(),
            3 => {
                let copies: Vec<Turn> = loaded.turns[place..].to_vec();
                loaded.turns.extend(copies);
            }
            _ => {}
        }
        for draft in &case.drafts[..usize::from(case.picks[(session + 2) % 3]) % (case.drafts.len() + 1)] {
            loaded.add_turn(drafts::user_text(draft), drafts::reply_text(draft));
        }
        let saved = driven.chat.save_session(&mut loaded).await.unwrap();
        let turns = driven.shown(session).await.turns;
        prop_assert_eq!(&turns[..], &loaded.turns[..]);
        let after = driven.refs(session).await;
        let kept = usize::try_from(saved.kept).unwrap();
        prop_assert_eq!(&after[..kept], &before[..kept], "what is kept is the very same");
        let writes = u64::from(saved.removed > 0 || saved.appended > 0);
        prop_assert_eq!(Some(saved.version), version.map(|version| version + writes));
        let again = driven.chat.save_session(&mut loaded).await.unwrap();
        prop_assert_eq!((again.version, again.kept), (saved.version, u64::try_from(turns.len()).unwrap()));
        let names: BTreeSet<_> = turns.iter().map(|turn| &turn.id).collect();
        prop_assert_eq!(names.len(), turns.len(), "one name for two turns");
    }
    Ok(driven.facts)
}
