//! The runs that this process drives, and for a while those that have ended, so that a reader who was cut off
//! can go on. What becomes of them in the store is not known here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use membrane_core::ids::{RunId, SessionId, TurnId};
use membrane_core::run::Run;
use tokio::sync::watch;
use tokio::time::Instant;

use super::live::{LiveRun, Stop};
use super::settings::RunSettings;

/// By session: the one that is open, or the last one that ended.
#[derive(Debug)]
pub(crate) struct LiveRuns {
    /// What the times of flushes are counted from.
    began: Instant,
    runs: Mutex<Runs>,
    /// How many are open or about to be. Set without the lock, which those who wait for it may take.
    n_open: watch::Sender<usize>,
    /// Tells that no more are taken in.
    is_closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Runs {
    /// No more are taken in.
    is_closed: bool,
    /// All are to stop, those too that are still to be opened.
    stop: Option<Stop>,
    /// The turns of runs that are about to be opened.
    beginning: HashSet<TurnId>,
    /// Those that are driven, their session deleted or not.
    open: HashMap<RunId, Arc<LiveRun>>,
    /// Those that other processes drive and that readers here follow, as long as these hold them.
    followed: HashMap<RunId, Weak<LiveRun>>,
    /// Whether somebody looks if others want a run to stop.
    is_watched: bool,
    by_session: HashMap<SessionId, Arc<LiveRun>>,
    /// In the order of their ends.
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

/// Somebody's right to look if others want a run to stop.
#[derive(Debug)]
pub(crate) struct Watch;

#[derive(Debug)]
struct Ended {
    at: Instant,
    live: Arc<LiveRun>,
    bytes: usize,
}

impl Default for LiveRuns {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            runs: Mutex::default(),
            n_open: watch::Sender::new(0),
            is_closed: watch::Sender::new(false),
        }
    }
}

/// A run that is about to be opened: between the first look at whether it may be and its entry. It counts as
/// open; dropping it without opening gives it up.
pub(crate) struct Beginning<'a> {
    runs: &'a LiveRuns,
    turn: TurnId,
}

impl Beginning<'_> {
    /// Takes in the run, which the store has just opened.
    pub(crate) fn open(self, live: &Arc<LiveRun>) {
        let mut runs = self.runs.runs();
        runs.beginning.remove(&self.turn);
        // One that waited may still be putting its things away.
        let before = runs.open.insert(live.run().id.clone(), Arc::clone(live));
        runs.by_session.insert(live.run().session.clone(), Arc::clone(live));
        let stop = runs.stop;
        drop(runs);
        if let Some(why) = stop {
            live.stop(why);
        }
        let n_more = usize::from(before.is_none());
        self.runs.n_open.send_modify(|n_open| *n_open += n_more);
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.runs.runs().beginning.remove(&self.turn);
        self.runs.n_open.send_modify(|n_open| *n_open = n_open.saturating_sub(1));
    }
}

