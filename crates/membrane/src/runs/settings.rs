//! How runs are driven.

use std::time::Duration;

/// How runs are driven. The defaults suit a server whose model answers within minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSettings {
    /// How long a run belongs to its process after the last sign of life; 30 s by default.
    pub lease_for: Duration,
    /// How often a sign of life is given; 10 s by default, and to be less than `lease_for`.
    pub renew_every: Duration,
    /// How often what has arrived goes to the run's log; 200 ms by default. A crash loses at most so much of
    /// an answer that is on its way, and nothing of what the user said.
    pub flush_every: Duration,
    /// How long an ended run can be attached to again; 60 s by default.
    pub keep_ended_for: Duration,
    /// How many bytes of ended runs are kept for that; 16 MiB by default. The oldest go first.
    pub keep_ended_bytes: usize,
    /// How long a finished answer is offered to a store that cannot take it (a full disk, for one) before it is
    /// given up; 10 minutes by default.
    pub offer_for: Duration,
    /// How much of a conversation a model is shown, in estimated tokens; 160,000 by default, four fifths of a window of
    /// 200,000. The newest turns are, as many as fit.
    pub context_tokens: u64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            lease_for: Duration::from_secs(30),
            renew_every: Duration::from_secs(10),
            flush_every: Duration::from_millis(200),
            keep_ended_for: Duration::from_secs(60),
            keep_ended_bytes: 16 * 1024 * 1024,
            offer_for: Duration::from_secs(600),
            context_tokens: 160_000,
        }
    }
}
