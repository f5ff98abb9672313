//! Rewinding and restoring: a session points elsewhere, and can come back.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::checkpoint::{CheckpointKind, MAX_AUTOMATIC};
use membrane_core::history::Cut;
use membrane_core::session::Session;
use membrane_core::turn::{KeptTurn, Totals};

use super::fixture::{Fixture, append, assert_refused};
use crate::{Store, StoreError, Subject};

/// What a move must give back: all but the version and the times.
fn content(session: Session, turns: Vec<KeptTurn>) -> (Session, Vec<KeptTurn>) {
    let (version, last_active) = (0, session.created_at);
    (Session { version, last_active, ..session }, turns)
}

async fn content_of(f: &Fixture, id: &membrane_core::ids::SessionId) -> (Session, Vec<KeptTurn>) {
    let thread = f.thread(id).await;
    content(thread.session, thread.turns)
}

pub async fn a_rewind_takes_turns_and_totals_back_and_leaves_a_checkpoint(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let before = f.thread(&id).await;
    let more = vec![f.tool_turn("x", true), f.tool_turn("y", false)];
    f.write(append(&id, more)).await;
    let after = f.get(&id).await;
    let left = f.rewind(&id, 2).await;
    let rewound = f.thread(&id).await;
    assert_eq!(rewound.turns, before.turns);
    assert_eq!(rewound.session.totals, before.session.totals);
    assert_eq!(rewound.session.version, after.version + 1);
    let checkpoint = f.checkpoint(&id, &left).await;
    assert_eq!((checkpoint.cut, checkpoint.kind), (after.cut, CheckpointKind::Rewind));
    assert_eq!((&checkpoint.session, &checkpoint.name), (&id, &None));
    assert_eq!(checkpoint.created_at, rewound.session.last_active);
    assert_eq!(f.stats().await.turns_stored, 4, "the turns are still there for the checkpoint");
}

pub async fn restoring_a_rewinds_checkpoint_undoes_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(4).await;
    let id = f.fork(&parent, 3).await;
    f.append(&id, 3).await;
    let before = content_of(&f, &id).await;
    for turn_count in 0..6 {
        let left = f.rewind(&id, turn_count).await;
        assert_eq!(f.get(&id).await.cut.turn_count, turn_count);
        f.restore(&id, &left).await;
        assert_eq!(content_of(&f, &id).await, before, "after a rewind to {turn_count}");
    }
    let left = f.rewind(&id, 1).await;
    f.say(&id, "another way").await;
    f.restore(&id, &left).await;
    assert_eq!(content_of(&f, &id).await, before, "what was said meanwhile is left behind");
    let kinds: Vec<_> =
        f.store.list_checkpoints(&id).await.unwrap().into_iter().map(|checkpoint| checkpoint.kind).collect();
    assert_eq!(kinds[..2], [CheckpointKind::Restore, CheckpointKind::Rewind]);
}

pub async fn appending_after_a_rewind_goes_another_way(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(4).await;
    let old = f.kept(&id).await;
    let left = f.rewind(&id, 2).await;
    f.say(&id, "new").await;
    let thread = f.thread(&id).await;
    assert_eq!(f.said(&id).await, ["turn 0", "turn 1", "new"]);
    assert_eq!(thread.turns[..2], old[..2]);
    assert!(old.iter().all(|kept| kept.at != thread.turns[2].at), "an identity is never used twice");
    assert!(thread.turns[2].order_at > thread.turns[1].order_at);
    let sum = thread.turns.iter().fold(Totals::ZERO, |sum, kept| sum + kept.turn.measures());
    assert_eq!((thread.session.totals, thread.turns[2].totals), (sum, sum));
    let checkpoint = f.checkpoint(&id, &left).await;
    assert_eq!(f.store.load_turns(checkpoint.cut, 0..9).await.unwrap(), old, "what was left is as it was");
}

pub async fn a_session_that_comes_back_to_its_end_appends_in_place_again(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    let history = f.get(&id).await.cut.history;
    let left = f.rewind(&id, 1).await;
    f.restore(&id, &left).await;
    f.say(&id, "on").await;
    let thread = f.thread(&id).await;
    assert_eq!(thread.session.cut, Cut { history, turn_count: 4 });
    assert_eq!(thread.turns[3].at.position, 3);
    f.rewind(&id, 4).await;
    f.say(&id, "a rewind by nothing").await;
    assert_eq!(f.get(&id).await.cut, Cut { history, turn_count: 5 });
    let empty = f.create().await;
    let history = f.get(&empty).await.cut.history;
    f.rewind(&empty, 0).await;
    f.say(&empty, "first").await;
    assert_eq!(f.get(&empty).await.cut, Cut { history, turn_count: 1 });
}

