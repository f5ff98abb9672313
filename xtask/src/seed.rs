//! The number that all random choices of a test run come from.
//!
//! Not here: how it reaches the tests ([`crate::runner`]).

use std::hash::{BuildHasher, RandomState};

/// Fresh seeds stay below this, so that they can be read aloud and typed again.
const BOUND: u64 = 1_000_000_000;

/// A seed that nobody chose. The standard library keys its hash maps from the system's randomness; this takes
/// it from there.
pub(crate) fn fresh() -> u64 {
    RandomState::new().hash_one("seed") % BOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_seeds_differ() {
        let seeds: Vec<u64> = (0..8).map(|_| fresh()).collect();
        assert!(seeds.iter().any(|seed| *seed != seeds[0]), "{seeds:?}");
        assert!(seeds.iter().all(|seed| *seed < BOUND), "{seeds:?}");
    }
}
