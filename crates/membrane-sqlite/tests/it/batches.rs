//! Many changes in one commit: each gets its own answer, and nothing of a refused one stays.
//!
//! How long a caller waits is in `waiting`.

use std::sync::Arc;

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, HistoryId, SessionId};
use membrane_store::change::Leave;
use membrane_store::conformance::fixture::{Fixture, append, create_root};
use membrane_store::{Change, Requirement, StoreError, Write};

use crate::keep::Keep;

/// What is done to a session in the crowd, and whether it must succeed.
fn change(f: &Fixture, crowd: &SessionId, number: u64) -> (Change, bool) {
    let fresh = SessionId::from_stored(&format!("fresh-{number}"));
    let say = |session: &SessionId| append(session, vec![f.turn(&number.to_string())]);
    let change = f.change();
    match number % 8 {
        // Before anything is written.
        0 => {
            let requirement = Requirement::Version { session: crowd.clone(), version: 999_999 };
            (change.require(requirement).write(say(crowd)), false)
        }
        1 => (change.write(say(&SessionId::from_stored("nobody"))), false),
        // After something is written.
        2 => (change.write(create_root(&fresh)).write(say(&fresh)).write(create_root(crowd)), false),
        3 => (change.write(say(crowd)).write(create_root(&fresh)).write(create_root(&fresh)), false),
        4 => {
            let leave = Leave {
                id: CheckpointId::from_stored(&format!("left-{number}")),
                kind: CheckpointKind::Rewind,
                name: None,
            };
            let to = Cut { history: HistoryId(999_999), turn_count: 1 };
            let go = Write::MoveSession { session: crowd.clone(), to, leave };
            (change.write(say(crowd)).write(go), false)
        }
        5 => (change.write(create_root(&fresh)).write(say(&fresh)), true),
        _ => (change.write(say(crowd)), true),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_changes_leave_nothing_and_do_not_disturb_the_others() {
    let keep = Keep::new();
    let f = Arc::new(keep.open().await);
    let crowd = f.create().await;
    for round in 0..5 {
        let under_way: Vec<_> = (round * 200..round * 200 + 200)
            .map(|number| {
                let (change, succeeds) = change(&f, &crowd, number);
                let f = Arc::clone(&f);
                tokio::spawn(async move { (number, succeeds, f.store.commit(change).await) })
            })
            .collect();
        for task in under_way {
            let (number, succeeds, outcome) = task.await.unwrap();
            match (number % 8, &outcome) {
                (0, Err(StoreError::Conflict { .. }))
                | (1 | 4, Err(StoreError::NotFound { .. }))
                | (2 | 3, Err(StoreError::AlreadyExists { .. }))
                | (5..=7, Ok(_)) => {}
                _ => panic!("change {number}, which must succeed: {succeeds}: {outcome:?}"),
            }
        }
    }
    let mut said: Vec<u64> = f.said(&crowd).await.iter().map(|text| text.parse().unwrap()).collect();
    said.sort_unstable();
    let expected: Vec<u64> = (0..1000).filter(|number| number % 8 > 5).collect();
    assert_eq!(said, expected, "each acknowledged turn once, and no other");
    for number in 0..1000 {
        let fresh = f.store.find_session(&SessionId::from_stored(&format!("fresh-{number}"))).await.unwrap();
        assert_eq!(fresh.map(|session| session.turn_count()), (number % 8 == 5).then_some(1), "{number}");
    }
    assert_eq!(f.store.list_checkpoints(&crowd).await.unwrap(), []);
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}
