//! When not to ask a server that does not answer: after a few failures in a row it is left alone for a while, and then
//! asked by one, until that goes well.
//!
//! What is asked is not here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many failures in a row, and it is left alone.
const MAX_FAILURES: u32 = 3;

/// Whether a server is to be asked.
#[derive(Debug)]
pub(crate) struct Breaker {
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when it is left alone.
    closed_until: Option<Instant>,
}

/// What a failure or a success changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is left alone from now on.
    Gone,
    /// It is asked again.
    Back,
    /// Nothing.
    None,
}

impl Breaker {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, state: Mutex::default() }
    }

    /// Whether to ask now. Once a pause is over, one is let through, and the others only after another pause, unless it
    /// goes well.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.closed_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.closed_until = Some(now + self.pause);
                true
            }
        }
    }

    pub(crate) fn went_well(&self) -> News {
        let mut state = self.state();
        state.failures = 0;
        if state.closed_until.take().is_some() { News::Back } else { News::None }
    }

    pub(crate) fn failed(&self, now: Instant) -> News {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures < MAX_FAILURES {
            return News::None;
        }
        let was_open = state.closed_until.replace(now + self.pause).is_none();
        if was_open { News::Gone } else { News::None }
    }

    /// Held for a moment; a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);

    #[test]
    fn a_server_that_fails_is_left_alone_then_asked_by_one_and_each_change_is_told_once() {
        let (breaker, start) = (Breaker::new(PAUSE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!([breaker.failed(at(0)), breaker.failed(at(0))], [News::None, News::None]);
        assert!(breaker.lets_through(at(0)));
        assert_eq!(breaker.failed(at(0)), News::Gone);
        assert_eq!(breaker.failed(at(0)), News::None, "one that was under way");
        assert!(!breaker.lets_through(at(1)));
        assert!(breaker.lets_through(at(3)));
        assert!(!breaker.lets_through(at(3)), "only one finds out");
        assert_eq!(breaker.failed(at(4)), News::None);
        assert!(!breaker.lets_through(at(5)));
        assert!(breaker.lets_through(at(6)));
        assert_eq!(breaker.went_well(), News::Back);
        assert!(breaker.lets_through(at(6)) && breaker.lets_through(at(6)));
        assert_eq!(breaker.went_well(), News::None);
    }

    #[test]
    fn failures_that_are_not_in_a_row_do_not_count() {
        let (breaker, now) = (Breaker::new(PAUSE), Instant::now());
        for _ in 0..5 {
            assert_eq!([breaker.failed(now), breaker.failed(now)], [News::None, News::None]);
            assert_eq!(breaker.went_well(), News::None);
        }
        assert!(breaker.lets_through(now));
    }

    #[test]
    fn one_who_went_to_ask_and_never_came_back_does_not_stop_the_others_for_ever() {
        let (breaker, start) = (Breaker::new(PAUSE), Instant::now());
        let news = [(); 3].map(|()| breaker.failed(start));
        assert_eq!(news[2], News::Gone);
        assert!(breaker.lets_through(start + PAUSE));
        assert!(breaker.lets_through(start + 2 * PAUSE));
    }
}
