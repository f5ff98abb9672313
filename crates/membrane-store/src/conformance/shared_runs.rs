//! What others than a run's owner need of it: to number its events as the owner does, to stop it, to know how it came, and to
//! say what came of its tools.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::run::{EndedRun, Pause, Piece, PieceBody, Run, RunShape};
use membrane_core::session::SessionPatch;
use membrane_core::tool::{Consent, ConsentKind, ToolCall, ToolEffect, ToolUse};

use super::fixture::{Fixture, LONG_LEASE, append, assert_refused, create_root, json};
use crate::{Requirement, Store, StoreError, Subject, Write};

fn waiting(run: &Run) -> Requirement {
    Requirement::Waiting { run: run.id.clone() }
}

pub async fn a_run_tells_at_which_version_of_its_session_it_began(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, fresh) = (f.session(3).await, f.session_id());
    let (run, on_fresh) = (f.run(&id, "x"), f.run(&fresh, "x"));
    let turns = f.turns(1);
    let change = f
        .change()
        .write(append(&id, turns))
        .write(Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE })
        .write(create_root(&fresh))
        .write(Write::BeginRun { run: on_fresh, lease_for: LONG_LEASE });
    let receipt = f.commit(change).await;
    for session in [&id, &fresh] {
        let began_at = f.store.find_run(session).await.unwrap().map(|run| run.version);
        assert_eq!(began_at, receipt.stamp(session).map(|stamp| stamp.version));
    }
    // The session goes on; the run's events are counted from where it began.
    let patch = SessionPatch { title: Some(Some("t".into())), ..SessionPatch::default() };
    f.write(Write::PatchSession { session: id.clone(), patch }).await;
    f.write(Write::SuspendRun { run: run.id.clone() }).await;
    f.write(Write::ResumeRun { run: run.id, lease: f.lease(), lease_for: LONG_LEASE }).await;
    assert_eq!(f.store.find_run(&id).await.unwrap().map(|run| run.version), Some(3));
}

pub async fn a_request_to_stop_reaches_the_owner_alone_and_goes_with_the_run(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let other = f.begin(&f.session(1).await, LONG_LEASE).await;
    let requests = async |run: &Run| f.store.list_stop_requests(&run.lease.owner).await.unwrap();
    assert_eq!(requests(&run).await, []);
    for _ in 0..2 {
        f.write(Write::RequestStop { run: run.id.clone() }).await;
    }
    assert_eq!((requests(&run).await, requests(&other).await), (vec![run.id.clone()], vec![]));
    // Whoever takes the run on is asked, too.
    f.write(Write::SuspendRun { run: run.id.clone() }).await;
    assert_eq!(requests(&run).await, []);
    let lease = f.lease();
    f.write(Write::ResumeRun { run: run.id.clone(), lease: lease.clone(), lease_for: LONG_LEASE }).await;
    assert_eq!(requests(&run).await, []);
    let resumed = Run { lease, ..run.clone() };
    assert_eq!(requests(&resumed).await, std::slice::from_ref(&run.id));
    let turn = Box::new(f.turn("done"));
    f.write(Write::FinishRun { run: run.id.clone(), turn, shape: RunShape::default() }).await;
    assert_eq!(requests(&resumed).await, []);
    let error = f.refused_write(Write::RequestStop { run: run.id }).await;
    assert_refused!(error, StoreError::NotFound { subject: Subject::Run, .. });
}

pub async fn how_the_last_run_came_is_known_until_the_next_or_until_it_is_forgotten(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    assert_eq!(f.store.find_ended_run(&id).await.unwrap(), None);
    for (shape, number) in [("r2 t3 x t40", 2), ("", 3)] {
        let run = f.begin(&id, LONG_LEASE).await;
        let (turn, shape) = (f.turn("done"), RunShape::parse(shape).unwrap());
        let finish =
            Write::FinishRun { run: run.id.clone(), turn: Box::new(turn.clone()), shape: shape.clone() };
        let change = f.change().write(finish);
        let ended_at = change.now;
        f.commit(change).await;
        let expected =
            EndedRun { turn_id: turn.id, turn_number: number, version: run.version, shape, ended_at };
        assert_eq!(f.store.find_ended_run(&id).await.unwrap(), Some(expected));
    }
    let ended_at = f.store.find_ended_run(&id).await.unwrap().unwrap().ended_at;
    f.write(Write::ForgetEndedRuns { before: ended_at }).await;
    assert!(f.store.find_ended_run(&id).await.unwrap().is_some(), "only what ended before");
    let before = ended_at.plus(std::time::Duration::from_micros(1));
    f.write(Write::ForgetEndedRuns { before }).await;
    assert_eq!(f.store.find_ended_run(&id).await.unwrap(), None);
}

pub async fn how_a_run_came_goes_with_its_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let run = f.begin(&id, LONG_LEASE).await;
    let shape = RunShape::parse("t4").unwrap();
    f.write(Write::FinishRun { run: run.id, turn: Box::new(f.turn("done")), shape }).await;
    f.delete(&id).await;
    assert_eq!(f.store.find_ended_run(&id).await.unwrap(), None);
    let nobody = f.session_id();
    assert_eq!(f.store.find_ended_run(&nobody).await.unwrap(), None);
}

pub async fn only_a_run_that_waits_takes_what_is_said_to_its_tools(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let error = f.check(waiting(&run)).await.unwrap_err();
    assert_refused!(error, StoreError::LeaseLost { run: named } if *named == run.id);
    f.write(Write::SuspendRun { run: run.id.clone() }).await;
    assert!(f.check(waiting(&run)).await.is_ok());
    f.write(Write::ResumeRun { run: run.id.clone(), lease: f.lease(), lease_for: LONG_LEASE }).await;
    assert_refused!(f.check(waiting(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    let turn = Box::new(f.turn("done"));
    f.write(Write::FinishRun { run: run.id.clone(), turn, shape: RunShape::default() }).await;
    assert_refused!(f.check(waiting(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
}

pub async fn every_kind_of_piece_is_kept_in_a_log(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let consent =
        Consent { kind: ConsentKind::Denied, by: "ada\0".into(), reason: Some("🙂".into()), at: f.now() };
    let call = ToolCall {
        call_id: "c\0".into(),
        name: "wipe".into(),
        input: json(r#"{"n": 1.50}"#),
        effect: ToolEffect::Destructive,
        called_at: f.now(),
    };
    let used = ToolUse {
        success: false,
        effect: Some(ToolEffect::Destructive),
        error: Some("no\0".into()),
        consent: Some(consent.clone()),
        ..ToolUse::new("c\0", "wipe", json("[1e400]"))
    };
    let bodies = [
        PieceBody::Call(call),
        PieceBody::Pause(Pause { usage: Some(json(r#"{"a": 1}"#)), carry: Some(json("[\"\\u0000\"]")) }),
        PieceBody::Pause(Pause::default()),
        PieceBody::Consent { call_id: "c\0".into(), consent },
        PieceBody::Tool(used),
    ];
    let pieces: Vec<Piece> = (0..).zip(bodies).map(|(seq, body)| Piece { seq, body }).collect();
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: pieces.clone() }).await;
    assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap(), pieces);
}
