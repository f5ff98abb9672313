//! Evidence: how sure a session is that its goal is reached. Derived, never stored as truth.
//!
//! A Beta distribution with prior Beta(1,1). Each complete turn is exactly one observation: a failure
//! if one of its tools failed or its latest signal is `negative` or `correction`, else a success.
//! Evidence is a function of sets (of turns, of legacy observation sets), so joining is idempotent,
//! commutative and associative, and a rewind takes its evidence back.

use statrs::distribution::{Beta, ContinuousCDF};

use crate::ids::SessionId;
use crate::turn::{SignalKind, Totals};

/// Both parameters of the prior: Beta(1,1), the uniform distribution.
pub const PRIOR: f64 = 1.0;

/// A session is done when this sure that it succeeds more often than not.
pub const STOP_PROBABILITY: f64 = 0.95;

/// Below this many turns no session is done.
pub const MIN_TURNS_BEFORE_STOP: u64 = 3;

/// What an old file knew of a session without knowing of which turn: its total less Beta(1,1).
#[derive(Debug, Clone, PartialEq)]
pub struct LegacySet {
    /// The old session, which names the set: two histories that hold it hold the same observations.
    pub origin: SessionId,
    /// Successes, at least 0.
    pub alpha: f64,
    /// Failures, at least 0.
    pub beta: f64,
}

impl LegacySet {
    /// The set for an old total Beta(alpha, beta), without per-turn deltas.
    pub fn from_total(origin: SessionId, alpha: f64, beta: f64) -> Self {
        let less_prior = |value: f64| if value.is_finite() { (value - PRIOR).max(0.0) } else { 0.0 };
        Self { origin, alpha: less_prior(alpha), beta: less_prior(beta) }
    }
}

/// The union of legacy sets by origin, ordered by origin.
pub fn unite_legacy(left: &[LegacySet], right: &[LegacySet]) -> Vec<LegacySet> {
    let mut union = left.to_vec();
    for set in right {
        if !union.iter().any(|held| held.origin == set.origin) {
            union.push(set.clone());
        }
    }
    union.sort_by(|a, b| a.origin.cmp(&b.origin));
    union
}

/// What a history's legacy sets add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegacyTotals {
    /// Successes.
    pub alpha: f64,
    /// Failures.
    pub beta: f64,
}

impl LegacyTotals {
    /// Adds the sets up in their stored order, which is by origin, so that equal sets give equal sums.
    pub fn of(sets: &[LegacySet]) -> Self {
        sets.iter().fold(Self::default(), |sum, set| Self {
            alpha: sum.alpha + set.alpha,
            beta: sum.beta + set.beta,
        })
    }
}

/// What a session's thread adds up to at one cut of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// The totals of its turns, signals aside.
    pub totals: Totals,
    /// How many successes among them count as failures because of a signal.
    pub flipped: i64,
    /// The legacy observations of its history.
    pub legacy: LegacyTotals,
}

impl Standing {
    /// The evidence there.
    pub fn evidence(&self) -> Evidence {
        Evidence::derive(self.totals, self.flipped, self.legacy)
    }
}

/// Whether a turn that observed a success counts as a failure because of its latest signal.
pub fn is_flipped(observes_success: Option<bool>, latest: Option<SignalKind>) -> bool {
    observes_success == Some(true) && latest.is_some_and(SignalKind::is_against)
}

/// The evidence at one cut of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Successes plus the prior.
    pub alpha: f64,
    /// Failures plus the prior.
    pub beta: f64,
    /// Complete turns in which no tool failed, signals aside.
    pub tools_succeeded: i64,
    /// Complete turns in which a tool failed.
    pub tools_failed: i64,
}

impl Evidence {
    /// Before anything was observed.
    pub const NONE: Self = Self { alpha: PRIOR, beta: PRIOR, tools_succeeded: 0, tools_failed: 0 };

    /// From the totals at a cut, the number of successes among them that signals turned, and the legacy.
    pub fn derive(totals: Totals, flipped: i64, legacy: LegacyTotals) -> Self {
        Self {
            alpha: PRIOR + legacy.alpha + as_f64(totals.succeeded - flipped),
            beta: PRIOR + legacy.beta + as_f64(totals.failed + flipped),
            tools_succeeded: totals.succeeded,
            tools_failed: totals.failed,
        }
    }

