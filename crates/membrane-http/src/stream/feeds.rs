//! The feeds of events that are open in this server, and how far each has come: what `/metrics` tells of their lag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use membrane::core::event::EventSeq;

/// All of them. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feeds {
    shared: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    places: BTreeMap<u64, Arc<AtomicU64>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Feed {
    feeds: Feeds,
    number: u64,
    place: Arc<AtomicU64>,
}

impl Feeds {
    /// Takes a feed in that begins after this event.
    pub(crate) fn open(&self, place: EventSeq) -> Feed {
        let place = Arc::new(AtomicU64::new(place.0));
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.places.insert(number, Arc::clone(&place));
        drop(open);
        Feed { feeds: self.clone(), number, place }
    }

    /// How many events the one that is furthest behind has not been given; none if there is no feed.
    pub(crate) fn lag(&self, newest: EventSeq) -> u64 {
        let open = self.lock();
        let slowest = open.places.values().map(|place| place.load(Ordering::Relaxed)).min();
        slowest.map_or(0, |place| newest.0.saturating_sub(place))
    }

    /// Held for a look or an insertion.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Notes that it was given all up to this event.
    pub(crate) fn reach(&self, place: EventSeq) {
        self.place.store(place.0, Ordering::Relaxed);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.feeds.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_slowest_feed_that_is_open() {
        let feeds = Feeds::default();
        assert_eq!(feeds.lag(EventSeq(9)), 0);
        let (slow, quick) = (feeds.open(EventSeq(2)), feeds.open(EventSeq(2)));
        quick.reach(EventSeq(8));
        assert_eq!(feeds.lag(EventSeq(9)), 7);
        slow.reach(EventSeq(5));
        assert_eq!(feeds.lag(EventSeq(9)), 4);
        drop(slow);
        assert_eq!(feeds.lag(EventSeq(9)), 1);
        // A place that makes no sense is about to be given up.
        let odd = feeds.open(EventSeq(u64::MAX));
        drop(quick);
        assert_eq!(feeds.lag(EventSeq(9)), 0);
        drop(odd);
    }
}
