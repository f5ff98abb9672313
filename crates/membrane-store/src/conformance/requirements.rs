//! What a change requires, and that a change which is refused or fails leaves nothing at all.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::crystal::Crystal;
use membrane_core::error::DomainError;
use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, RunId, SegmentId, SessionId};
use membrane_core::json::Json;
use membrane_core::run::RunShape;
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::state::{Action, State};
use membrane_core::turn::{Signal, SignalKind};

use super::fixture::{Fixture, LONG_LEASE, append, assert_refused, create_root, text_pieces};
use crate::change::{Leave, Origin};
use crate::{Requirement, Store, StoreError, Subject, Write};

pub async fn a_stale_version_is_a_conflict_that_names_both(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let at = |version| Requirement::Version { session: id.clone(), version };
    assert!(f.check(at(2)).await.is_ok());
    for stale in [0, 1, 3, u64::from(u32::MAX)] {
        let error = f.check(at(stale)).await.unwrap_err();
        assert_refused!(error, StoreError::Conflict { session, expected, actual: 2 }
            if *session == id && *expected == stale);
    }
    let gone = Requirement::Version { session: SessionId::from_stored("gone"), version: 1 };
    let error = f.check(gone).await.unwrap_err();
    assert_refused!(error, StoreError::NotFound { subject: Subject::Session, id } if id == "gone");
}

pub async fn what_the_state_does_not_allow_is_refused_with_the_state(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let allows = |action| Requirement::Allows { session: id.clone(), action };
    assert!(f.check(allows(Action::Send)).await.is_ok());
    f.begin(&id, LONG_LEASE).await;
    assert!(f.check(allows(Action::Fork)).await.is_ok());
    let error = f.check(allows(Action::Rewind)).await.unwrap_err();
    assert_refused!(
        error,
        StoreError::Refused(DomainError::WrongState { state: State::Processing, action: Action::Rewind, .. })
    );
    let gone = Requirement::Allows { session: SessionId::from_stored("gone"), action: Action::Read };
    assert_refused!(f.check(gone).await.unwrap_err(), StoreError::NotFound { subject: Subject::Session, .. });
}

pub async fn a_session_sees_its_own_cut_and_less_but_no_more(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(3).await, f.session(3).await);
    let cut = f.get(&id).await.cut;
    let sees = |cut| Requirement::Sees { session: id.clone(), cut };
    for turn_count in 0..=3 {
        assert!(f.check(sees(Cut { turn_count, ..cut })).await.is_ok());
    }
    let more = f.check(sees(Cut { turn_count: 4, ..cut })).await.unwrap_err();
    assert_refused!(more, StoreError::Changed { session } if *session == id);
    let elsewhere = f.check(sees(f.get(&other).await.cut)).await.unwrap_err();
    assert_refused!(elsewhere, StoreError::Changed { .. });
    f.append(&id, 1).await;
    assert!(f.check(sees(cut)).await.is_ok(), "an append in place costs nobody his decision");
    f.rewind(&id, 2).await;
    assert_refused!(f.check(sees(cut)).await.unwrap_err(), StoreError::Changed { .. });
    f.delete(&id).await;
    assert_refused!(
        f.check(sees(cut)).await.unwrap_err(),
        StoreError::NotFound { subject: Subject::Session, .. }
    );
}

pub async fn a_checkpoint_is_required_of_its_own_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(3).await, f.session(3).await);
    let checkpoint = f.name_place(&id, "here").await;
    let of = |session: &SessionId, id: &CheckpointId| Requirement::Checkpoint {
        session: session.clone(),
        id: id.clone(),
    };
    assert!(f.check(of(&id, &checkpoint)).await.is_ok());
    for (session, checkpoint) in [
        (&other, &checkpoint),
        (&id, &CheckpointId::from_stored("none")),
        (&SessionId::from_stored("gone"), &checkpoint),
    ] {
        let error = f.check(of(session, checkpoint)).await.unwrap_err();
        assert_refused!(error, StoreError::NotFound { subject: Subject::Checkpoint, .. });
    }
}

pub async fn a_cut_is_intact_while_all_its_turns_are_there(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(6).await;
    let fork = f.fork(&parent, 5).await;
    f.append(&fork, 2).await;
    let cut = f.get(&fork).await.cut;
    for turn_count in [0, 1, 5, 7] {
        assert!(f.check(Requirement::Intact { cut: Cut { turn_count, ..cut } }).await.is_ok());
    }
    f.rewind(&fork, 2).await;
    f.delete(&parent).await;
    for (turn_count, intact) in [(2, None), (3, Some(2)), (5, Some(2)), (7, Some(2))] {
        let outcome = f.check(Requirement::Intact { cut: Cut { turn_count, ..cut } }).await;
        match (outcome, intact) {
            (Ok(_), None) => {}
            (Err(StoreError::Gap { intact, turn_count: asked }), Some(expected)) => {
                assert_eq!((intact, asked), (expected, turn_count));
            }
            (outcome, _) => panic!("{turn_count} turns: {outcome:?}"),
        }
    }
    let nowhere = Requirement::Intact { cut: Cut { history: HistoryId(999_999), turn_count: 1 } };
    assert_refused!(
        f.check(nowhere).await.unwrap_err(),
        StoreError::NotFound { subject: Subject::History, .. }
    );
}

