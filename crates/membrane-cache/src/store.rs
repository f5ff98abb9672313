//! A store with a cache before it: reads of turns come from there as far as they can, everything else from the store.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::event::{EventKind, EventSeq};
use membrane_core::history::{Cut, History, Span, TurnMark, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, InstanceId, RunId, SessionId};
use membrane_core::page::{PageRequest, SessionFilter, SessionPage};
use membrane_core::role::Role;
use membrane_core::run::{EndedRun, Piece, Run};
use membrane_core::session::Session;
use membrane_core::turn::KeptTurn;
use membrane_store::{
    Change, EventBounds, EventPage, LocatedThread, LocatedTurns, OldRow, Receipt, Store, StoreError,
    StoreGauges, StoreStats, StoredTurn, Thread,
};

use crate::evict;
use crate::memory::{Known, Memory, ThreadName, Threads};
use crate::options::{CacheError, CacheOptions};
use crate::page::PageKey;
use crate::reading::Levels;
use crate::shared::Shared;
use crate::telemetry::Meters;

/// A store with a cache before it. Share it through an `Arc`.
#[derive(Debug)]
pub struct CachedStore {
    inner: Arc<dyn Store>,
    levels: Arc<Levels>,
    threads: Threads,
    min_turns: u64,
    keeps_first_read: bool,
}

impl CachedStore {
    /// Puts a cache before `inner`. Needs a tokio runtime with time and I/O enabled. What it measures goes to the
    /// recorder that is installed by then ([`crate::telemetry`]). A shared cache that cannot be reached is no error.
    ///
    /// # Errors
    /// [`CacheError`] when the shared cache's URL is none, or the store does not answer.
    pub async fn new(inner: Arc<dyn Store>, options: &CacheOptions) -> Result<Self, CacheError> {
        let meters = Meters::new();
        let memory =
            (options.memory_bytes > 0).then(|| Memory::new(options.memory_bytes, options.lifetime, &meters));
        let shared = match &options.shared {
            Some(shared) => {
                let keep = inner.keep_name().await?;
                Some(Shared::new(shared, options.lifetime, keep, meters.clone())?)
            }
            None => None,
        };
        Ok(Self {
            inner,
            levels: Arc::new(Levels { memory, shared, deletions: AtomicU64::new(0), meters }),
            threads: Threads::new(options.lifetime),
            min_turns: options.min_turns,
            keeps_first_read: options.keeps_first_read,
        })
    }

    /// Whether a range of a thread is worth looking for in the cache, by what is known of the thread.
    fn is_worth_it(&self, name: &ThreadName, range: &Range<u64>) -> bool {
        match self.threads.get(name) {
            Some(known) => {
                range.end.min(known.turn_count.max(range.start)).saturating_sub(range.start) >= self.min_turns
            }
            // Of an unknown one nothing is kept, unless another instance may have kept it.
            None => {
                self.keeps_first_read || (self.levels.shared.is_some() && range_len(range) >= self.min_turns)
            }
        }
    }

    fn note(&self, name: ThreadName, turn_count: u64) {
        let pages = self.threads.get(&name).map(|known| known.pages).unwrap_or_default();
        self.threads.put(name, Known { turn_count, pages });
    }

    /// The pages of a thread that were read, with those that were read before.
    fn note_pages(&self, name: ThreadName, turn_count: u64, pages: &[PageKey]) {
        let known = self.threads.get(&name).map(|known| known.pages).unwrap_or_default();
        let is_known = pages.iter().all(|page| known.binary_search(page).is_ok());
        let pages = if is_known {
            known
        } else {
            known.iter().chain(pages).copied().collect::<BTreeSet<_>>().into_iter().collect()
        };
        self.threads.put(name, Known { turn_count, pages });
    }

    /// About how many bytes of turns this process keeps.
    pub fn memory_bytes(&self) -> u64 {
        self.levels.memory.as_ref().map_or(0, Memory::bytes)
    }

    /// A session is gone, whoever deleted it.
    fn forget_session(&self, id: &SessionId) {
        if let Some(known) = self.threads.remove(&ThreadName::Session(id.clone())) {
            self.levels.forget(&known.pages);
        }
    }

    async fn read_thread(
        &self,
        id: &SessionId,
        range: &Range<u64>,
    ) -> Result<Reading<Option<Thread>>, StoreError> {
        let deletions = self.levels.deletions();
        let Some(LocatedThread { session, turns }) = self.inner.locate_thread(id, range.clone()).await?
        else {
            self.forget_session(id);
            return Ok(Reading::Done(None));
        };
        let turn_count = session.turn_count();
        let name = ThreadName::Session(id.clone());
        if turns.len() < self.min_turns {
            self.note(name, turn_count);
            return Ok(Reading::InOnePiece);
        }
        Ok(match self.levels.read(&*self.inner, turns, deletions).await? {
            Some((turns, pages)) => {
                self.note_pages(name, turn_count, &pages);
                Reading::Done(Some(Thread { session, turns }))
            }
            None => Reading::InOnePiece,
        })
    }
}

/// What came of reading in two parts.
enum Reading<T> {
    Done(T),
    /// It is not worth it, or something has changed between the two.
    InOnePiece,
}

fn range_len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

#[async_trait]
impl Store for CachedStore {
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError> {
        if !evict::deletes(&change) {
            return self.inner.commit(change).await;
        }
        let pages = evict::pages_at_risk(&*self.inner, &change).await?;
        let receipt = self.inner.commit(change).await?;
        // Before they are removed: whoever read them earlier and puts them later takes them back.
        self.levels.deletions.fetch_add(1, Ordering::AcqRel);
        let pages: Vec<_> = pages.into_iter().collect();
        self.levels.meters.removed.increment(u64::try_from(pages.len()).unwrap_or(u64::MAX));
        self.levels.remove(&pages).await;
        Ok(receipt)
    }

    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.inner.find_session(id).await
    }

    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError> {
        let name = ThreadName::Session(id.clone());
        if self.is_worth_it(&name, &range)
            && let Reading::Done(thread) = self.read_thread(id, &range).await?
        {
            return Ok(thread);
        }
        let thread = self.inner.load_thread(id, range).await?;
        match &thread {
            Some(thread) => self.note(name, thread.session.turn_count()),
            None => self.forget_session(id),
        }
        Ok(thread)
    }

    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
        let range = range.start..range.end.min(cut.turn_count);
        let name = ThreadName::History(cut.history);
        if self.is_worth_it(&name, &range) {
            let deletions = self.levels.deletions();
            let located = self.inner.locate_turns(cut, range.clone()).await?;
            if located.len() >= self.min_turns
                && let Some((turns, pages)) = self.levels.read(&*self.inner, located, deletions).await?
            {
                self.note_pages(name, cut.turn_count, &pages);
                return Ok(turns);
            }
        }
        let turns = self.inner.load_turns(cut, range).await?;
        self.note(name, cut.turn_count);
        Ok(turns)
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
        let page = self.inner.list_events(after, limit).await?;
        if let EventPage::Events(events) = &page {
            let deleted = events.iter().filter(|event| event.kind == EventKind::SessionDeleted);
            deleted.for_each(|event| self.forget_session(&event.session));
        }
        Ok(page)
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

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }

    async fn gauges(&self) -> Result<StoreGauges, StoreError> {
        let kib = u32::try_from(self.memory_bytes() >> 10).unwrap_or(u32::MAX);
        self.levels.meters.memory_bytes.set(f64::from(kib) * 1024.0);
        self.inner.gauges().await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
