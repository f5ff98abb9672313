//! Idempotency keys: what was sent twice is done once.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::SessionId;

use super::fixture::{Fixture, append, assert_refused, create_root};
use crate::change::KEY_LIFETIME;
use crate::{Change, IdempotencyKey, Receipt, Requirement, Store, StoreError, Write};

/// A keyed append of one turn.
fn send(f: &Fixture, session: &SessionId, key: &IdempotencyKey) -> Change {
    let turn = f.turn("keyed");
    f.change().once(Some(key.clone())).write(append(session, vec![turn]))
}

pub async fn second_send_with_same_key_returns_first_answer(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let first = f.commit(send(&f, &id, &f.key(Some(&id), "k", "turn-1"))).await;
    assert_eq!((first.result.as_str(), first.replayed), ("turn-1", false));
    f.append(&id, 3).await;
    let before = f.snapshot().await;
    let second = f.commit(send(&f, &id, &f.key(Some(&id), "k", "turn-2"))).await;
    assert_eq!(second, Receipt { replayed: true, ..first }, "stamps and result of the first time");
    assert_eq!(f.snapshot().await, before, "nothing is applied");
}

pub async fn a_known_key_is_answered_before_any_requirement(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let key = f.key(Some(&id), "k", "r");
    let at_two = Requirement::Version { session: id.clone(), version: 2 };
    f.commit(send(&f, &id, &key).require(at_two.clone())).await;
    let again = f.commit(send(&f, &id, &key).require(at_two)).await;
    assert!(again.replayed, "the version was raised by the first time");
    assert_eq!(f.get(&id).await.cut.turn_count, 2);
}

pub async fn another_body_under_the_same_key_is_refused(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let key = f.key(Some(&id), "the key", "r");
    f.commit(send(&f, &id, &key)).await;
    for byte in [0, 31] {
        let mut other = key.clone();
        other.body_hash[byte] ^= 1;
        let error = f.refused(send(&f, &id, &other)).await;
        assert_refused!(error, StoreError::KeyReused { key } if key == "the key");
    }
    assert_eq!(f.get(&id).await.cut.turn_count, 2);
}

pub async fn a_key_counts_for_its_route_and_session_alone(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(0).await, f.session(0).await);
    let key = f.key(Some(&id), "k", "r");
    let keys = [
        key.clone(),
        IdempotencyKey { route: "fork".into(), ..key.clone() },
        IdempotencyKey { session: Some(other.clone()), ..key.clone() },
        IdempotencyKey { session: None, ..key.clone() },
        IdempotencyKey { key: "K".into(), ..key.clone() },
        IdempotencyKey { key: "k\0".into(), ..key.clone() },
        IdempotencyKey { key: String::new(), ..key },
    ];
    for key in &keys {
        assert!(!f.commit(send(&f, &id, key)).await.replayed, "{key:?}");
    }
    for key in &keys {
        assert!(f.commit(send(&f, &id, key)).await.replayed, "{key:?}");
    }
    assert_eq!(f.get(&id).await.cut.turn_count, u64::try_from(keys.len()).unwrap());
}

pub async fn a_change_that_fails_remembers_no_key(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let key = f.key(Some(&id), "k", "r");
    let stale = Requirement::Version { session: id.clone(), version: 9 };
    assert_refused!(f.refused(send(&f, &id, &key).require(stale)).await, StoreError::Conflict { .. });
    assert!(!f.commit(send(&f, &id, &key)).await.replayed);
}

pub async fn a_key_is_forgotten_after_its_lifetime_and_not_before(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    let key = f.key(Some(&id), "k", "r");
    let first = send(&f, &id, &key);
    let made_at = first.now;
    f.commit(first).await;
    let late = |result: &str, after| {
        let mut change = send(&f, &id, &IdempotencyKey { result: result.into(), ..key.clone() });
        change.now = made_at.plus(after);
        change
    };
    assert!(f.commit(late("a", KEY_LIFETIME)).await.replayed);
    let moment = Duration::from_micros(1);
    let again = f.commit(late("b", KEY_LIFETIME + moment)).await;
    assert_eq!(
        (again.replayed, again.result.as_str()),
        (false, "b"),
        "it counts as absent and is overwritten"
    );
    let replay = f.commit(late("c", KEY_LIFETIME * 2)).await;
    assert_eq!((replay.replayed, replay.result.as_str()), (true, "b"));
    assert_eq!(f.get(&id).await.cut.turn_count, 2);
    let mut other_body = late("d", KEY_LIFETIME * 4);
    other_body.key = other_body.key.map(|key| IdempotencyKey { body_hash: [9; 32], ..key });
    assert!(!f.commit(other_body).await.replayed, "an expired key may come with another body");
}