pub async fn coming_back_inside_or_to_anothers_end_never_appends_in_place(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    let history = f.get(&id).await.cut.history;
    let inside = f.name_place(&id, "at 3").await;
    f.say(&id, "fourth").await;
    f.restore(&id, &inside).await;
    f.say(&id, "other fourth").await;
    assert_ne!(f.get(&id).await.cut.history, history, "position 3 was used before");
    let fork = f.fork(&id, 4).await;
    let left = f.rewind(&fork, 2).await;
    f.restore(&fork, &left).await;
    f.say(&fork, "fork's").await;
    f.say(&id, "owner's").await;
    assert_eq!(f.said(&fork).await[3..], ["other fourth", "fork's"]);
    assert_eq!(f.said(&id).await[3..], ["other fourth", "owner's"]);
}

pub async fn an_identity_is_never_used_twice_even_after_its_turn_was_deleted(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(5).await;
    let mut used: BTreeSet<_> = f.kept(&id).await.iter().map(|kept| kept.at).collect();
    let place = f.name_place(&id, "place").await;
    for round in 0..4_u64 {
        let left = f.rewind(&id, 3).await;
        f.write(crate::Write::DeleteCheckpoint { session: id.clone(), id: left }).await;
        if round == 0 {
            f.write(crate::Write::DeleteCheckpoint { session: id.clone(), id: place.clone() }).await;
            assert_eq!(f.stats().await.turns_stored, 3, "nothing reaches the last two any more");
        }
        f.append(&id, 2).await;
        for kept in &f.kept(&id).await[3..] {
            assert!(used.insert(kept.at), "{:?} was used before", kept.at);
        }
    }
}

pub async fn only_the_newest_automatic_checkpoints_are_kept(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let named = f.name_place(&id, "named").await;
    let mut left = Vec::new();
    for _ in 0..MAX_AUTOMATIC + 5 {
        f.append(&id, 1).await;
        left.push(f.rewind(&id, 2).await);
    }
    let kept: Vec<_> =
        f.store.list_checkpoints(&id).await.unwrap().into_iter().map(|checkpoint| checkpoint.id).collect();
    let mut expected = left.split_off(5);
    expected.reverse();
    expected.push(named);
    assert_eq!(kept, expected, "the one made last first, the named one stays");
    assert_eq!(f.stats().await.turns_stored, 2 + u64::try_from(MAX_AUTOMATIC).unwrap(), "their turns go too");
}

pub async fn a_clock_that_runs_backwards_prunes_the_oldest_made_all_the_same(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let cut = f.get(&id).await.cut;
    let mut left = Vec::new();
    for round in 0..MAX_AUTOMATIC + 3 {
        let (checkpoint, mut change) = f.move_to(&id, Cut { turn_count: 0, ..cut }, CheckpointKind::Rewind);
        change.now = change.now.minus(Duration::from_secs(60 * u64::try_from(round).unwrap()));
        f.commit(change).await;
        left.insert(0, checkpoint);
    }
    left.truncate(MAX_AUTOMATIC);
    let kept: Vec<_> =
        f.store.list_checkpoints(&id).await.unwrap().into_iter().map(|checkpoint| checkpoint.id).collect();
    assert_eq!(kept, left, "in the order of making, so that the last move can always be undone");
}

pub async fn a_move_refuses_a_checkpoint_id_that_is_taken(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(2).await, f.session(2).await);
    let taken = f.name_place(&other, "taken").await;
    let cut = f.get(&id).await.cut;
    let (fresh, mut change) = f.move_to(&id, Cut { turn_count: 1, ..cut }, CheckpointKind::Rewind);
    for write in &mut change.writes {
        if let crate::Write::MoveSession { leave, .. } = write {
            leave.id = taken.clone();
        }
    }
    let error = f.refused(change).await;
    assert_refused!(
        error,
        StoreError::AlreadyExists { subject: Subject::Checkpoint, id } if *id == *taken.as_str()
    );
    assert_eq!(f.get(&id).await.cut, cut);
    assert_eq!(f.store.find_checkpoint(&id, &fresh).await.unwrap(), None);
}
