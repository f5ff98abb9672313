//! The pages that this process keeps, and the threads that it has read.

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::{HistoryId, SessionId};
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::page::{Page, PageKey};
use crate::telemetry::Meters;

/// What is remembered of threads, in bytes at most.
const KNOWN_BYTES: u64 = 4 << 20;

/// What a page takes beside its turns.
const PAGE_OVERHEAD: usize = 200;

/// Pages in memory, bounded by bytes and by time.
#[derive(Debug)]
pub(crate) struct Memory(Cache<PageKey, Arc<Page>>);

impl Memory {
    pub(crate) fn new(max_bytes: u64, lifetime: Duration, meters: &Meters) -> Self {
        let evicted = meters.evicted.clone();
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, page: &Arc<Page>| u32::try_from(page.bytes() + PAGE_OVERHEAD).unwrap_or(u32::MAX))
            .time_to_live(lifetime)
            .eviction_listener(move |_, _, cause| {
                if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                    evicted.increment(1);
                }
            })
            .build();
        Self(cache)
    }

    pub(crate) fn get(&self, key: PageKey) -> Option<Arc<Page>> {
        self.0.get(&key)
    }

    pub(crate) fn put(&self, key: PageKey, page: Arc<Page>) {
        self.0.insert(key, page);
    }

    pub(crate) fn remove(&self, key: PageKey) {
        self.0.invalidate(&key);
    }

    /// How many bytes are kept, once what is due has gone.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

/// A thread, by what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ThreadName {
    Session(SessionId),
    History(HistoryId),
}

/// What is remembered of a thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// How many turns it had.
    pub(crate) turn_count: u64,
    /// The pages that were read of it.
    pub(crate) pages: Arc<[PageKey]>,
}

/// The threads that were read of late.
#[derive(Debug)]
pub(crate) struct Threads(Cache<ThreadName, Known>);

impl Threads {
    pub(crate) fn new(lifetime: Duration) -> Self {
        let weigh = |name: &ThreadName, known: &Known| {
            let name = match name {
                ThreadName::Session(id) => id.as_str().len(),
                ThreadName::History(_) => 0,
            };
            u32::try_from(name + size_of_val(&*known.pages) + PAGE_OVERHEAD).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(KNOWN_BYTES).weigher(weigh).time_to_idle(lifetime);
        Self(cache.build())
    }

    pub(crate) fn get(&self, name: &ThreadName) -> Option<Known> {
        self.0.get(name)
    }

    pub(crate) fn put(&self, name: ThreadName, known: Known) {
        self.0.insert(name, known);
    }

    /// Forgets a thread, and gives what was known of it.
    pub(crate) fn remove(&self, name: &ThreadName) -> Option<Known> {
        self.0.remove(name)
    }
}