    /// The mean, `alpha / (alpha + beta)`.
    pub fn confidence(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// P(theta > x) by the Beta distribution function; 1 for x <= 0 and 0 for x >= 1.
    ///
    /// Holds to 4e-11 for parameters up to 10^4 and to 4e-7 up to 10^5, by the reference values in
    /// `tests/data/beta_reference.csv`; the worst of them lie where both parameters are equal.
    pub fn probability_above(&self, x: f64) -> f64 {
        // Parameters are at least the prior, so this cannot fail; were they not, nothing is known.
        Beta::new(self.alpha, self.beta).map_or(0.0, |beta| beta.sf(x))
    }

    /// Whether the session may stop: at least [`MIN_TURNS_BEFORE_STOP`] turns, and P(theta > 0.5) at
    /// least [`STOP_PROBABILITY`].
    pub fn should_stop(&self, turn_count: u64) -> bool {
        // Every append asks. Two bounds answer most of the time: by symmetry P(theta > 1/2) is at most 1/2
        // unless alpha > beta, and by Cantelli's inequality P(theta <= 1/2) is at most v / (v + d^2), with v
        // the variance and d the distance of the mean from 1/2.
        if turn_count < MIN_TURNS_BEFORE_STOP || self.alpha <= self.beta {
            return false;
        }
        let (mean, total) = (self.confidence(), self.alpha + self.beta);
        let variance = mean * (1.0 - mean) / (total + 1.0);
        let distance = mean - 0.5;
        variance / (variance + distance * distance) <= 1.0 - STOP_PROBABILITY
            || self.probability_above(0.5) >= STOP_PROBABILITY
    }

    /// Whether both distributions are the same.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        (self.alpha - other.alpha).abs() < 1e-6 && (self.beta - other.beta).abs() < 1e-6
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of turns stay far below 2^52")]
fn as_f64(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(succeeded: i64, failed: i64, flipped: i64) -> Evidence {
        Evidence::derive(Totals { succeeded, failed, ..Totals::ZERO }, flipped, LegacyTotals::default())
    }

    #[test]
    fn one_success_gives_two_thirds() {
        assert!((after(1, 0, 0).confidence() - 2.0 / 3.0).abs() < 1e-15);
        assert!((Evidence::NONE.confidence() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn a_signal_against_moves_one_observation_over() {
        assert!(after(3, 1, 1).is_equivalent(&after(2, 2, 0)));
        assert!(is_flipped(Some(true), Some(SignalKind::Correction)));
        assert!(!is_flipped(Some(false), Some(SignalKind::Negative)));
        assert!(!is_flipped(None, Some(SignalKind::Negative)));
        assert!(!is_flipped(Some(true), Some(SignalKind::Positive)));
    }

    #[test]
    fn four_plain_successes_are_needed_to_stop_and_two_are_not_enough() {
        // P(theta > 0.5) for Beta(n+1, 1) is 1 - 0.5^(n+1).
        assert!(!after(2, 0, 0).should_stop(2));
        assert!(!after(3, 0, 0).should_stop(3));
        assert!(after(4, 0, 0).should_stop(4));
        assert!(!after(4, 0, 0).should_stop(2), "too few turns in the session");
    }

    #[test]
    fn the_bounds_answer_as_the_distribution_does() {
        for succeeded in 0..60 {
            for failed in 0..60 {
                let evidence = after(succeeded, failed, 0);
                let is_sure = evidence.probability_above(0.5) >= STOP_PROBABILITY;
                assert_eq!(evidence.should_stop(3), is_sure, "{succeeded} and {failed}");
            }
        }
    }

    #[test]
    fn an_old_total_less_the_prior_is_never_negative() {
        let set = LegacySet::from_total(SessionId::from_stored("s"), 0.25, f64::NAN);
        assert!(set.alpha.abs() < 1e-15 && set.beta.abs() < 1e-15);
    }

    #[test]
    fn uniting_legacy_counts_each_origin_once() {
        let set = |origin: &str| LegacySet { origin: SessionId::from_stored(origin), alpha: 2.0, beta: 1.0 };
        let union = unite_legacy(&[set("b"), set("a")], &[set("a"), set("c")]);
        assert_eq!(union.iter().map(|s| s.origin.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