pub async fn requirements_are_checked_in_order_and_before_any_write(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, new) = (f.session(1).await, f.session_id());
    let before = f.snapshot().await;
    let stale = Requirement::Version { session: id.clone(), version: 9 };
    let missing = Requirement::Version { session: new.clone(), version: 1 };
    let change = f.change().require(missing.clone()).require(stale.clone()).write(create_root(&new));
    let error = f.refused(change).await;
    assert_refused!(error, StoreError::NotFound { subject: Subject::Session, .. });
    let error = f.refused(f.change().require(stale).require(missing).write(create_root(&new))).await;
    assert_refused!(error, StoreError::Conflict { .. });
    assert_eq!(f.snapshot().await, before);
}

pub async fn writing_to_what_is_not_there_names_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, nobody) = (f.session(1).await, SessionId::from_stored("nobody"));
    let cut = f.get(&id).await.cut;
    let (checkpoint, run) = (CheckpointId::from_stored("none"), RunId::from_stored("none"));
    let leave = Leave::automatic(CheckpointId::from_stored("new"), CheckpointKind::Rewind);
    let title = SessionPatch { title: Some(None), ..SessionPatch::default() };
    let crystal = Crystal {
        session: nobody.clone(),
        title: String::new(),
        summary: String::new(),
        key_decisions: Vec::new(),
        artifacts: Vec::new(),
        final_evidence: Json::empty_object(),
        final_turn_count: 0,
        created_at: f.now(),
    };
    let create = |session: &SessionId, cut| Write::CreateCheckpoint {
        id: CheckpointId::from_stored("new"),
        session: session.clone(),
        name: None,
        cut,
    };
    let to_nobody = [
        append(&nobody, f.turns(1)),
        append(&nobody, Vec::new()),
        Write::MoveSession { session: nobody.clone(), to: cut, leave: leave.clone() },
        Write::PatchSession { session: nobody.clone(), patch: title },
        Write::PatchSession { session: nobody.clone(), patch: SessionPatch::default() },
        Write::MarkMerged { session: nobody.clone(), into: id.clone() },
        Write::DeleteSession { session: nobody.clone() },
        create(&nobody, cut),
        Write::DeleteCheckpoint { session: nobody.clone(), id: checkpoint.clone() },
        Write::SaveCrystal(crystal),
        Write::BeginRun { run: f.run(&nobody, "?"), lease_for: LONG_LEASE },
    ];
    let missing_checkpoint = Write::DeleteCheckpoint { session: id.clone(), id: checkpoint };
    let signal = Signal { kind: SignalKind::Positive, comment: None, created_at: f.now() };
    let at = |position| TurnRef { segment: SegmentId(999_999), position };
    let nowhere = Cut { history: HistoryId(999_999), turn_count: 0 };
    let beyond = Cut { turn_count: 2, ..cut };
    let origin = |cut| Write::CreateSession {
        session: NewSession::root(SessionId::from_stored("new")),
        origin: Origin::Cut(cut),
        created_at: None,
    };
    let go = |to| Write::MoveSession { session: id.clone(), to, leave: leave.clone() };
    let to_run = [
        Write::AppendPieces { run: run.clone(), pieces: text_pieces(0, &["x"]) },
        Write::RenewLease { run: run.clone(), lease_for: LONG_LEASE },
        Write::SuspendRun { run: run.clone() },
        Write::ResumeRun { run: run.clone(), lease: f.lease(), lease_for: LONG_LEASE },
        Write::FinishRun { run, turn: Box::new(f.turn("x")), shape: RunShape::default() },
    ];
    let mut cases = vec![
        (Subject::Checkpoint, missing_checkpoint),
        (Subject::Turn, Write::AddSignal { at: at(0), signal: signal.clone() }),
        (Subject::Turn, Write::AddSignal { at: at(-1), signal }),
    ];
    cases.extend(to_nobody.map(|write| (Subject::Session, write)));
    cases.extend([origin(nowhere), go(nowhere), create(&id, nowhere)].map(|write| (Subject::History, write)));
    cases.extend([origin(beyond), go(beyond), create(&id, beyond)].map(|write| (Subject::Turn, write)));
    cases.extend(to_run.map(|write| (Subject::Run, write)));
    let before = f.snapshot().await;
    for (expected, write) in cases {
        let shown = format!("{write:?}");
        match f.refused_write(write).await {
            StoreError::NotFound { subject, .. } if subject == expected => {}
            error => panic!("{shown} must miss a {expected}, not: {error:?}"),
        }
    }
    assert_eq!(f.snapshot().await, before);
}

