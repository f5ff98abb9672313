//! What every case starts from: a keep on one of the stores, with a clock of its own that ticks; and
//! verbs that keep the cases short. After each case the store is checked for rows that contradict
//! each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use membrane::core::evidence::Evidence;
use membrane::core::ids::{InstanceId, LeaseToken, RunId, SequentialIds};
use membrane::core::run::{Lease, Run, RunPhase};
use membrane::store::memory::MemoryStore;
use membrane::store::{Change, Write};
use membrane::{
    Chat, ChatError, Clock, ForkOptions, KeptTurn, Limits, Message, NewSessionOptions, NewTurn, Session,
    SessionId, Store, SystemClock, Timestamp, Turn, TurnId, WriteOptions,
};
use membrane_sqlite::{SqliteOptions, SqliteStore};

/// Runs each case on each store, and checks the store afterwards.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let keep = $crate::keep::Keep::in_memory();
                super::$case(&keep).await;
                keep.check().await;
            })+
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let keep = $crate::keep::Keep::on_sqlite().await;
                super::$case(&keep).await;
                keep.check().await;
            })+
        }
    };
}
pub(crate) use on_every_store;

/// A clock that goes on by a millisecond whenever it is read.
#[derive(Debug)]
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1000, Ordering::SeqCst))
    }
}

pub(crate) struct Keep {
    pub(crate) chat: Chat,
    pub(crate) store: Arc<dyn Store>,
    _folder: Option<tempfile::TempDir>,
}

impl Keep {
    pub(crate) fn in_memory() -> Self {
        Self::on(Arc::new(MemoryStore::new(Arc::new(SystemClock))), None)
    }

    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::at(folder.path().join("keep.db"))).await.unwrap();
        Self::on(Arc::new(store), Some(folder))
    }

    fn on(store: Arc<dyn Store>, folder: Option<tempfile::TempDir>) -> Self {
        let chat = chat_on(&store, Limits::default(), 0);
        Self { chat, store, _folder: folder }
    }

    /// Another handle on the same store, with limits of its own.
    pub(crate) fn with_limits(&self, limits: Limits) -> Chat {
        chat_on(&self.store, limits, 1 << 32)
    }

    pub(crate) async fn check(&self) {
        match self.store.check().await {
            Ok(findings) => assert_eq!(findings, Vec::<String>::new(), "the store contradicts itself"),
            Err(membrane::StoreError::Closed) => {}
            Err(error) => panic!("the store cannot be checked: {error}"),
        }
    }

    /// A new session with plain turns `u<from>/a<from>` and on.
    pub(crate) async fn session_of(&self, turns: usize) -> Session {
        let session = self.chat.create_session(NewSessionOptions::default()).await.unwrap();
        self.extend(&session.id, turns).await;
        self.record(&session.id).await
    }

    /// Appends plain turns, numbered on.
    pub(crate) async fn extend(&self, id: &SessionId, turns: usize) {
        let from = self.record(id).await.turn_count();
        let turns = (from..).take(turns).map(|n| NewTurn::new(format!("u{n}"), format!("a{n}"))).collect();
        self.chat.append_many(id, turns, WriteOptions::default()).await.unwrap();
    }

    pub(crate) async fn say(&self, id: &SessionId, user: &str) {
        self.chat.append(id, NewTurn::new(user, "yes"), WriteOptions::default()).await.unwrap();
    }

    pub(crate) async fn fork_at(&self, id: &SessionId, fork_point: i64) -> Session {
        let options = ForkOptions { fork_point: Some(fork_point), ..ForkOptions::default() };
        self.chat.fork(id, options).await.unwrap()
    }

    pub(crate) async fn record(&self, id: &SessionId) -> Session {
        self.chat.find_session(id).await.unwrap().expect("the session is there")
    }

    pub(crate) async fn kept(&self, id: &SessionId) -> Vec<KeptTurn> {
        self.chat.load_turns(id, 0..u64::MAX).await.unwrap().expect("the session is there").turns
    }

    /// What the user said, turn by turn.
    pub(crate) async fn words(&self, id: &SessionId) -> Vec<String> {
        self.kept(id).await.into_iter().map(|kept| kept.turn.user.content).collect()
    }

    /// What makes two sessions equivalent: content in order, and evidence.
    pub(crate) async fn essence(&self, id: &SessionId) -> (Vec<Turn>, Evidence) {
        let turns = self.kept(id).await.into_iter().map(|kept| kept.turn).collect();
        (turns, self.record(id).await.evidence())
    }

    /// Opens a run on a session, so that it is processing.
    pub(crate) async fn begin_run(&self, id: &SessionId) {
        let ids = SequentialIds::starting_at(900);
        let now = Timestamp::from_micros(0);
        let run = Run {
            id: RunId::generate(&ids),
            session: id.clone(),
            turn_id: TurnId::generate(&ids),
            user: Message::new("wait"),
            model: None,
            phase: RunPhase::Running,
            lease: Lease { owner: InstanceId::generate(&ids), token: LeaseToken::generate(&ids) },
            started_at: now,
            version: 0,
        };
        let begin = Write::BeginRun { run, lease_for: Duration::from_secs(3600) };
        self.store.commit(Change::at(now).write(begin)).await.unwrap();
    }
}

fn chat_on(store: &Arc<dyn Store>, limits: Limits, first_id: u64) -> Chat {
    let start = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
    Chat::builder(Arc::clone(store))
        .clock(Arc::new(TickingClock(AtomicI64::new(start.as_micros()))))
        .ids(Arc::new(SequentialIds::starting_at(first_id)))
        .limits(limits)
        .build()
}

pub(crate) fn id(text: &str) -> SessionId {
    SessionId::parse(text).unwrap()
}

/// The error of a call that must fail.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ChatError>) -> ChatError {
    result.expect_err("the call must be refused")
}

/// The words of the error of a call that must fail.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ChatError>) -> String {
    refused(result).to_string()
}
