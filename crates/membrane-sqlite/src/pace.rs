//! How long something takes on the average of the last few times: whether it is short enough to be done on a
//! caller's own thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Over how many times the average reaches back.
const AVERAGE_OVER: u32 = 8;

/// A moving average. Threads may note at the same moment; a note that is lost so matters to nobody.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    micros: AtomicU32,
}

impl Pace {
    /// Takes one more time into the average.
    pub(crate) fn note(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let before = self.micros.load(Ordering::Relaxed);
        let after = before - before / AVERAGE_OVER + took / AVERAGE_OVER;
        self.micros.store(after, Ordering::Relaxed);
    }

    /// Whether it takes at most `limit` on the average.
    pub(crate) fn is_within(&self, limit: Duration) -> bool {
        Duration::from_micros(self.micros.load(Ordering::Relaxed).into()) <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_and_comes_back() {
        let pace = Pace::default();
        let limit = Duration::from_millis(1);
        assert!(pace.is_within(limit));
        pace.note(Duration::MAX);
        assert!(!pace.is_within(limit));
        for _ in 0..200 {
            pace.note(Duration::from_micros(100));
        }
        assert!(pace.is_within(limit));
    }
}
