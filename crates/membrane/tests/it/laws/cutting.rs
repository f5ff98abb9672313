//! Checkpoints, rewinds and restores: each gives back what was, and each can be undone. And evidence,
//! which is derived at every cut.

use membrane::core::evidence::Evidence;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::campaign::{Case, Verdict, laws};
use super::driven::{Driven, Facts, Shown};
use super::ops::{Draft, Op, up_to};

laws!(
    sessions_agree_with_plain_lists,
    evidence_is_derived,
    restore_of_a_checkpoint_is_the_session,
    restore_derives_evidence_afresh,
    rewind_of_added_turns_is_the_session,
    undo_of_a_rewind_is_the_session,
    nothing_is_clamped,
);

/// Every session shows the turns that a plain list has, with running totals that are their sums.
async fn sessions_agree_with_plain_lists(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for session in 0..driven.ids.len() {
        let list = &driven.plain.sessions[session];
        let (record, kept) = (driven.session(session).await, driven.kept(session).await);
        let refs: Vec<_> = kept.iter().map(|kept| kept.at).collect();
        prop_assert_eq!(refs, driven.plain.refs(list));
        let order: Vec<_> = kept.iter().map(|kept| kept.order_at.as_micros()).collect();
        prop_assert_eq!(order, driven.plain.order(list));
        prop_assert_eq!(record.totals, driven.plain.totals(list));
        for (number, kept) in (1..).zip(&kept) {
            prop_assert_eq!(kept.totals, driven.plain.totals(&list.first(number)));
            prop_assert_eq!(kept.number + 1, u64::try_from(number).unwrap());
        }
    }
    Ok(driven.facts)
}

/// Evidence is a function of the sets of turns, signals and legacy observations, at every cut.
async fn evidence_is_derived(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for session in 0..driven.ids.len() {
        let list = &driven.plain.sessions[session];
        let record = driven.session(session).await;
        is_same(record.evidence(), driven.plain.evidence(list))?;
        for (number, kept) in (1..).zip(driven.kept(session).await) {
            let derived = Evidence::derive(kept.totals, kept.flipped, record.legacy);
            is_same(derived, driven.plain.evidence(&list.first(number)))?;
        }
        // A rewind takes its evidence back.
        let turns = up_to(case.picks[1], record.turn_count());
        driven.rewind(session, turns).await;
        let now = driven.session(session).await;
        is_same(now.evidence(), driven.plain.evidence(&driven.plain.sessions[session]))?;
    }
    Ok(driven.facts)
}

/// For a fixed set of signals; the next law is for any.
async fn restore_of_a_checkpoint_is_the_session(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    let (before, since) = split(&case);
    driven.play_all(before).await;
    let mut left = Vec::new();
    for session in 0..driven.ids.len() {
        driven.checkpoint(session).await;
        let id = driven.checkpoints[session].last().unwrap().id.clone();
        left.push((session, id, driven.shown(session).await));
    }
    for op in since {
        if !matches!(op, Op::Signal { .. }) {
            driven.play(op).await;
        }
    }
    for (session, id, shown) in left {
        let checkpoint = driven.checkpoints[session].iter().position(|left| left.id == id).unwrap();
        driven.restore(session, checkpoint).await;
        shows(&driven, session, &shown).await?;
    }
    Ok(driven.facts)
}

async fn restore_derives_evidence_afresh(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for session in 0..driven.ids.len() {
        for selector in case.picks {
            let count = driven.checkpoints[session].len();
            if count == 0 {
                continue;
            }
            let checkpoint = usize::from(selector) % count;
            let list = driven.plain.checkpoints[session][checkpoint].clone();
            driven.restore(session, checkpoint).await;
            prop_assert_eq!(driven.refs(session).await, driven.plain.refs(&list));
            is_same(driven.session(session).await.evidence(), driven.plain.evidence(&list))?;
        }
    }
    Ok(driven.facts)
}