impl LiveRuns {
    /// Since when runs may be here.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Announces a run that is to become this turn; `None` when no more are taken in.
    pub(crate) fn begin(&self, turn: &TurnId) -> Option<Beginning<'_>> {
        // Counted before the look: whoever closes the door and then counts misses nobody who went through.
        self.n_open.send_modify(|n_open| *n_open += 1);
        let beginning = Beginning { runs: self, turn: turn.clone() };
        let mut runs = self.runs();
        let is_closed = runs.is_closed;
        if !is_closed {
            runs.beginning.insert(turn.clone());
        }
        drop(runs);
        (!is_closed).then_some(beginning)
    }

    /// Returns when the run that is to become this turn is open, or was given up, or is not this process's.
    pub(crate) async fn has_begun(&self, turn: &TurnId) {
        let has_begun = |_: &usize| !self.runs().beginning.contains(turn);
        // The sender lives as long as this.
        let _ = self.n_open.subscribe().wait_for(has_begun).await;
    }

    /// Keeps a run that has ended, for a while and within bounds.
    pub(crate) fn close(&self, live: &Arc<LiveRun>, settings: &RunSettings) {
        let bytes = live.weight();
        let mut runs = self.runs();
        // One that goes on after it waited has taken its place.
        let was_open = runs.open.get(&live.run().id).is_some_and(|open| Arc::ptr_eq(open, live));
        if was_open {
            runs.open.remove(&live.run().id);
        }
        runs.ended.push_back(Ended { at: Instant::now(), live: Arc::clone(live), bytes });
        runs.ended_bytes += bytes;
        while runs.ended_bytes > settings.keep_ended_bytes && runs.forget_oldest() {}
        runs.forget_ended(settings.keep_ended_for);
        drop(runs);
        self.n_open.send_modify(|n_open| *n_open = n_open.saturating_sub(was_open.into()));
    }

    /// Forgets runs that ended more than `keep_for` ago.
    pub(crate) fn forget_ended(&self, keep_for: Duration) {
        self.runs().forget_ended(keep_for);
    }

    /// The session's run that is open, or the last one that ended.
    pub(crate) fn find(&self, session: &SessionId) -> Option<Arc<LiveRun>> {
        self.runs().by_session.get(session).cloned()
    }

    /// The session's run that is driven here.
    pub(crate) fn find_open(&self, session: &SessionId) -> Option<Arc<LiveRun>> {
        let runs = self.runs();
        let is_open = |live: &&Arc<LiveRun>| runs.open.contains_key(&live.run().id) && !live.is_waiting();
        runs.by_session.get(session).filter(is_open).cloned()
    }

    /// A run that another process drives, and whether it was not followed before.
    pub(crate) fn follow(&self, run: &Run, turn_number: u64) -> (Arc<LiveRun>, bool) {
        let mut runs = self.runs();
        if let Some(live) = runs.followed.get(&run.id).and_then(Weak::upgrade)
            && live.outcome().is_none()
        {
            return (live, false);
        }
        runs.followed.retain(|_, live| live.strong_count() > 0);
        let live = Arc::new(LiveRun::followed(run.clone(), turn_number));
        runs.followed.insert(run.id.clone(), Arc::downgrade(&live));
        (live, true)
    }

    /// Asks a run to stop that is driven here.
    pub(crate) fn stop(&self, run: &RunId, why: Stop) {
        let live = self.runs().open.get(run).cloned();
        if let Some(live) = live {
            live.stop(why);
        }
    }

    /// The right to look for others if they want a run to stop; `None` if somebody has it.
    pub(crate) fn begin_watch(&self) -> Option<Watch> {
        let mut runs = self.runs();
        (!std::mem::replace(&mut runs.is_watched, true)).then_some(Watch)
    }

    /// Whether it is still needed; if not, the next run that is opened begins anew.
    pub(crate) fn goes_on(&self, _: &Watch) -> bool {
        let mut runs = self.runs();
        runs.is_watched = !runs.open.is_empty() || !runs.beginning.is_empty();
        runs.is_watched
    }

    /// Whether a run is driven here.
    pub(crate) fn is_open(&self, run: &RunId) -> bool {
        self.runs().open.get(run).is_some_and(|live| !live.is_waiting())
    }

    /// Forgets how a session's last turn came: the session may not hold it any more.
    pub(crate) fn forget_ended_of(&self, session: &SessionId) {
        let mut runs = self.runs();
        let is_open = |live: &Arc<LiveRun>| runs.open.contains_key(&live.run().id);
        if runs.by_session.get(session).is_some_and(|live| !is_open(live)) {
            runs.by_session.remove(session);
        }
    }

    /// Forgets a session that is gone; its run stops.
    pub(crate) fn forget_session(&self, session: &SessionId) {
        let removed = self.runs().by_session.remove(session);
        if let Some(live) = removed {
            live.stop(Stop::Deleted);
        }
    }

    /// Takes no more runs in. Those that are about to be opened are counted among the open ones.
    pub(crate) fn refuse_more(&self) {
        self.runs().is_closed = true;
        self.is_closed.send_replace(true);
    }

    /// Returns when no more are taken in.
    pub(crate) async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.is_closed.subscribe().wait_for(|is_closed| *is_closed).await;
    }

    /// Whether no more are taken in.
    pub(crate) fn is_closed(&self) -> bool {
        self.runs().is_closed
    }

    /// Asks all open runs to stop, and those that are about to be opened.
    pub(crate) fn stop_all(&self, why: Stop) {
        let mut runs = self.runs();
        runs.stop = Some(why);
        let open: Vec<_> = runs.open.values().cloned().collect();
        drop(runs);
        for live in open {
            live.stop(why);
        }
    }

    /// How many runs are open or about to be.
    pub(crate) fn n_open(&self) -> usize {
        *self.n_open.borrow()
    }

    /// Returns when no run is open or about to be.
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
    fn forget_ended(&mut self, keep_for: Duration) {
        while self.ended.front().is_some_and(|oldest| oldest.at.elapsed() >= keep_for) {
            self.forget_oldest();
        }
    }

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
