//! How many sessions and turns a change added or removed.

use std::ops::AddAssign;

/// Rows that were added, less those that were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: i64,
    pub(crate) turns: i64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.sessions += more.sessions;
        self.turns += more.turns;
    }
}
