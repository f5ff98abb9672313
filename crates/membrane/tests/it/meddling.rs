//! A store in which somebody else acts at the worst moment: after a call has read and decided, and before
//! its commit arrives; or after the commit, and before it reads back. Or which takes only what a judge lets
//! through. So races and failures come about on purpose and every time.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use membrane::core::event::EventSeq;
use membrane::core::history::{Cut, History, Span, TurnMark, TurnRef};
use membrane::core::ids::{CheckpointId, HistoryId, InstanceId, RunId};
use membrane::core::role::Role;
use membrane::core::run::{EndedRun, Piece, Run};
use membrane::store::{
    Change, EventBounds, EventPage, LocatedThread, LocatedTurns, OldRow, Receipt, StoredTurn,
};
use membrane::{
    BranchNode, Chat, Checkpoint, Crystal, KeptTurn, PageRequest, Session, SessionFilter, SessionId,
    SessionPage, Store, StoreError, StoreGauges, StoreStats, Thread,
};

type Deed = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What becomes of a change.
pub(crate) enum Verdict {
    /// It goes on to the store.
    Pass,
    /// It fails like this and changes nothing.
    Refuse(StoreError),
    /// It is made, and the caller is told that it failed.
    PassAndFail(StoreError),
    /// It is made, and others do what they like before the caller is told.
    PassAndLag,
}

/// Long enough for others to do whatever they are about to do.
const LAG: Duration = Duration::from_millis(100);

type Judgement = Pin<Box<dyn Future<Output = Verdict> + Send>>;
type Judge = Box<dyn Fn(&Change) -> Judgement + Send + Sync>;

/// At which calls somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Commit,
    FindSession,
}

/// Passes everything on to the store inside; before some calls, the deed is done while it has turns left.
pub(crate) struct Meddling {
    inner: Arc<dyn Store>,
    deed: Deed,
    before: Before,
    turns_left: Mutex<usize>,
    commits: AtomicUsize,
    judge: Option<Judge>,
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddling").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Meddling {
    /// A handle on `inner` whose first `turns` such calls come after somebody did `deed`, and the store
    /// between them.
    pub(crate) fn doing<F>(
        before: Before,
        inner: &Arc<dyn Store>,
        turns: usize,
        deed: impl Fn(Chat) -> F + Send + Sync + 'static,
    ) -> (Chat, Arc<Self>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let somebody = Chat::create(Arc::clone(inner));
        let store = Arc::new(Self {
            inner: Arc::clone(inner),
            deed: Box::new(move || Box::pin(deed(somebody.clone()))),
            before,
            turns_left: Mutex::new(turns),
            commits: AtomicUsize::new(0),
            judge: None,
        });
        (Chat::create(Arc::clone(&store) as Arc<dyn Store>), store)
    }

    /// A store on `inner` that takes the changes that `judge` lets through, when it does.
    pub(crate) fn judging<F>(
        inner: &Arc<dyn Store>,
        judge: impl Fn(&Change) -> F + Send + Sync + 'static,
    ) -> Arc<dyn Store>
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        Arc::new(Self {
            inner: Arc::clone(inner),
            deed: Box::new(|| Box::pin(async {})),
            before: Before::Commit,
            turns_left: Mutex::new(0),
            commits: AtomicUsize::new(0),
            judge: Some(Box::new(move |change| Box::pin(judge(change)))),
        })
    }

    /// How many commits came by.
    pub(crate) fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    async fn before(&self, call: Before) {
        let is_due = call == self.before && {
            let mut left = self.turns_left.lock().unwrap();
            let due = *left > 0;
            *left = left.saturating_sub(1);
            due
        };
        if is_due {
            (self.deed)().await;
        }
    }
}

#[async_trait]
impl Store for Meddling {
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.before(Before::Commit).await;
        let verdict = match &self.judge {
            Some(judge) => judge(&change).await,
            None => Verdict::Pass,
        };
        match verdict {
            Verdict::Pass => self.inner.commit(change).await,
            Verdict::Refuse(error) => Err(error),
            Verdict::PassAndFail(error) => {
                self.inner.commit(change).await?;
                Err(error)
            }
            Verdict::PassAndLag => {
                let receipt = self.inner.commit(change).await?;
                tokio::time::sleep(LAG).await;
                Ok(receipt)
            }
        }
    }

    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.before(Before::FindSession).await;
        self.inner.find_session(id).await
    }

    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError> {
        self.inner.load_thread(id, range).await
    }

    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
        self.inner.load_turns(cut, range).await
    }

    async fn locate_thread(
        &self,
        id: &SessionId,
        range: Range<u64>,
    ) -> Result<Option<LocatedThread>, StoreError> {
        self.inner.locate_thread(id, range).await
    }

    async fn locate_turns(&self, cut: Cut, range: Range<u64>) -> Result<LocatedTurns, StoreError> {
        self.inner.locate_turns(cut, range).await
    }

    async fn load_spans(&self, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
        self.inner.load_spans(spans).await
    }

    async fn keep_name(&self) -> Result<String, StoreError> {
        self.inner.keep_name().await
    }

    async fn find_history(&self, id: HistoryId) -> Result<Option<History>, StoreError> {
        self.inner.find_history(id).await
    }

    async fn list_marks(&self, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
        self.inner.list_marks(cut).await
    }

    async fn find_marks(&self, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
        self.inner.find_marks(turns).await
    }

    async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError> {
        self.inner.list_sessions(filter, page).await
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, StoreError> {
        self.inner.count_sessions(filter).await
    }

    async fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
        self.inner.list_family(family).await
    }

    async fn list_checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        self.inner.list_checkpoints(session).await
    }

    async fn find_checkpoint(
        &self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.find_checkpoint(session, id).await
    }

    async fn find_crystal(&self, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
        self.inner.find_crystal(session).await
    }

    async fn list_old_rows(
        &self,
        session: Option<&SessionId>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<OldRow>, StoreError> {
        self.inner.list_old_rows(session, offset, limit).await
    }

    async fn find_run(&self, session: &SessionId) -> Result<Option<Run>, StoreError> {
        self.inner.find_run(session).await
    }

    async fn list_pieces(&self, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
        self.inner.list_pieces(run, from).await
    }

    async fn list_stale_runs(&self, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
        self.inner.list_stale_runs(owners, limit).await
    }

    async fn list_stop_requests(&self, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
        self.inner.list_stop_requests(owner).await
    }

    async fn find_ended_run(&self, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
        self.inner.find_ended_run(session).await
    }

    async fn list_lease_owners(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.inner.list_lease_owners().await
    }

    async fn hold_instance(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.inner.hold_instance(instance).await
    }

    async fn list_dead_instances(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        self.inner.list_dead_instances(among).await
    }

    async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, StoreError> {
        self.inner.find_leader(role).await
    }

    async fn list_events(&self, after: EventSeq, limit: u32) -> Result<EventPage, StoreError> {
        self.inner.list_events(after, limit).await
    }

    async fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        self.inner.event_bounds().await
    }

    async fn wait_for_events(&self, after: EventSeq) -> Result<(), StoreError> {
        self.inner.wait_for_events(after).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats().await
    }

    async fn gauges(&self) -> Result<StoreGauges, StoreError> {
        self.inner.gauges().await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
