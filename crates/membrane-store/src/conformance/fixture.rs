//! What cases need: sessions, turns, forks and the like in one line each, decided as the library
//! decides them: read, decide in core, commit with a requirement.
//!
//! Time and ids come from here and are the same in every run. Nothing here reads a real clock, except
//! [`Fixture::until`], which waits for the backend's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::evidence::unite_legacy;
use membrane_core::history::{Cut, History};
use membrane_core::ids::{CheckpointId, InstanceId, LeaseToken, RunId, SequentialIds, SessionId, TurnId};
use membrane_core::json::Json;
use membrane_core::merge;
use membrane_core::run::{Lease, Piece, PieceBody, Run, RunPhase};
use membrane_core::session::{NewSession, Session};
use membrane_core::time::{Clock, ManualClock, Timestamp};
use membrane_core::tool::ToolUse;
use membrane_core::turn::{Item, KeptTurn, Signal, SignalKind, Turn};

use crate::change::{Leave, Origin};
use crate::{Change, IdempotencyKey, Receipt, Requirement, Store, StoreError, StoreStats, Thread, Write};

/// Longer than any case lasts.
pub const LONG_LEASE: Duration = Duration::from_secs(60 * 60);

/// How long [`Fixture::until`] waits at the most.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store, and the time and ids of one case. Clones share all of them.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// Where ids come from.
    pub ids: Arc<SequentialIds>,
    clock: Arc<ManualClock>,
}

