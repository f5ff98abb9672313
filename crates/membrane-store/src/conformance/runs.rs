//! Runs: the unfinished turn, its log, its lease and who may take it over.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::LeaseToken;
use membrane_core::run::{Piece, PieceBody, Run, RunEnd, RunPhase, RunShape};
use membrane_core::session::{Session, SessionPatch};
use membrane_core::state::State;
use membrane_core::turn::{Item, Linearity, Message};

use super::fixture::{Fixture, LONG_LEASE, append, assert_refused, create_root, json, text_pieces};
use crate::{Receipt, Requirement, SessionStamp, Store, StoreError, Subject, Write};

/// A lease that has expired, or is about to.
const SHORT_LEASE: Duration = Duration::from_millis(20);

fn held(run: &Run) -> Requirement {
    Requirement::Lease { run: run.id.clone(), token: run.lease.token }
}

fn abandoned(run: &Run) -> Requirement {
    Requirement::Abandoned { run: run.id.clone(), dead_owner: None }
}

async fn until_expired(f: &Fixture, run: &Run) {
    f.until("the lease has expired", || async {
        f.store.list_stale_runs(&[], 1_000).await.unwrap().iter().any(|stale| stale.id == run.id)
    })
    .await;
}

pub async fn a_run_is_durable_before_its_turn_and_outside_of_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let before = f.thread(&id).await;
    let mut run = f.run(&id, "why\0 🙂?");
    run.user = Message { mentions: Some(json("[1e400]")), linearity: Linearity::Required, ..run.user };
    let receipt = f.write(Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE }).await;
    let stamp = SessionStamp {
        id: id.clone(),
        version: before.session.version,
        cut: before.session.cut,
        standing: before.session.standing(),
    };
    assert_eq!(receipt.sessions, [stamp], "the record's version does not rise");
    run.version = before.session.version;
    assert_eq!(f.store.find_run(&id).await.unwrap().as_ref(), Some(&run));
    let during = f.thread(&id).await;
    assert_eq!(during.turns, before.turns);
    assert_eq!(during.session, Session { state: State::Processing, ..before.session });
    assert_eq!(f.store.list_lease_owners().await.unwrap(), [run.lease.owner.clone()]);
    let mut bare = f.run(&f.session(0).await, "");
    bare.model = None;
    f.write(Write::BeginRun { run: bare.clone(), lease_for: LONG_LEASE }).await;
    bare.version = 1;
    assert_eq!(f.store.find_run(&bare.session).await.unwrap(), Some(bare));
}

pub async fn a_begun_runs_receipt_tells_version_and_turns_and_a_replay_the_same(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (id, other) = (f.session(3).await, f.session(1).await);
    let before = f.get(&id).await;
    let run = f.run(&id, "why?");
    let begin = |run: &Run| {
        let key = f.key(Some(&id), "k", run.id.as_str());
        // Looked at only, so not in the receipt.
        let looked_at = Requirement::Version { session: other.clone(), version: 2 };
        let begin = Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE };
        f.change().once(Some(key)).require(looked_at).write(begin)
    };
    let first = f.commit(begin(&run)).await;
    let stamp = SessionStamp {
        id: id.clone(),
        version: before.version,
        cut: before.cut,
        standing: before.standing(),
    };
    assert_eq!(first.sessions, std::slice::from_ref(&stamp));
    assert_eq!((stamp.version, stamp.cut.turn_count), (2, 3));
    let suspended = f.write(Write::SuspendRun { run: run.id.clone() }).await;
    assert_eq!(suspended.sessions, std::slice::from_ref(&stamp));
    let resume = Write::ResumeRun { run: run.id.clone(), lease: f.lease(), lease_for: LONG_LEASE };
    assert_eq!(f.write(resume).await.sessions, std::slice::from_ref(&stamp));
    let turn = Box::new(f.turn("answer"));
    let finished = f.write(Write::FinishRun { run: run.id.clone(), turn, shape: RunShape::default() }).await;
    assert_eq!(finished.stamp(&id).map(|stamp| (stamp.version, stamp.cut.turn_count)), Some((3, 4)));
    let again = f.commit(begin(&f.run(&id, "why?"))).await;
    assert_eq!(again, Receipt { replayed: true, ..first }, "where it stood when the run began");
    assert_eq!(f.store.find_run(&id).await.unwrap(), None);
}