/// One change with every kind of write, on sessions that it finds and makes.
async fn everything(f: &Fixture) -> Vec<Write> {
    let (a, b, doomed) = (f.session(4).await, f.session(3).await, f.session(2).await);
    let fork = f.fork(&doomed, 1).await;
    f.append(&fork, 1).await;
    let (named, run, waiting) =
        (f.name_place(&a, "old").await, f.begin(&b, LONG_LEASE).await, f.begin(&fork, LONG_LEASE).await);
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(0, &["so", " it"]) }).await;
    f.write(Write::SuspendRun { run: waiting.id.clone() }).await;
    let cut = f.get(&a).await.cut;
    let at = f.history(&a).await.locate(1).unwrap();
    let (new, third) = (f.session_id(), f.session(1).await);
    let begun = f.run(&third, "now");
    let crystal = Crystal {
        session: a.clone(),
        title: "t".into(),
        summary: "s".into(),
        key_decisions: Vec::new(),
        artifacts: Vec::new(),
        final_evidence: Json::empty_object(),
        final_turn_count: 4,
        created_at: f.now(),
    };
    let patch =
        SessionPatch { title: Some(Some("new".into())), pinned: Some(true), ..SessionPatch::default() };
    vec![
        create_root(&new),
        append(&new, f.turns(2)),
        append(&a, f.turns(2)),
        Write::AddSignal {
            at,
            signal: Signal { kind: SignalKind::Negative, comment: Some("no".into()), created_at: f.now() },
        },
        Write::MoveSession {
            session: a.clone(),
            to: Cut { turn_count: 2, ..cut },
            leave: Leave::automatic(CheckpointId::generate(&*f.ids), CheckpointKind::Rewind),
        },
        append(&a, f.turns(1)),
        Write::PatchSession { session: a.clone(), patch },
        Write::MarkMerged { session: a.clone(), into: new.clone() },
        Write::CreateCheckpoint {
            id: CheckpointId::generate(&*f.ids),
            session: a.clone(),
            name: Some("new".into()),
            cut: Cut { turn_count: 1, ..cut },
        },
        Write::DeleteCheckpoint { session: a, id: named },
        Write::SaveCrystal(crystal),
        Write::DeleteSession { session: doomed },
        Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(2, &[" is"]) },
        Write::RenewLease { run: run.id.clone(), lease_for: Duration::ZERO },
        Write::FinishRun { run: run.id, turn: Box::new(f.turn("why?")), shape: RunShape::default() },
        Write::ResumeRun { run: waiting.id.clone(), lease: f.lease(), lease_for: LONG_LEASE },
        Write::BeginRun { run: begun.clone(), lease_for: LONG_LEASE },
        Write::SuspendRun { run: begun.id },
        Write::ForgetKeys { before: f.now() },
    ]
}

pub async fn a_change_whose_last_write_fails_leaves_nothing_at_all(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let early = f.create().await;
    let key = f.key(Some(&early), "early", "first");
    let turn = f.turn("once");
    f.commit(f.change().once(Some(key.clone())).write(append(&early, vec![turn]))).await;
    let writes = everything(&f).await;
    let before = f.snapshot().await;
    let nobody = Write::DeleteSession { session: SessionId::from_stored("nobody") };
    // Every prefix of the list, so that no write can hide behind a later one.
    for length in 0..=writes.len() {
        let mut change = f.change().once(Some(f.key(None, "late", "second")));
        change.writes = writes[..length].to_vec();
        let error = f.refused(change.write(nobody.clone())).await;
        assert_refused!(error, StoreError::NotFound { subject: Subject::Session, id } if id == "nobody");
        assert_eq!(f.snapshot().await, before, "after {length} writes that were taken back");
        assert_eq!(f.store.list_stale_runs(&[], 10).await.unwrap(), [], "leases are taken back too");
    }
    let replay = f.commit(f.change().once(Some(key))).await;
    assert!(replay.replayed, "the forgotten key is remembered again");
    let mut change = f.change().once(Some(f.key(None, "late", "third")));
    change.writes = writes;
    let receipt = f.commit(change).await;
    assert_eq!(
        (receipt.replayed, receipt.result.as_str()),
        (false, "third"),
        "no key of a failed change stays"
    );
    assert_ne!(f.snapshot().await, before);
}
