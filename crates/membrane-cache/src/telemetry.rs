//! What the cache measures, through the `metrics` facade.
//!
//! Where the numbers go is not here.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

/// Pages of turns that a level had, by `level`.
pub const HITS: &str = "membrane_cache_hits_total";

/// Pages of turns that a level did not have, or not as the database does, by `level`.
pub const MISSES: &str = "membrane_cache_misses_total";

/// Bytes of turns in this process's memory.
pub const MEMORY_BYTES: &str = "membrane_cache_memory_bytes";

/// Pages that left memory for want of room, or because their time was up.
pub const EVICTED: &str = "membrane_cache_evicted_total";

/// Pages that were removed because turns were deleted.
pub const REMOVED: &str = "membrane_cache_removed_total";

/// Times that the shared cache did not do what it was asked, by `kind`: timeout or error.
pub const SHARED_FAILURES: &str = "membrane_cache_shared_failures_total";

/// Whether the shared cache is being asked: 0 while it is left alone.
pub const SHARED_UP: &str = "membrane_cache_shared_up";

/// Tells the recorder what the names mean. To be called once, after it was installed.
pub fn describe() {
    describe_counter!(HITS, "Pages of turns that a level of the cache had.");
    describe_counter!(MISSES, "Pages of turns that a level of the cache did not have.");
    describe_gauge!(MEMORY_BYTES, Unit::Bytes, "Turns that this process keeps in memory.");
    describe_counter!(EVICTED, "Pages that left memory for want of room, or because their time was up.");
    describe_counter!(REMOVED, "Pages that were removed because turns were deleted.");
    describe_counter!(SHARED_FAILURES, "Times that the shared cache did not do what it was asked.");
    describe_gauge!(SHARED_UP, "Whether the shared cache is being asked.");
}

/// A cache's way to the recorder that is installed when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    pub(crate) memory: Level,
    pub(crate) shared: Level,
    pub(crate) memory_bytes: Gauge,
    pub(crate) evicted: Counter,
    pub(crate) removed: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) errors: Counter,
    pub(crate) shared_up: Gauge,
}

/// What one level had and had not.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
}

impl Meters {
    /// Looked up here, once, and not at each use.
    pub(crate) fn new() -> Self {
        let level = |name: &'static str| Level {
            hits: counter!(HITS, "level" => name),
            misses: counter!(MISSES, "level" => name),
        };
        Self {
            memory: level("memory"),
            shared: level("shared"),
            memory_bytes: gauge!(MEMORY_BYTES),
            evicted: counter!(EVICTED),
            removed: counter!(REMOVED),
            timeouts: counter!(SHARED_FAILURES, "kind" => "timeout"),
            errors: counter!(SHARED_FAILURES, "kind" => "error"),
            shared_up: gauge!(SHARED_UP),
        }
    }
}
