//! Repeatable choices: a small generator whose whole state is one number.
//!
//! Not here: anything secret or statistical. Choices only have to be spread out and come back with the seed.

/// SplitMix64: a stream of numbers that depends on the seed alone.
#[derive(Debug, Clone)]
pub struct Choices {
    state: u64,
}

impl Choices {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A stream for one item of a family, for example one cut of a campaign, so that an item's choices do
    /// not depend on which items were looked at before.
    #[must_use]
    pub fn of_item(seed: u64, item: u64) -> Self {
        let mut family = Self::new(seed);
        Self::new(family.next_number() ^ item.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// The next 64 bits.
    pub fn next_number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0. The bias of the remainder is far below what a test sees.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next_number() % bound).unwrap_or(0)
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
