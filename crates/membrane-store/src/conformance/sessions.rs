//! Sessions: creating, naming, finding, versions, crystals, closing.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::crystal::Crystal;
use membrane_core::event::EventSeq;
use membrane_core::evidence::{LegacySet, LegacyTotals};
use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, InstanceId, RunId, SegmentId, SessionId};
use membrane_core::json::Json;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::role::Role;
use membrane_core::session::{NewSession, Session, SessionPatch};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;

use super::fixture::{Fixture, append, assert_refused, create_root, json};
use crate::change::Origin;
use crate::{Store, StoreError, Subject, Write};

pub async fn a_new_session_has_its_names_and_nothing_else(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let root = f.create().await;
    let new = NewSession {
        id: SessionId::from_stored("mine"),
        family: root.clone(),
        project_id: Some("project".into()),
        parent_id: Some(root.clone()),
        fork_point: Some(0),
        branch_name: "side".into(),
        title: Some("a title".into()),
        tags: vec!["b".into(), "a".into(), "b".into(), String::new()],
        metadata: json(r#"{"z": 1.50, "a": [12345678901234567890123, null]}"#),
    };
    let change = f.change();
    let now = change.now;
    let origin = Origin::Empty { legacy: Vec::new() };
    let receipt =
        f.commit(change.write(Write::CreateSession { session: new.clone(), origin, created_at: None })).await;
    let session = f.get(&new.id).await;
    let expected = Session {
        id: new.id,
        family: new.family,
        project_id: new.project_id,
        parent_id: new.parent_id,
        fork_point: new.fork_point,
        branch_name: new.branch_name,
        title: new.title,
        tags: new.tags,
        pinned: false,
        archived: false,
        trailing: false,
        metadata: new.metadata,
        state: State::Idle,
        is_merged: false,
        merged_into: None,
        version: 1,
        cut: session.cut,
        totals: Totals::ZERO,
        flipped: 0,
        legacy: LegacyTotals::default(),
        created_at: now,
        last_active: now,
    };
    assert_eq!(session, expected);
    assert_eq!(session.cut.turn_count, 0);
    let stamp = receipt.stamp(&session.id).unwrap();
    assert_eq!((stamp.version, stamp.cut), (1, session.cut));
    assert!(!receipt.replayed && receipt.result.is_empty());
}

pub async fn a_session_may_be_older_than_the_change_that_creates_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for micros in [-62_167_219_200_000_000, -1, 0, 1_500_000_000_123_456, 253_402_207_200_000_000] {
        let at = Timestamp::from_micros(micros);
        let id = f.session_id();
        let origin = Origin::Empty { legacy: Vec::new() };
        let session = NewSession::root(id.clone());
        f.write(Write::CreateSession { session, origin, created_at: Some(at) }).await;
        let session = f.get(&id).await;
        assert_eq!((session.created_at, session.last_active), (at, at), "to the microsecond");
    }
}

pub async fn legacy_observations_count_in_a_new_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let set = |origin: &str, alpha, beta| LegacySet { origin: SessionId::from_stored(origin), alpha, beta };
    let legacy = vec![set("Old", 2.5, 0.0), set("old", 4.0, 0.125), set("öld", 0.0, 1.0)];
    let id = f.session_id();
    let origin = Origin::Empty { legacy: legacy.clone() };
    f.write(Write::CreateSession { session: NewSession::root(id.clone()), origin, created_at: None }).await;
    let session = f.get(&id).await;
    assert_eq!(session.legacy, LegacyTotals { alpha: 6.5, beta: 1.125 });
    assert_eq!(f.history(&id).await.legacy, legacy, "in order of origin, byte by byte");
    assert!((session.evidence().alpha - 7.5).abs() < 1e-9);
}

pub async fn a_taken_id_is_refused_and_its_session_stays(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let before = f.snapshot().await;
    let error = f.refused_write(create_root(&id)).await;
    assert_refused!(
        error,
        StoreError::AlreadyExists { subject: Subject::Session, id: named } if *named == *id.as_str()
    );
    assert_eq!(f.snapshot().await, before);
}

pub async fn looking_up_what_is_not_there_finds_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    f.session(1).await;
    let (nobody, store) = (SessionId::from_stored("nobody"), &f.store);
    let cut = Cut { history: HistoryId(999_999), turn_count: 3 };
    assert_eq!(store.find_session(&nobody).await.unwrap(), None);
    assert_eq!(store.load_thread(&nobody, 0..10).await.unwrap(), None);
    assert_eq!(store.load_turns(cut, 0..10).await.unwrap(), []);
    assert_eq!(store.find_history(cut.history).await.unwrap(), None);
    assert_eq!(store.list_marks(cut).await.unwrap(), []);
    let at = TurnRef { segment: SegmentId(999_999), position: 0 };
    assert_eq!(store.find_marks(&[at]).await.unwrap(), []);
    assert_eq!(store.list_family(&nobody).await.unwrap(), []);
    assert_eq!(store.list_checkpoints(&nobody).await.unwrap(), []);
    let checkpoint = CheckpointId::from_stored("none");
    assert_eq!(store.find_checkpoint(&nobody, &checkpoint).await.unwrap(), None);
    assert_eq!(store.find_crystal(&nobody).await.unwrap(), None);
    assert_eq!(store.find_run(&nobody).await.unwrap(), None);
    assert_eq!(store.list_pieces(&RunId::from_stored("none"), 0).await.unwrap(), []);
    assert_eq!(store.list_stale_runs(&[], 10).await.unwrap(), []);
    assert_eq!(store.list_lease_owners().await.unwrap(), []);
}

