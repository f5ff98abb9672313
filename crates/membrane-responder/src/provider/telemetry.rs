//! What is measured of models, through the `metrics` facade.
//!
//! Where the numbers go is not here.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

use super::kind::ProviderKind;

/// Answers that a model was asked for, by `provider` and `outcome`: `ok`, the code of the error, or `cancelled`.
pub const REQUESTS: &str = "membrane_model_requests_total";

/// Requests that were sent again, by `provider`.
pub const RETRIES: &str = "membrane_model_retries_total";

/// How long it took until the first piece of an answer was there, by `provider`.
pub const FIRST_PIECE_SECONDS: &str = "membrane_model_first_piece_seconds";

/// Tells the recorder what the names mean. To be called once, after it was installed.
pub fn describe() {
    describe_counter!(REQUESTS, "Answers that a model was asked for.");
    describe_counter!(RETRIES, "Requests to a model that were sent again.");
    describe_histogram!(
        FIRST_PIECE_SECONDS,
        Unit::Seconds,
        "Until the first piece of a model's answer is there."
    );
}

/// Measures one answer. Whoever drops it before the outcome is known has cancelled it.
#[derive(Debug)]
pub(super) struct Meter {
    provider: &'static str,
    start: Instant,
    has_first_piece: bool,
    is_counted: bool,
}

impl Meter {
    pub(super) fn start(kind: ProviderKind) -> Self {
        Self { provider: kind.as_str(), start: Instant::now(), has_first_piece: false, is_counted: false }
    }

    pub(super) fn piece(&mut self) {
        if !self.has_first_piece {
            self.has_first_piece = true;
            histogram!(FIRST_PIECE_SECONDS, "provider" => self.provider).record(self.start.elapsed());
        }
    }

    pub(super) fn retry(&self) {
        counter!(RETRIES, "provider" => self.provider).increment(1);
    }

    /// Counts the answer, the first time that its outcome is told.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        if !self.is_counted {
            self.is_counted = true;
            counter!(REQUESTS, "provider" => self.provider, "outcome" => outcome).increment(1);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.outcome("cancelled");
    }
}