async fn rewind_of_added_turns_is_the_session(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for session in 0..driven.ids.len() {
        let before = driven.shown(session).await;
        for draft in &case.drafts {
            driven.append(session, draft).await;
        }
        driven.play(&signal_on_the_last(&driven, session).await).await;
        driven.rewind(session, u64::try_from(case.drafts.len()).unwrap()).await;
        shows(&driven, session, &before).await?;
    }
    Ok(driven.facts)
}

/// Also when another answer was tried in between; and the undoing can be undone.
async fn undo_of_a_rewind_is_the_session(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for session in 0..driven.ids.len() {
        let before = driven.shown(session).await;
        let turns = up_to(case.picks[1], driven.turn_count(session).await);
        if turns == 0 {
            continue;
        }
        let other_answers: [&[Draft]; 2] = [&[], &case.drafts];
        for drafts in other_answers {
            driven.rewind(session, turns).await;
            let of_rewind = driven.checkpoints[session].last().unwrap().id.clone();
            for draft in drafts {
                driven.append(session, draft).await;
            }
            let after = driven.shown(session).await;
            let find = |driven: &Driven| {
                driven.checkpoints[session].iter().position(|left| left.id == of_rewind).unwrap()
            };
            driven.restore(session, find(&driven)).await;
            shows(&driven, session, &before).await?;
            let of_restore = driven.checkpoints[session].len() - 1;
            driven.restore(session, of_restore).await;
            shows(&driven, session, &after).await?;
            driven.restore(session, find(&driven)).await;
            shows(&driven, session, &before).await?;
        }
    }
    Ok(driven.facts)
}

/// What lies beyond the end is refused and changes nothing.
async fn nothing_is_clamped(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let beyond = i64::from(case.picks[2]);
    for session in 0..driven.ids.len() {
        let before = driven.session(session).await;
        let id = &driven.ids[session];
        let end = i64::try_from(before.turn_count()).unwrap();
        for fork_point in [-1 - beyond, end + 1 + beyond] {
            let options = membrane::ForkOptions { fork_point: Some(fork_point), ..Default::default() };
            prop_assert!(driven.chat.fork(id, options).await.is_err());
        }
        let turns = before.turn_count() + 1 + u64::from(case.picks[2]);
        prop_assert!(driven.chat.rewind(id, turns, membrane::WriteOptions::default()).await.is_err());
        for number in [-1 - beyond, end + beyond] {
            let said = driven.chat.feedback(id, number, membrane::SignalKind::Negative, None, None).await;
            prop_assert!(said.is_err());
        }
        prop_assert_eq!(driven.session(session).await, before);
    }
    Ok(driven.facts)
}

/// The operations before and after the moment that the case picks.
fn split(case: &Case) -> (&[Op], &[Op]) {
    case.ops.split_at(usize::from(case.picks[0]) % (case.ops.len() + 1))
}

async fn signal_on_the_last(driven: &Driven, session: usize) -> Op {
    let last = driven.turn_count(session).await - 1;
    Op::Signal {
        session: u8::try_from(driven.ids.len() - 1 - session).unwrap(),
        turn: u8::try_from(last).unwrap(),
        mood: super::ops::Mood::Correction,
    }
}

async fn shows(driven: &Driven, session: usize, expected: &Shown) -> Verdict {
    let shown = driven.shown(session).await;
    prop_assert!(shown.is_equivalent(expected), "session {session} shows {shown:?}, not {expected:?}");
    Ok(())
}

fn is_same(found: Evidence, counted: Evidence) -> Verdict {
    let close = (found.alpha - counted.alpha).abs() < 1e-9 && (found.beta - counted.beta).abs() < 1e-9;
    let tools = |evidence: Evidence| (evidence.tools_succeeded, evidence.tools_failed);
    prop_assert!(close && tools(found) == tools(counted), "{found:?} is not {counted:?}");
    Ok(())
}