pub async fn a_run_begun_beside_other_writes_raises_no_version_more_than_they_do(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (begun, written, fresh) = (f.session(1).await, f.session(1).await, f.session_id());
    let (run, on_fresh) = (f.run(&begun, "x"), f.run(&fresh, "x"));
    let more = f.turns(2);
    let change = f
        .change()
        .write(Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE })
        .write(append(&written, more))
        .write(create_root(&fresh))
        .write(Write::BeginRun { run: on_fresh, lease_for: LONG_LEASE });
    let receipt = f.commit(change).await;
    let stamps: Vec<_> =
        receipt.sessions.iter().map(|at| (at.id.clone(), at.version, at.cut.turn_count)).collect();
    assert_eq!(stamps, [(begun.clone(), 2, 1), (written, 3, 3), (fresh, 1, 0)]);
    let turn = f.turn("meanwhile");
    let change = f.change().write(Write::SuspendRun { run: run.id }).write(append(&begun, vec![turn]));
    let receipt = f.commit(change).await;
    assert_eq!(receipt.stamp(&begun).map(|at| (at.version, at.cut.turn_count)), Some((3, 2)), "once");
    let receipt = f.write(Write::DeleteSession { session: begun }).await;
    assert_eq!(receipt.sessions, []);
}

pub async fn a_second_run_is_told_since_when_the_first_is_open(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let run = f.begin(&id, LONG_LEASE).await;
    for phase in [RunPhase::Running, RunPhase::AwaitingTool] {
        let second = Write::BeginRun { run: f.run(&id, "again"), lease_for: LONG_LEASE };
        let error = f.refused_write(second).await;
        assert_refused!(
            error,
            StoreError::Busy { session, since } if *session == id && *since == run.started_at
        );
        assert_eq!(f.store.find_run(&id).await.unwrap().map(|open| open.phase), Some(phase));
        f.write(Write::SuspendRun { run: run.id.clone() }).await;
    }
    let elsewhere = Run { session: f.session(1).await, ..run };
    let error = f.refused_write(Write::BeginRun { run: elsewhere, lease_for: LONG_LEASE }).await;
    assert_refused!(error, StoreError::AlreadyExists { subject: Subject::Run, .. });
}

pub async fn pieces_come_back_in_order_from_any_number(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let other = f.begin(&f.session(1).await, LONG_LEASE).await;
    let Some(Item::Tool(tool)) = f.tool_turn("x", false).items.pop() else {
        panic!("a tool turn has a tool")
    };
    let bodies = [
        PieceBody::Text("a\0".into()),
        PieceBody::Reasoning(String::new()),
        PieceBody::Tool(tool),
        PieceBody::Text("🙂".into()),
    ];
    let pieces: Vec<Piece> = (0..).zip(bodies).map(|(seq, body)| Piece { seq, body }).collect();
    f.write(Write::AppendPieces { run: other.id.clone(), pieces: text_pieces(0, &["other"]) }).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: pieces[..1].to_vec() }).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: Vec::new() }).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: pieces[1..].to_vec() }).await;
    for from in 0..6 {
        let expected: Vec<_> = pieces.iter().filter(|piece| piece.seq >= from).cloned().collect();
        assert_eq!(f.store.list_pieces(&run.id, from).await.unwrap(), expected);
    }
    assert_eq!(f.store.list_pieces(&other.id, 0).await.unwrap(), text_pieces(0, &["other"]));
}

pub async fn pieces_that_do_not_go_on_are_somebody_elses(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let wrong = |pieces| Write::AppendPieces { run: run.id.clone(), pieces };
    for first in [1, 7] {
        let error = f.refused_write(wrong(text_pieces(first, &["x"]))).await;
        assert_refused!(error, StoreError::LeaseLost { run: named } if *named == run.id);
    }
    f.write(wrong(text_pieces(0, &["a", "b"]))).await;
    let mut gap = text_pieces(2, &["c", "d"]);
    gap[1].seq = 9;
    for pieces in [text_pieces(1, &["b again"]), text_pieces(0, &["a again"]), text_pieces(3, &["d"]), gap] {
        assert_refused!(f.refused_write(wrong(pieces)).await, StoreError::LeaseLost { .. });
        assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap().len(), 2, "nothing of it is kept");
    }
}