impl Fixture {
    /// Everything starts at 2026-01-02T03:04:05.000006Z.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_767_323_045_000_006)));
        Self { store, ids: Arc::new(SequentialIds::starting_at(1)), clock }
    }

    /// The same time and ids on another store.
    #[must_use]
    pub fn on(&self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self.clone() }
    }

    /// The time, a millisecond later at each call.
    pub fn now(&self) -> Timestamp {
        self.clock.advance(Duration::from_millis(1));
        self.clock.now()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A change now.
    pub fn change(&self) -> Change {
        Change::at(self.now())
    }

    /// Commits what must succeed.
    pub async fn commit(&self, change: Change) -> Receipt {
        self.store.commit(change).await.unwrap()
    }

    /// Commits one write that must succeed.
    pub async fn write(&self, write: Write) -> Receipt {
        self.commit(self.change().write(write)).await
    }

    /// Commits what must fail.
    pub async fn refused(&self, change: Change) -> StoreError {
        self.store.commit(change).await.expect_err("this change must be refused")
    }

    /// Commits one write that must fail.
    pub async fn refused_write(&self, write: Write) -> StoreError {
        self.refused(self.change().write(write)).await
    }

    /// Commits one requirement, with nothing to write.
    pub async fn check(&self, requirement: Requirement) -> Result<Receipt, StoreError> {
        self.store.commit(self.change().require(requirement)).await
    }

    /// A fresh session id.
    pub fn session_id(&self) -> SessionId {
        SessionId::generate(&*self.ids)
    }

    /// A plain complete turn that says `text` and is answered with it.
    pub fn turn(&self, text: &str) -> Turn {
        Turn::plain(TurnId::generate(&*self.ids), text, format!("re: {text}"), self.now())
    }

    /// A turn that used one tool.
    pub fn tool_turn(&self, text: &str, success: bool) -> Turn {
        let mut turn = self.turn(text);
        turn.items.push(Item::Tool(ToolUse {
            output: json(r#""…""#),
            success,
            duration_ms: 12.5,
            ..ToolUse::new("call_1", "read_file", json(r#"{"path":"a"}"#))
        }));
        turn
    }

    /// `count` plain turns.
    pub fn turns(&self, count: u64) -> Vec<Turn> {
        (0..count).map(|number| self.turn(&format!("turn {number}"))).collect()
    }

    /// Creates a session of its own, without turns.
    pub async fn create(&self) -> SessionId {
        let id = self.session_id();
        self.write(create_root(&id)).await;
        id
    }

    /// Creates a session of its own with `count` plain turns.
    pub async fn session(&self, count: u64) -> SessionId {
        let id = self.create().await;
        self.append(&id, count).await;
        id
    }

    /// Appends `count` plain turns in one change.
    pub async fn append(&self, session: &SessionId, count: u64) -> Receipt {
        let turns = self.turns(count);
        self.write(append(session, turns)).await
    }

    /// Appends one plain turn that says `text`.
    pub async fn say(&self, session: &SessionId, text: &str) -> Receipt {
        let turn = self.turn(text);
        self.write(append(session, vec![turn])).await
    }

    /// The session, which must be there.
    pub async fn get(&self, id: &SessionId) -> Session {
        self.store.find_session(id).await.unwrap().expect("the session must be there")
    }

    /// The session with all its turns.
    pub async fn thread(&self, id: &SessionId) -> Thread {
        self.store.load_thread(id, 0..u64::MAX).await.unwrap().expect("the session must be there")
    }

    /// All its turns.
    pub async fn kept(&self, id: &SessionId) -> Vec<KeptTurn> {
        self.thread(id).await.turns
    }

    /// What the user said, turn by turn.
    pub async fn said(&self, id: &SessionId) -> Vec<String> {
        self.kept(id).await.into_iter().map(|kept| kept.turn.user.content).collect()
    }

    /// The history that a session points at.
    pub async fn history(&self, id: &SessionId) -> History {
        let cut = self.get(id).await.cut;
        self.store.find_history(cut.history).await.unwrap().expect("a session's history must be there")
    }

    /// The change that forks the first `turn_count` turns of what `parent` was when it was read.
    pub fn fork_of(&self, parent: &Session, turn_count: u64) -> (SessionId, Change) {
        let id = self.session_id();
        let cut = Cut { turn_count, ..parent.cut };
        let session = NewSession {
            family: parent.family.clone(),
            parent_id: Some(parent.id.clone()),
            fork_point: Some(turn_count),
            branch_name: "fork".to_owned(),
            ..NewSession::root(id.clone())
        };
        let create = Write::CreateSession { session, origin: Origin::Cut(cut), created_at: None };
        (id, self.change().require(Requirement::Sees { session: parent.id.clone(), cut }).write(create))
    }

    /// Forks the first `turn_count` turns of `parent`.
    pub async fn fork(&self, parent: &SessionId, turn_count: u64) -> SessionId {
        let (id, change) = self.fork_of(&self.get(parent).await, turn_count);
        self.commit(change).await;
        id
    }

    /// The change that moves a session to a cut and leaves a checkpoint of this kind, with its id.
    pub fn move_to(&self, session: &SessionId, to: Cut, kind: CheckpointKind) -> (CheckpointId, Change) {
        let id = CheckpointId::generate(&*self.ids);
        let leave = Leave::automatic(id.clone(), kind);
        (id, self.change().write(Write::MoveSession { session: session.clone(), to, leave }))
    }

    /// Rewinds a session to its first `turn_count` turns; gives the checkpoint that was left.
    pub async fn rewind(&self, session: &SessionId, turn_count: u64) -> CheckpointId {
        let cut = self.get(session).await.cut;
        let (id, change) = self.move_to(session, Cut { turn_count, ..cut }, CheckpointKind::Rewind);
        self.commit(change.require(Requirement::Sees { session: session.clone(), cut })).await;
        id
    }

    /// The change that restores a checkpoint whose turns must all be there.
    pub fn restore_of(&self, checkpoint: &Checkpoint) -> Change {
        let (_, change) = self.move_to(&checkpoint.session, checkpoint.cut, CheckpointKind::Restore);
        let (session, id) = (checkpoint.session.clone(), checkpoint.id.clone());
        change
            .require(Requirement::Checkpoint { session, id })
            .require(Requirement::Intact { cut: checkpoint.cut })
    }

    /// Restores a checkpoint of a session.
    pub async fn restore(&self, session: &SessionId, id: &CheckpointId) -> Receipt {
        self.commit(self.restore_of(&self.checkpoint(session, id).await)).await
    }

    /// A checkpoint, which must be there.
    pub async fn checkpoint(&self, session: &SessionId, id: &CheckpointId) -> Checkpoint {
        let found = self.store.find_checkpoint(session, id).await.unwrap();
        found.expect("the checkpoint must be there")
    }

    /// Makes a named checkpoint where the session stands.
    pub async fn name_place(&self, session: &SessionId, name: &str) -> CheckpointId {
        let cut = self.get(session).await.cut;
        let id = CheckpointId::generate(&*self.ids);
        let (session, name) = (session.clone(), Some(name.to_owned()));
        let requirement = Requirement::Sees { session: session.clone(), cut };
        let create = Write::CreateCheckpoint { id: id.clone(), session, name, cut };
        self.commit(self.change().require(requirement).write(create)).await;
        id
    }

    /// The change that merges two sessions sequentially, as they are now, with the merge's id.
    pub async fn merge_of(&self, left: &Session, right: &Session) -> Result<(SessionId, Change), StoreError> {
        let missing = |id: &Session| StoreError::not_found(crate::Subject::History, id.cut.history.0);
        let histories = (
            self.store.find_history(left.cut.history).await?.ok_or_else(|| missing(left))?,
            self.store.find_history(right.cut.history).await?.ok_or_else(|| missing(right))?,
        );
        let spans = merge::sequential(
            &histories.0.spans(left.cut.turn_count),
            &histories.1.spans(right.cut.turn_count),
        );
        let marks = self.store.find_marks(&merge::ends(&spans)).await?;
        let marks = marks.into_iter().map(|mark| (mark.at, mark)).collect::<BTreeMap<_, _>>();
        let slices = merge::lay_out(&spans, &marks)?;
        let legacy = unite_legacy(&histories.0.legacy, &histories.1.legacy);
        Ok(self.merge_into(left, right, Origin::Slices { slices, legacy }))
    }

    /// The change that creates a merge of two sessions with this content.
    pub fn merge_into(&self, left: &Session, right: &Session, origin: Origin) -> (SessionId, Change) {
        let id = self.session_id();
        let session = NewSession {
            family: left.family.clone(),
            parent_id: Some(left.id.clone()),
            branch_name: "merge".to_owned(),
            ..NewSession::root(id.clone())
        };
        let mut change = self.change();
        for source in [left, right] {
            change = change.require(Requirement::Sees { session: source.id.clone(), cut: source.cut });
        }
        change = change.write(Write::CreateSession { session, origin, created_at: None });
        for source in [left, right] {
            change = change.write(Write::MarkMerged { session: source.id.clone(), into: id.clone() });
        }
        (id, change)
    }

    /// Merges two sessions sequentially.
    pub async fn merge(&self, left: &SessionId, right: &SessionId) -> SessionId {
        let (left, right) = (self.get(left).await, self.get(right).await);
        let (id, change) = self.merge_of(&left, &right).await.unwrap();
        self.commit(change).await;
        id
    }

    /// Signals on a session's turn.
    pub async fn signal(&self, session: &SessionId, number: u64, kind: SignalKind) -> Receipt {
        let at = self.history(session).await.locate(number).expect("the turn must be there");
        let signal = Signal { kind, comment: None, created_at: self.now() };
        self.write(Write::AddSignal { at, signal }).await
    }

    /// Deletes a session.
    pub async fn delete(&self, session: &SessionId) -> Receipt {
        self.write(Write::DeleteSession { session: session.clone() }).await
    }

    /// A run for a session, by an owner of its own.
    pub fn run(&self, session: &SessionId, text: &str) -> Run {
        Run {
            id: RunId::generate(&*self.ids),
            session: session.clone(),
            turn_id: TurnId::generate(&*self.ids),
            user: membrane_core::turn::Message::new(text),
            model: Some("echo".to_owned()),
            phase: RunPhase::Running,
            lease: self.lease(),
            started_at: self.now(),
            version: 0,
        }
    }

    /// A lease of a new instance.
    pub fn lease(&self) -> Lease {
        Lease { owner: InstanceId::generate(&*self.ids), token: LeaseToken::generate(&*self.ids) }
    }

    /// Begins a run.
    pub async fn begin(&self, session: &SessionId, lease_for: Duration) -> Run {
        let run = self.run(session, "why?");
        let receipt = self.write(Write::BeginRun { run: run.clone(), lease_for }).await;
        Run { version: receipt.stamp(session).map_or(0, |stamp| stamp.version), ..run }
    }

    /// A key for a route `send` of this session.
    pub fn key(&self, session: Option<&SessionId>, key: &str, result: &str) -> IdempotencyKey {
        IdempotencyKey {
            route: "send".to_owned(),
            session: session.cloned(),
            key: key.to_owned(),
            body_hash: [7; 32],
            result: result.to_owned(),
        }
    }

    /// How much there is, bytes on disk aside.
    pub async fn stats(&self) -> StoreStats {
        StoreStats { bytes: 0, log_bytes: 0, free_bytes: 0, ..self.store.stats().await.unwrap() }
    }

    /// Waits until the backend's clock has made something true; panics when it never happens.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "waited {PATIENCE:?} in vain until {what}");
    }
}

/// Creates an empty session of its own.
pub fn create_root(id: &SessionId) -> Write {
    let origin = Origin::Empty { legacy: Vec::new() };
    Write::CreateSession { session: NewSession::root(id.clone()), origin, created_at: None }
}

/// Appends turns.
pub fn append(session: &SessionId, turns: Vec<Turn>) -> Write {
    Write::AppendTurns { session: session.clone(), turns }
}

/// JSON that must be valid.
pub fn json(text: &str) -> Json {
    Json::parse("JSON of a case", text).unwrap()
}

/// Pieces of text that count from `first`.
pub fn text_pieces(first: u64, texts: &[&str]) -> Vec<Piece> {
    let bodies = texts.iter().map(|text| PieceBody::Text((*text).to_owned()));
    (first..).zip(bodies).map(|(seq, body)| Piece { seq, body }).collect()
}

/// `true` when the whole campaign is asked for (`MEMBRANE_TEST_FULL=1`), else cases run a slice of it.
pub fn is_full() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the one switch of the test command; no configuration")]
    let full = std::env::var("MEMBRANE_TEST_FULL");
    full.is_ok_and(|value| value == "1")
}

/// Asserts that a result is an error of this form, and shows what it is otherwise.
macro_rules! assert_refused {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error: $crate::StoreError = $error;
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?} is not {}", stringify!($pattern));
    }};
}
pub(crate) use assert_refused;
