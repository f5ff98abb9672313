//! Measuring: samples, percentiles, and turns of the size that chats have.

use std::time::{Duration, Instant};

use membrane::core::time::{Clock, SystemClock};

/// The present as text, as a chat store writes it down.
pub(crate) fn now_text() -> String {
    SystemClock.now().to_string()
}

/// What a user says in the benchmark: 200 bytes.
pub(crate) fn user_text() -> String {
    "How do I keep a talk".repeat(10)
}

/// What the assistant answers: 1,200 bytes.
pub(crate) fn reply_text() -> String {
    "A turn is never changed once it is kept.".repeat(30)
}

/// Times of single operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    times: Vec<Duration>,
}

impl Samples {
    /// Times one operation.
    pub(crate) async fn time<T>(&mut self, operation: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let value = operation.await;
        self.times.push(start.elapsed());
        value
    }

    /// Times one operation that blocks.
    pub(crate) fn time_blocking<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = operation();
        self.times.push(start.elapsed());
        value
    }

    /// Takes in a time that was measured otherwise.
    pub(crate) fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Takes in the samples of another task.
    pub(crate) fn extend(&mut self, other: Self) {
        self.times.extend(other.times);
    }

    /// The time that a share of the operations stays below, in milliseconds.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a small count"
        )]
        let index = ((times.len() as f64 - 1.0) * share).round() as usize;
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// The median in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.percentile_ms(0.5)
    }

    fn p99_ms(&self) -> f64 {
        self.percentile_ms(0.99)
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.3} ms, p99 {:.3} ms", self.p50_ms(), self.p99_ms())
    }
}

/// The middle of a few figures.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Operations per second.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