pub async fn finishing_a_run_makes_its_turn_and_ends_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let before = f.get(&id).await;
    let run = f.begin(&id, LONG_LEASE).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(0, &["Be", "cause"]) }).await;
    let pieces = f.store.list_pieces(&run.id, 0).await.unwrap();
    let turn = run.finish(&pieces, RunEnd::complete(), f.now());
    let change = f.change().require(held(&run));
    let now = change.now;
    let receipt = f
        .commit(change.write(Write::FinishRun {
            run: run.id.clone(),
            turn: Box::new(turn.clone()),
            shape: RunShape::default(),
        }))
        .await;
    let after = f.thread(&id).await;
    assert_eq!(after.turns[2].turn, turn);
    assert_eq!(after.turns[2].turn.assistant.content, "Because");
    assert_eq!((after.session.state, after.session.version), (State::Idle, before.version + 1));
    assert_eq!((after.session.last_active, after.session.cut.history), (now, before.cut.history));
    assert_eq!(receipt.stamp(&id).map(|stamp| stamp.cut.turn_count), Some(3));
    assert_eq!(f.store.find_run(&id).await.unwrap(), None);
    assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap(), []);
    assert_refused!(f.check(held(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    assert_refused!(f.check(abandoned(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    let again = Write::FinishRun { run: run.id, turn: Box::new(f.turn("twice")), shape: RunShape::default() };
    assert_refused!(f.refused_write(again).await, StoreError::NotFound { subject: Subject::Run, .. });
    f.begin(&id, LONG_LEASE).await;
}

pub async fn only_the_leases_token_may_write(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    assert!(f.check(held(&run)).await.is_ok());
    for token in [0, run.lease.token.0 + 1, u64::MAX >> 1] {
        let other = Requirement::Lease { run: run.id.clone(), token: LeaseToken(token) };
        assert_refused!(f.check(other).await.unwrap_err(), StoreError::LeaseLost { .. });
    }
    let mut large = f.run(&f.session(1).await, "x");
    large.lease.token = LeaseToken(u64::MAX >> 1);
    f.write(Write::BeginRun { run: large.clone(), lease_for: LONG_LEASE }).await;
    large.version = 2;
    assert_eq!(f.store.find_run(&large.session).await.unwrap().as_ref(), Some(&large));
    assert!(f.check(held(&large)).await.is_ok());
}

pub async fn a_run_that_waits_for_a_tool_holds_no_lease(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let before = f.get(&id).await;
    let run = f.begin(&id, LONG_LEASE).await;
    f.write(Write::AppendPieces { run: run.id.clone(), pieces: text_pieces(0, &["so"]) }).await;
    f.write(Write::SuspendRun { run: run.id.clone() }).await;
    assert_eq!(f.get(&id).await, Session { state: State::AwaitingTool, ..before.clone() });
    assert_eq!(f.store.find_run(&id).await.unwrap().map(|open| open.phase), Some(RunPhase::AwaitingTool));
    assert_eq!(f.store.list_lease_owners().await.unwrap(), []);
    assert_eq!(f.store.list_stale_runs(std::slice::from_ref(&run.lease.owner), 10).await.unwrap(), []);
    assert_refused!(f.check(held(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    assert!(f.check(abandoned(&run)).await.is_ok(), "whoever brings the result may go on");
    let lease = f.lease();
    let resume = Write::ResumeRun { run: run.id.clone(), lease: lease.clone(), lease_for: LONG_LEASE };
    f.commit(f.change().require(abandoned(&run)).write(resume)).await;
    let resumed = Run { lease, ..run.clone() };
    assert_eq!(f.store.find_run(&id).await.unwrap().as_ref(), Some(&resumed));
    assert_eq!(f.get(&id).await, Session { state: State::Processing, ..before });
    assert_refused!(f.check(held(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    assert!(f.check(held(&resumed)).await.is_ok());
    assert_refused!(f.check(abandoned(&resumed)).await.unwrap_err(), StoreError::LeaseHeld { .. });
    assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap().len(), 1, "what had arrived is still there");
}

pub async fn a_long_lease_does_not_expire(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let short = f.begin(&f.session(1).await, SHORT_LEASE).await;
    // By the time that the short one has expired, a backend that mixes units up has lost the long one too.
    until_expired(&f, &short).await;
    assert_eq!(f.store.list_stale_runs(&[], 10).await.unwrap(), [short]);
    let error = f.check(abandoned(&run)).await.unwrap_err();
    assert_refused!(error, StoreError::LeaseHeld { run: named } if *named == run.id);
    assert!(f.check(held(&run)).await.is_ok());
}

pub async fn an_expired_lease_is_its_owners_until_somebody_takes_over(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let run = f.begin(&id, SHORT_LEASE).await;
    until_expired(&f, &run).await;
    assert!(f.check(held(&run)).await.is_ok(), "nobody took it over yet");
    assert!(f.check(abandoned(&run)).await.is_ok());
    assert_eq!(f.store.list_lease_owners().await.unwrap(), std::slice::from_ref(&run.lease.owner));
    let turn = Box::new(run.finish(&[], RunEnd::interrupted("owner_lost", "its process is gone"), f.now()));
    let close = f.change().require(abandoned(&run)).write(Write::FinishRun {
        run: run.id.clone(),
        turn,
        shape: RunShape::default(),
    });
    f.commit(close).await;
    assert_refused!(f.check(held(&run)).await.unwrap_err(), StoreError::LeaseLost { .. });
    assert_eq!((f.get(&id).await.cut.turn_count, f.get(&id).await.state), (2, State::Idle));
    assert_eq!(f.store.list_stale_runs(&[], 10).await.unwrap(), []);
}

pub async fn a_renewed_lease_lasts_from_the_renewal(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, Duration::ZERO).await;
    until_expired(&f, &run).await;
    let renew = |lease_for| Write::RenewLease { run: run.id.clone(), lease_for };
    f.commit(f.change().require(held(&run)).write(renew(LONG_LEASE))).await;
    assert_eq!(f.store.list_stale_runs(&[], 10).await.unwrap(), []);
    assert_refused!(f.check(abandoned(&run)).await.unwrap_err(), StoreError::LeaseHeld { .. });
    f.write(renew(SHORT_LEASE)).await;
    until_expired(&f, &run).await;
    assert!(f.check(abandoned(&run)).await.is_ok(), "a renewal may also shorten it");
}

pub async fn a_dead_owners_runs_can_be_taken_at_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let run = f.begin(&f.session(1).await, LONG_LEASE).await;
    let other = f.begin(&f.session(1).await, LONG_LEASE).await;
    let dead = |owner: &Run| Requirement::Abandoned {
        run: run.id.clone(),
        dead_owner: Some(owner.lease.owner.clone()),
    };
    assert!(f.check(dead(&run)).await.is_ok());
    assert_refused!(f.check(dead(&other)).await.unwrap_err(), StoreError::LeaseHeld { .. });
    let stale = f.store.list_stale_runs(std::slice::from_ref(&run.lease.owner), 10).await.unwrap();
    assert_eq!(stale, [run]);
}

pub async fn stale_runs_come_oldest_first_and_no_more_than_asked_for(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let mut runs = Vec::new();
    for back in [30_u64, 10, 50, 20, 40] {
        let mut run = f.run(&f.session(1).await, "x");
        run.started_at = run.started_at.minus(Duration::from_secs(back));
        run.version = 2;
        f.write(Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE }).await;
        runs.push(run);
    }
    let owners: Vec<_> = runs.iter().skip(1).map(|run| run.lease.owner.clone()).collect();
    let expected = [&runs[2], &runs[4], &runs[3], &runs[1]].map(Clone::clone);
    for limit in 0..6_u32 {
        let stale = f.store.list_stale_runs(&owners, limit).await.unwrap();
        assert_eq!(stale, expected[..expected.len().min(usize::try_from(limit).unwrap())]);
    }
    let mut known: Vec<_> = runs.into_iter().map(|run| run.lease.owner).collect();
    known.sort();
    let mut listed = f.store.list_lease_owners().await.unwrap();
    listed.sort();
    assert_eq!(listed, known);
}

pub async fn an_owner_of_several_runs_is_listed_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let lease = f.lease();
    for _ in 0..3 {
        let run = Run { lease: lease.clone(), ..f.run(&f.session(0).await, "x") };
        f.write(Write::BeginRun { run, lease_for: LONG_LEASE }).await;
    }
    assert_eq!(f.store.list_lease_owners().await.unwrap(), [lease.owner]);
}

pub async fn a_run_does_not_stop_what_else_a_session_allows(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let run = f.begin(&id, LONG_LEASE).await;
    let fork = f.fork(&id, 2).await;
    f.name_place(&id, "meanwhile").await;
    let patch = SessionPatch { title: Some(Some("renamed".into())), ..SessionPatch::default() };
    f.write(Write::PatchSession { session: id.clone(), patch }).await;
    f.signal(&id, 0, membrane_core::turn::SignalKind::Negative).await;
    let turn = Box::new(f.turn("answer"));
    f.commit(f.change().require(held(&run)).write(Write::FinishRun {
        run: run.id,
        turn,
        shape: RunShape::default(),
    }))
    .await;
    let session = f.get(&id).await;
    assert_eq!((session.title.as_deref(), session.flipped, session.cut.turn_count), (Some("renamed"), 1, 3));
    assert_eq!(f.get(&fork).await.state, State::Idle, "a fork takes no run along");
    assert_eq!(f.said(&fork).await.len(), 2);
}

pub async fn a_run_on_a_fork_finishes_into_a_segment_of_its_own(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(2).await;
    let fork = f.fork(&parent, 1).await;
    let run = f.begin(&fork, LONG_LEASE).await;
    let more = f.turns(1);
    f.write(append(&parent, more)).await;
    let turn = Box::new(f.turn("answer"));
    f.commit(f.change().require(held(&run)).write(Write::FinishRun {
        run: run.id,
        turn,
        shape: RunShape::default(),
    }))
    .await;
    assert_eq!(f.said(&fork).await, ["turn 0", "answer"]);
    assert_eq!(f.said(&parent).await.len(), 3);
}
