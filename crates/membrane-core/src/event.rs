//! Events: that something about a session has changed. They tell where to look, not what is there now.
//!
//! Which change makes which events is the store's contract (`membrane-store`).

use crate::ids::SessionId;
use crate::time::Timestamp;
use crate::words::words;

words!(
    /// What happened to a session.
    EventKind, "event kind",
    "session.created, session.updated, session.deleted, turn.added, turn.updated, checkpoint.created, \
     checkpoint.deleted, crystal.saved, run.started, run.waiting, run.resumed, run.ended", {
        /// It is there now: a new one, a fork, a merge, an import.
        SessionCreated = "session.created",
        /// Its names or flags changed, it went into a merge, or it was moved to another place of its history
        /// (rewind, restore), which may leave an automatic checkpoint.
        SessionUpdated = "session.updated",
        /// It is gone, with its checkpoints, its crystal and its run.
        SessionDeleted = "session.deleted",
        /// It got turns at its end.
        TurnAdded = "turn.added",
        /// A turn that it holds got a signal.
        TurnUpdated = "turn.updated",
        /// It got a named checkpoint.
        CheckpointCreated = "checkpoint.created",
        /// One of its checkpoints was deleted.
        CheckpointDeleted = "checkpoint.deleted",
        /// Its crystal was written or replaced.
        CrystalSaved = "crystal.saved",
        /// A turn of it is under way.
        RunStarted = "run.started",
        /// The turn that is under way waits for a tool.
        RunWaiting = "run.waiting",
        /// The turn that waited goes on.
        RunResumed = "run.resumed",
        /// The turn that was under way has ended; `turn.added` goes before it.
        RunEnded = "run.ended",
    }
);

/// An event's number, given by the store in the order of commits; and, as the last one that was seen, a place
/// to go on from. Numbers grow, not always by one, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventSeq(pub u64);

impl EventSeq {
    /// How many numbers there are for each second since 1970: more than there can be events, and few enough for the
    /// numbers to be exact in JavaScript until 2242.
    pub const PER_SECOND: u64 = 1 << 20;

    /// Where a store that is made at this time begins to count. It lies above all numbers of stores that were made
    /// before, so that a place in one is never taken for a place in another.
    pub fn base(now: Timestamp) -> Self {
        Self(u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0).saturating_mul(Self::PER_SECOND))
    }
}

/// That something about a session has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub seq: EventSeq,
    /// What happened.
    pub kind: EventKind,
    /// The session.
    pub session: SessionId,
    /// The session's version after the change; of a deleted one, the last that it had.
    pub version: u64,
    /// When the change was made, by the clock of whoever made it. Says nothing of the order.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_made_later_begins_above_what_an_earlier_one_can_have_reached() {
        let at = |seconds: i64| EventSeq::base(Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!(at(-5), EventSeq(0));
        assert_eq!(at(1_800_000_001).0 - at(1_800_000_000).0, EventSeq::PER_SECOND);
        assert!(at(8_500_000_000).0 < 1 << 53, "exact as a number of JavaScript's");
    }
}