pub async fn an_empty_store_lists_counts_and_holds_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let page = f.store.list_sessions(&SessionFilter::default(), &PageRequest::first(10)).await.unwrap();
    assert_eq!((page.sessions.len(), page.total, page.next), (0, 0, None));
    assert_eq!(f.store.count_sessions(&SessionFilter::default()).await.unwrap(), 0);
    assert_eq!(f.stats().await, crate::StoreStats::default());
}

pub async fn a_patch_changes_only_what_it_names(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let before = f.get(&id).await;
    let patches = [
        SessionPatch { project_id: Some(Some("p".into())), ..SessionPatch::default() },
        SessionPatch { branch_name: Some(String::new()), ..SessionPatch::default() },
        SessionPatch { title: Some(Some("t".into())), ..SessionPatch::default() },
        SessionPatch { tags: Some(vec!["x".into(), "y".into()]), ..SessionPatch::default() },
        SessionPatch { pinned: Some(true), ..SessionPatch::default() },
        SessionPatch { archived: Some(true), ..SessionPatch::default() },
        SessionPatch { trailing: Some(true), ..SessionPatch::default() },
        SessionPatch { metadata: Some(json(r#"{"k":"v"}"#)), ..SessionPatch::default() },
    ];
    let mut expected = before.clone();
    for patch in patches {
        let receipt = f.write(Write::PatchSession { session: id.clone(), patch: patch.clone() }).await;
        patch.apply(&mut expected);
        expected.version += 1;
        assert_eq!(f.get(&id).await, expected, "activity stays: names are not turns");
        assert_eq!(receipt.stamp(&id).map(|stamp| stamp.version), Some(expected.version));
    }
    let back = SessionPatch {
        project_id: Some(None),
        branch_name: Some(before.branch_name.clone()),
        title: Some(None),
        tags: Some(Vec::new()),
        pinned: Some(false),
        archived: Some(false),
        trailing: Some(false),
        metadata: Some(Json::empty_object()),
    };
    f.write(Write::PatchSession { session: id.clone(), patch: back }).await;
    assert_eq!(f.get(&id).await, Session { version: expected.version + 1, ..before });
}

pub async fn an_empty_patch_and_no_turns_write_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let before = f.snapshot().await;
    let patch = SessionPatch::default();
    let change = f.change().write(Write::PatchSession { session: id.clone(), patch });
    let receipt = f.commit(change.write(append(&id, Vec::new()))).await;
    assert_eq!(receipt.sessions, []);
    assert_eq!(f.snapshot().await, before);
}

pub async fn a_version_rises_by_one_per_change_however_many_writes(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session_id(), f.create().await);
    let mut turns = f.turns(5).into_iter();
    let mut one = || vec![turns.next().unwrap()];
    let title = || SessionPatch { title: Some(Some("t".into())), ..SessionPatch::default() };
    let change = f.change().write(create_root(&id)).write(append(&id, one())).write(append(&id, one()));
    let receipt = f.commit(change).await;
    assert_eq!(receipt.stamp(&id).unwrap().version, 1, "a created session is at version 1 after its change");
    assert_eq!(receipt.stamp(&id).unwrap().cut.turn_count, 2);
    let change = f
        .change()
        .write(append(&id, one()))
        .write(Write::PatchSession { session: id.clone(), patch: title() })
        .write(Write::MarkMerged { session: other.clone(), into: id.clone() })
        .write(append(&id, one()));
    let receipt = f.commit(change).await;
    let versions: Vec<_> = receipt.sessions.iter().map(|stamp| (stamp.id.clone(), stamp.version)).collect();
    assert_eq!(versions, [(id.clone(), 2), (other.clone(), 2)], "in the order of the first writing");
    assert_eq!(receipt.sessions[0].cut, f.get(&id).await.cut);
    let other = f.get(&other).await;
    assert_eq!((other.is_merged, other.merged_into), (true, Some(id)));
}

pub async fn a_receipt_names_what_was_written_not_what_was_looked_at(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (a, b, c) = (f.session(1).await, f.session(1).await, f.session(1).await);
    let gone = f.session(1).await;
    let version = |session: &SessionId| crate::Requirement::Version { session: session.clone(), version: 2 };
    let (first, second) = (f.turn("x"), f.turn("y"));
    let change = f
        .change()
        .require(version(&a))
        .require(version(&b))
        .require(version(&c))
        .write(append(&gone, vec![first]))
        .write(append(&c, vec![second]))
        .write(Write::DeleteSession { session: gone.clone() })
        .write(Write::MarkMerged { session: a.clone(), into: c.clone() });
    let receipt = f.commit(change).await;
    let ids: Vec<_> = receipt.sessions.iter().map(|stamp| stamp.id.clone()).collect();
    assert_eq!(ids, [c, a], "what is deleted and what was only required is not in it");
}

pub async fn activity_follows_the_turns_and_never_goes_back(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let first = f.get(&id).await.last_active;
    let turn = f.turn("from the past");
    let mut past = f.change().write(append(&id, vec![turn]));
    past.now = first.minus(Duration::from_secs(1_000));
    f.commit(past).await;
    assert_eq!(f.get(&id).await.last_active, first);
    let change = f.change();
    let (now, turn) = (change.now, f.turn("now"));
    f.commit(change.write(append(&id, vec![turn]))).await;
    assert_eq!(f.get(&id).await.last_active, now);
    f.rewind(&id, 1).await;
    assert!(f.get(&id).await.last_active > now, "a rewind is activity too");
    assert_eq!(f.get(&id).await.created_at.max(first), first);
}

pub async fn a_crystal_is_saved_and_replaced(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let before = f.get(&id).await;
    let mut crystal = Crystal {
        session: id.clone(),
        title: "title\0".into(),
        summary: "a\nb".into(),
        key_decisions: vec!["one".into(), String::new()],
        artifacts: Vec::new(),
        final_evidence: json(r#"{"prior_alpha": 2, "x": 1.0}"#),
        final_turn_count: 1,
        created_at: f.now(),
    };
    f.write(Write::SaveCrystal(crystal.clone())).await;
    assert_eq!(f.store.find_crystal(&id).await.unwrap().as_ref(), Some(&crystal));
    crystal.title = "another".into();
    crystal.artifacts = vec!["file".into()];
    crystal.key_decisions.clear();
    crystal.created_at = f.now();
    let receipt = f.write(Write::SaveCrystal(crystal.clone())).await;
    assert_eq!(receipt.sessions, []);
    assert_eq!(f.store.find_crystal(&id).await.unwrap(), Some(crystal));
    assert_eq!(f.get(&id).await, before, "the session's record is not touched");
}

pub async fn stats_count_what_is_shown_and_what_is_stored(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let root = f.session(5).await;
    let fork = f.fork(&root, 3).await;
    f.fork(&root, 5).await;
    f.append(&fork, 1).await;
    f.begin(&root, Duration::from_secs(60)).await;
    let stats = f.stats().await;
    assert_eq!((stats.sessions, stats.turns_shown, stats.turns_stored), (3, 14, 6));
    assert_eq!((stats.histories, stats.slices, stats.runs), (2, 3, 1));
}

pub async fn a_closed_store_refuses_every_call(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let cut = f.get(&id).await.cut;
    f.store.ready().await.unwrap();
    f.store.close().await.unwrap();
    let store = &f.store;
    assert_refused!(f.refused_write(create_root(&f.session_id())).await, StoreError::Closed);
    assert_refused!(store.find_session(&id).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.load_thread(&id, 0..1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.load_turns(cut, 0..1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.locate_thread(&id, 0..1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.locate_turns(cut, 0..1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.load_spans(&[]).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.keep_name().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.find_history(cut.history).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_marks(cut).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.find_marks(&[]).await.unwrap_err(), StoreError::Closed);
    let (filter, page) = (SessionFilter::default(), PageRequest::first(1));
    assert_refused!(store.list_sessions(&filter, &page).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.count_sessions(&filter).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_family(&id).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_checkpoints(&id).await.unwrap_err(), StoreError::Closed);
    let checkpoint = CheckpointId::from_stored("c");
    assert_refused!(store.find_checkpoint(&id, &checkpoint).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.find_crystal(&id).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.find_run(&id).await.unwrap_err(), StoreError::Closed);
    let run = RunId::from_stored("r");
    assert_refused!(store.list_pieces(&run, 0).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_stale_runs(&[], 1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_lease_owners().await.unwrap_err(), StoreError::Closed);
    let instance = InstanceId::from_stored("i");
    assert_refused!(store.hold_instance(&instance).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.list_dead_instances(&[instance]).await.unwrap_err(), StoreError::Closed);
    let place = EventSeq::default();
    assert_refused!(store.list_events(place, 1).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.find_leader(Role::Sweeper).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.event_bounds().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.wait_for_events(place).await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.ready().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.stats().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.gauges().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.check().await.unwrap_err(), StoreError::Closed);
    assert_refused!(store.close().await.unwrap_err(), StoreError::Closed);
}
