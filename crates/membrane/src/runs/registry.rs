//! The runs that this process drives, and for a while those that have ended, so that a reader who was cut off
//! can go on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use membrane_core::ids::SessionId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::live::{LiveRun, Stop};

/// By session: the one that is open, or the last one that ended.
#[derive(Debug)]
pub(crate) struct LiveRuns {
    runs: Mutex<Runs>,
    /// How many are open.
    n_open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Runs {
    by_session: HashMap<SessionId, Arc<LiveRun>>,
    /// In the order of their ends.
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

#[derive(Debug)]
struct Ended {
    at: Instant,
    live: Arc<LiveRun>,
    bytes: usize,
}

impl Default for LiveRuns {
    fn default() -> Self {
        Self { runs: Mutex::default(), n_open: watch::Sender::new(0) }
    }
}

impl LiveRuns {
    /// Takes in a run that has just been opened.
    pub(crate) fn open(&self, live: &Arc<LiveRun>) {
        self.runs().by_session.insert(live.run().session.clone(), Arc::clone(live));
        self.n_open.send_modify(|n_open| *n_open += 1);
    }

    /// Keeps a run that has ended, for a while and within `max_bytes`.
    pub(crate) fn close(&self, live: &Arc<LiveRun>, max_bytes: usize) {
        let bytes = live.weight();
        let mut runs = self.runs();
        runs.ended.push_back(Ended { at: Instant::now(), live: Arc::clone(live), bytes });
        runs.ended_bytes += bytes;
        while runs.ended_bytes > max_bytes && runs.forget_oldest() {}
        drop(runs);
        self.n_open.send_modify(|n_open| *n_open = n_open.saturating_sub(1));
    }

    /// Forgets runs that ended more than `keep_for` ago.
    pub(crate) fn forget_ended(&self, keep_for: Duration) {
        let mut runs = self.runs();
        while runs.ended.front().is_some_and(|oldest| oldest.at.elapsed() >= keep_for) {
            runs.forget_oldest();
        }
    }

    pub(crate) fn find(&self, session: &SessionId) -> Option<Arc<LiveRun>> {
        self.runs().by_session.get(session).cloned()
    }

    /// Forgets a session that is gone; its run stops.
    pub(crate) fn forget_session(&self, session: &SessionId) {
        let removed = self.runs().by_session.remove(session);
        if let Some(live) = removed {
            live.stop(Stop::Deleted);
        }
    }

    /// Asks all open runs to stop.
    pub(crate) fn stop_all(&self, why: Stop) {
        let open: Vec<_> =
            self.runs().by_session.values().filter(|live| !live.has_ended()).cloned().collect();
        for live in open {
            live.stop(why);
        }
    }

    /// How many runs are open.
    pub(crate) fn n_open(&self) -> usize {
        *self.n_open.borrow()
    }

    /// Returns when no run is open.
    pub(crate) async fn idle(&self) {
        // The sender lives as long as this.
        let _ = self.n_open.subscribe().wait_for(|n_open| *n_open == 0).await;
    }

    /// Held for a look-up, never across a wait; whoever panicked with it has left whole entries.
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    /// Whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.ended.pop_front() else { return false };
        self.ended_bytes = self.ended_bytes.saturating_sub(oldest.bytes);
        let session = &oldest.live.run().session;
        // A newer run of the session may have taken its place.
        if self.by_session.get(session).is_some_and(|held| Arc::ptr_eq(held, &oldest.live)) {
            self.by_session.remove(session);
        }
        true
    }
}
