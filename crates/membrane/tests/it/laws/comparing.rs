//! Comparing two sessions: both sides add up, and seen from the other side it is the same comparison.

use std::collections::BTreeSet;

use membrane::KeptTurn;
use membrane::core::history::TurnRef;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::campaign::{Case, laws};
use super::driven::{Driven, Facts};

laws!(diff_inverted_is_the_diff_of_the_other_side, diff_is_the_difference_of_sets);

async fn diff_inverted_is_the_diff_of_the_other_side(
    mut driven: Driven,
    case: Case,
) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for (left, right) in pairs(&driven, &case) {
        let (left, right) = (&driven.ids[left], &driven.ids[right]);
        let there = driven.chat.diff(left, right).await.unwrap();
        prop_assert_eq!(there.inverted(), driven.chat.diff(right, left).await.unwrap());
    }
    Ok(driven.facts)
}

async fn diff_is_the_difference_of_sets(mut driven: Driven, case: Case) -> Result<Facts, TestCaseError> {
    driven.play_all(&case.ops).await;
    for (left, right) in pairs(&driven, &case) {
        let found = driven.chat.diff(&driven.ids[left], &driven.ids[right]).await.unwrap();
        let (kept_left, kept_right) = (driven.kept(left).await, driven.kept(right).await);
        prop_assert_eq!(&found.only_left, &without(&kept_left, &kept_right));
        prop_assert_eq!(&found.only_right, &without(&kept_right, &kept_left));
        let only_left = u64::try_from(found.only_left.len()).unwrap();
        prop_assert_eq!(found.common + only_left, found.left.turn_count());
        let words = |kept: &[KeptTurn]| -> Vec<String> {
            kept.iter()
                .map(|kept| kept.turn.user.content.clone() + ":" + &kept.turn.assistant.content)
                .collect()
        };
        let same = words(&kept_left).join("|") == words(&kept_right).join("|");
        prop_assert_eq!(found.content_hash_same, same);
    }
    Ok(driven.facts)
}

/// The picked sessions in every combination, and each with its newest neighbour.
fn pairs(driven: &Driven, case: &Case) -> Vec<(usize, usize)> {
    let picked = case.picks.map(|pick| driven.select(pick));
    let mut pairs: Vec<_> = picked.iter().flat_map(|&left| picked.map(|right| (left, right))).collect();
    pairs.extend((1..driven.ids.len()).map(|session| (session - 1, session)));
    pairs
}

fn without(turns: &[KeptTurn], others: &[KeptTurn]) -> Vec<KeptTurn> {
    let others: BTreeSet<TurnRef> = others.iter().map(|kept| kept.at).collect();
    turns.iter().filter(|kept| !others.contains(&kept.at)).cloned().collect()
}
