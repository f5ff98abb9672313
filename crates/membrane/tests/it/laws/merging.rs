//! What merging promises: of `sequential` and of `interleave`. `manual` keeps what was picked, which the
//! operations themselves compare with plain lists.

use membrane::SessionId;
use membrane::core::history::TurnRef;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::campaign::{Case, Verdict, laws};
use super::driven::{Driven, Facts};
use super::ops::up_to;
use super::world::Lawful;

laws!(
    sequential_merge_of_a_fork_is_the_source,
    sequential_merge_is_associative,
    sequential_merge_is_idempotent,
    interleave_merge_of_a_fork_is_the_source,
    interleave_merge_is_associative,
    interleave_merge_is_commutative,
    interleave_merge_is_idempotent,
    joining_evidence_is_a_union_of_sets,
);

async fn sequential_merge_of_a_fork_is_the_source(
    driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    merging_forks_gives_the_source(driven, case, Lawful::Sequential).await
}

async fn interleave_merge_of_a_fork_is_the_source(
    driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    merging_forks_gives_the_source(driven, case, Lawful::Interleave).await
}

async fn sequential_merge_is_associative(driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    is_associative(driven, case, Lawful::Sequential).await
}

async fn interleave_merge_is_associative(driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    is_associative(driven, case, Lawful::Interleave).await
}

async fn sequential_merge_is_idempotent(driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    is_idempotent(driven, case, Lawful::Sequential).await
}

async fn interleave_merge_is_idempotent(driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    is_idempotent(driven, case, Lawful::Interleave).await
}

async fn interleave_merge_is_commutative(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let [a, b, c] = picked(&driven, &case);
    for (x, y) in [(&a, &b), (&b, &c), (&c, &a)] {
        let one = driven.merge_ids(x, y, Lawful::Interleave).await;
        let other = driven.merge_ids(y, x, Lawful::Interleave).await;
        are_equivalent(&driven, &one, &other).await?;
    }
    Ok(driven.facts)
}

async fn joining_evidence_is_a_union_of_sets(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let [a, b, c] = picked(&driven, &case);
    for how in [Lawful::Sequential, Lawful::Interleave] {
        let (ab, ba) = (driven.merge_ids(&a, &b, how).await, driven.merge_ids(&b, &a, how).await);
        have_the_same_evidence(&driven, &ab, &ba).await?;
        let (abb, aa) = (driven.merge_ids(&ab, &b, how).await, driven.merge_ids(&a, &a, how).await);
        have_the_same_evidence(&driven, &abb, &ab).await?;
        have_the_same_evidence(&driven, &aa, &a).await?;
        let (bc, abc) = (driven.merge_ids(&b, &c, how).await, driven.merge_ids(&ab, &c, how).await);
        let a_bc = driven.merge_ids(&a, &bc, how).await;
        have_the_same_evidence(&driven, &abc, &a_bc).await?;
    }
    Ok(driven.facts)
}

/// For each picked session and three forks of it, in both directions. Interleaving gives the source only
/// when that stands in the order of time itself.
async fn merging_forks_gives_the_source(
    mut driven: Driven,
    case: Case,
    how: Lawful,
) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let mut tried = 0;
    for session in 0..driven.ids.len() {
        if how == Lawful::Interleave && !stands_in_order(&driven, session).await {
            continue;
        }
        tried += 1;
        let source = driven.ids[session].clone();
        let end = driven.turn_count(session).await;
        let point = up_to(case.picks[session % 3], end);
        for fork_point in [0, point, end] {
            let fork = driven.fork_id(session, Some(i64::try_from(fork_point).unwrap())).await;
            for (left, right) in [(&source, &fork), (&fork, &source)] {
                let merged = driven.merge_ids(left, right, how).await;
                are_equivalent(&driven, &merged, &source).await?;
            }
        }
    }
    prop_assert!(tried > 0, "no session stands in the order of time");
    Ok(driven.facts)
}

async fn is_associative(mut driven: Driven, case: Case, how: Lawful) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let [a, b, c] = picked(&driven, &case);
    for (x, y, z) in [(&a, &b, &c), (&b, &c, &a), (&c, &b, &a)] {
        let (xy, yz) = (driven.merge_ids(x, y, how).await, driven.merge_ids(y, z, how).await);
        let (left, right) = (driven.merge_ids(&xy, z, how).await, driven.merge_ids(x, &yz, how).await);
        are_equivalent(&driven, &left, &right).await?;
    }
    Ok(driven.facts)
}

/// What went into a merge adds nothing when merged once more, nor does the merge itself.
async fn is_idempotent(mut driven: Driven, case: Case, how: Lawful) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    let [a, b, c] = picked(&driven, &case);
    for (x, y) in [(&a, &b), (&b, &c), (&c, &a)] {
        let merged = driven.merge_ids(x, y, how).await;
        for more in [x, y, &merged] {
            let again = driven.merge_ids(&merged, more, how).await;
            are_equivalent(&driven, &again, &merged).await?;
        }
    }
    Ok(driven.facts)
}

fn picked(driven: &Driven, case: &Case) -> [SessionId; 3] {
    case.picks.map(|pick| driven.ids[driven.select(pick)].clone())
}

async fn stands_in_order(driven: &Driven, session: usize) -> bool {
    let kept = driven.kept(session).await;
    kept.is_sorted_by_key(|kept| -> (_, TurnRef) { (kept.order_at, kept.at) })
}

async fn are_equivalent(driven: &Driven, left: &SessionId, right: &SessionId) -> Verdict {
    let (left, right) = (driven.shown_as(left).await, driven.shown_as(right).await);
    prop_assert!(left.is_equivalent(&right), "{left:?} is not equivalent to {right:?}");
    Ok(())
}

async fn have_the_same_evidence(driven: &Driven, left: &SessionId, right: &SessionId) -> Verdict {
    let (left, right) = (driven.shown_as(left).await.evidence, driven.shown_as(right).await.evidence);
    prop_assert!(left.is_equivalent(&right), "{left:?} is not the same as {right:?}");
    Ok(())
}
