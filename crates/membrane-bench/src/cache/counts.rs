//! How many pages each level of a cache had and had not, as the cache itself counts them.
//!
//! All caches of the run count into the same numbers: what one of them did is what they grew by while it alone was used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use membrane_cache::telemetry::{HITS, MISSES};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::Failure;

/// The numbers, as they grow.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    memory: Arc<Level>,
    shared: Arc<Level>,
}

#[derive(Debug, Default)]
struct Level {
    hits: Arc<AtomicU64>,
    misses: Arc<AtomicU64>,
}

/// The numbers at one time, or what they grew by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) memory: Pages,
    pub(super) shared: Pages,
}

/// Pages that a level had, and had not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pages {
    hits: u64,
    misses: u64,
}

impl Counts {
    /// Has the caches that are made from now on count here.
    pub(super) fn install() -> Result<Self, Failure> {
        let counts = Self::default();
        metrics::set_global_recorder(counts.clone())?;
        Ok(counts)
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { memory: self.memory.pages(), shared: self.shared.pages() }
    }
}

impl Level {
    fn pages(&self) -> Pages {
        Pages { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}

impl Seen {
    /// Adds what the numbers grew by between two times.
    pub(super) fn add(&mut self, before: Self, after: Self) {
        self.memory.add(before.memory, after.memory);
        self.shared.add(before.shared, after.shared);
    }
}

impl Pages {
    fn add(&mut self, before: Self, after: Self) {
        self.hits += after.hits - before.hits;
        self.misses += after.misses - before.misses;
    }

    /// The share of hits, if the level was asked at all.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    pub(super) fn hit_rate(self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let level = key.labels().find(|label| label.key() == "level").map(metrics::Label::value);
        let level = match level {
            Some("memory") => &self.memory,
            Some("shared") => &self.shared,
            _ => return Counter::noop(),
        };
        match key.name() {
            HITS => Counter::from_arc(Arc::clone(&level.hits)),
            MISSES => Counter::from_arc(Arc::clone(&level.misses)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
