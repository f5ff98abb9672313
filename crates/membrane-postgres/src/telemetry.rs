//! What the backend measures, through the `metrics` facade: without a recorder it costs next to nothing.
//!
//! Where the numbers go is not here. How much there is, what waits and how many connections there are is asked for
//! instead, with [`gauges`](membrane_store::Store::gauges).

use std::time::Instant;

use metrics::{Histogram, Unit, describe_histogram, histogram};

/// Changes per committed transaction or statement, those included that were refused in it.
pub const WRITER_BATCH_SIZE: &str = "membrane_writer_batch_size";

/// Seconds from asking for a change to its answer, a refusal included.
pub const SAVE_DURATION_SECONDS: &str = "membrane_save_duration_seconds";

/// Seconds from asking for turns to having them, with or without their session.
pub const LOAD_DURATION_SECONDS: &str = "membrane_load_duration_seconds";

/// Seconds from asking for a connection to having one.
pub const CONNECTION_WAIT_SECONDS: &str = "membrane_database_connection_wait_seconds";

/// Tells the recorder what the names mean. To be called once, after it was installed.
pub fn describe() {
    describe_histogram!(WRITER_BATCH_SIZE, Unit::Count, "Changes per committed transaction.");
    describe_histogram!(SAVE_DURATION_SECONDS, Unit::Seconds, "From asking for a change to its answer.");
    describe_histogram!(LOAD_DURATION_SECONDS, Unit::Seconds, "From asking for turns to having them.");
    describe_histogram!(
        CONNECTION_WAIT_SECONDS,
        Unit::Seconds,
        "From asking for a connection to the database server to having one."
    );
}

/// One store's way to the recorder that is installed when it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    batch: Histogram,
    save: Histogram,
    load: Histogram,
}

impl Meters {
    /// Looked up here, once, and not at each use.
    pub(crate) fn new() -> Self {
        Self {
            batch: histogram!(WRITER_BATCH_SIZE),
            save: histogram!(SAVE_DURATION_SECONDS),
            load: histogram!(LOAD_DURATION_SECONDS),
        }
    }

    /// A transaction or statement of so many changes was committed.
    pub(crate) fn note_batch(&self, n_changes: usize) {
        self.batch.record(u32::try_from(n_changes).unwrap_or(u32::MAX));
    }

    /// Measures a change until its answer; one that is given up leaves no trace.
    pub(crate) async fn save<T>(&self, work: impl Future<Output = T>) -> T {
        timed(&self.save, work).await
    }

    /// Measures the loading of turns.
    pub(crate) async fn load<T>(&self, work: impl Future<Output = T>) -> T {
        timed(&self.load, work).await
    }
}

async fn timed<T>(histogram: &Histogram, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    histogram.record(begun.elapsed());
    done
}