pub async fn keys_made_before_a_time_can_be_forgotten(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    let keys = ["a", "b", "c"].map(|key| f.key(Some(&id), key, key));
    let mut times = Vec::new();
    for key in &keys {
        let change = send(&f, &id, key);
        times.push(change.now);
        f.commit(change).await;
    }
    let receipt = f.write(Write::ForgetKeys { before: times[1] }).await;
    assert_eq!(receipt.sessions, []);
    let mut replayed = Vec::new();
    for key in &keys {
        replayed.push(f.commit(send(&f, &id, key)).await.replayed);
    }
    assert_eq!(replayed, [false, true, true], "the one made at that very time stays");
}

pub async fn keys_go_with_the_session_they_are_about(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(0).await, f.session(0).await);
    let (mine, others) = (f.key(Some(&id), "k", "r"), f.key(Some(&other), "k", "r"));
    f.commit(send(&f, &id, &mine)).await;
    f.commit(send(&f, &other, &others)).await;
    f.delete(&id).await;
    assert!(f.commit(send(&f, &other, &others)).await.replayed);
    f.write(create_root(&id)).await;
    assert!(!f.commit(send(&f, &id, &mine)).await.replayed, "the new session of this name knows no key");
    assert_eq!(f.get(&id).await.cut.turn_count, 1);
}

pub async fn keys_go_with_every_session_that_their_change_created(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(1).await;
    for about in [None, Some(&parent)] {
        for gone in [0, 1] {
            let new = [f.session_id(), f.session_id()];
            let key = f.key(about, "create", new[0].as_str());
            let create = |f: &Fixture| {
                let change = f.change().once(Some(key.clone()));
                change.write(create_root(&new[0])).write(create_root(&new[1]))
            };
            assert!(!f.commit(create(&f)).await.replayed);
            assert!(f.commit(create(&f)).await.replayed);
            f.delete(&new[gone]).await;
            let error = f.refused(create(&f)).await;
            assert_refused!(error, StoreError::AlreadyExists { .. });
            f.delete(&new[1 - gone]).await;
        }
    }
}

pub async fn an_overwritten_key_goes_with_its_new_session_alone(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (old, new) = (f.session_id(), f.session_id());
    let create = |id: &SessionId| f.change().once(Some(f.key(None, "k", id.as_str()))).write(create_root(id));
    f.commit(create(&old)).await;
    f.advance(KEY_LIFETIME * 2);
    assert!(!f.commit(create(&new)).await.replayed);
    f.delete(&old).await;
    let again = f.commit(create(&new)).await;
    assert_eq!(
        (again.replayed, again.result.as_str()),
        (true, new.as_str()),
        "it is the new session's key now"
    );
    f.delete(&new).await;
    assert!(!f.commit(create(&new)).await.replayed);
}

pub async fn a_deletion_can_be_replayed(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let key = f.key(Some(&id), "k", "gone");
    let delete =
        |f: &Fixture| f.change().once(Some(key.clone())).write(Write::DeleteSession { session: id.clone() });
    assert!(!f.commit(delete(&f)).await.replayed);
    let again = f.commit(delete(&f)).await;
    assert_eq!((again.replayed, again.result.as_str(), again.sessions.len()), (true, "gone", 0));
}

pub async fn a_replay_names_sessions_that_are_gone_by_now(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(0).await, f.session(0).await);
    let key = f.key(Some(&id), "k", "r");
    let turn = f.turn("other");
    let first = f.commit(send(&f, &id, &key).write(append(&other, vec![turn]))).await;
    assert_eq!(first.sessions.len(), 2);
    f.delete(&other).await;
    assert_eq!(f.commit(send(&f, &id, &key)).await, Receipt { replayed: true, ..first });
}
