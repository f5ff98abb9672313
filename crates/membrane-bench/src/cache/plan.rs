//! What clients do in a round: the same for every level, and the same in every run.
//!
//! Sessions have ranks, and the one of rank `n` is read `n` times as seldom as the first. How long a session is goes
//! by its rank, too, so that each length has its share of the popular ones.

/// How long threads are at first.
pub(super) const LENGTHS: [usize; 3] = [10, 100, 1000];

pub(super) const N_SESSIONS: usize = 100;

/// One in so many steps appends a turn instead of reading.
const APPEND_EVERY: usize = 50;

/// So many clients of a round put a new session in the place of one.
const N_REPLACING: usize = 2;

/// How long the session of a rank is.
pub(super) fn length_of(rank: usize) -> usize {
    LENGTHS[rank % LENGTHS.len()]
}

/// What a client does next, with the session of a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Read(usize),
    Append(usize),
    /// It is deleted, and a new one of the same length takes its rank.
    Replace(usize),
}

/// The steps of one client in one round.
pub(super) fn steps(round: usize, client: usize, n_steps: usize) -> Vec<Step> {
    let mut random = Random(u64::try_from(round * 1000 + client).unwrap_or(0));
    let shares = Shares::new();
    let mut steps = Vec::with_capacity(n_steps);
    for number in 0..n_steps {
        steps.push(if number == n_steps / 2 && client < N_REPLACING {
            Step::Replace(random.below(N_SESSIONS))
        } else if number % APPEND_EVERY == APPEND_EVERY - 1 {
            Step::Append(long_rank(&mut random))
        } else {
            Step::Read(shares.rank(random.share()))
        });
    }
    steps
}

/// Any but the short ones, which a few turns would make longer by half.
fn long_rank(random: &mut Random) -> usize {
    loop {
        let rank = random.below(N_SESSIONS);
        if length_of(rank) > LENGTHS[0] {
            return rank;
        }
    }
}

/// By Zipf's law: what share of all reads goes to the ranks up to each.
struct Shares(Vec<f64>);

impl Shares {
    #[expect(clippy::cast_precision_loss, reason = "a rank among a hundred")]
    fn new() -> Self {
        let weights = (1..=N_SESSIONS).map(|rank| 1.0 / rank as f64);
        let sum: f64 = weights.clone().sum();
        let up_to = weights.scan(0.0, |so_far, weight| {
            *so_far += weight / sum;
            Some(*so_far)
        });
        Self(up_to.collect())
    }

    fn rank(&self, share: f64) -> usize {
        self.0.partition_point(|up_to| *up_to < share).min(N_SESSIONS - 1)
    }
}

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap_or(1)).unwrap_or(0)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_session_is_read_most_and_every_kind_of_step_is_there() {
        let all: Vec<Step> = (0..5).flat_map(|client| steps(1, client, 4000)).collect();
        let reads = |rank| all.iter().filter(|step| **step == Step::Read(rank)).count();
        let first = reads(0);
        assert!((3300..4300).contains(&first), "{first}");
        assert!((4..=6).contains(&(first / reads(4))), "{}", reads(4));
        assert!(reads(N_SESSIONS - 1) > 0);
        assert_eq!(all.iter().filter(|step| matches!(step, Step::Append(_))).count(), 400);
        assert_eq!(all.iter().filter(|step| matches!(step, Step::Replace(_))).count(), N_REPLACING);
        assert!(!all.contains(&Step::Append(0)), "a short session is not appended to");
    }

    #[test]
    fn a_round_is_the_same_whenever_it_is_made_and_unlike_any_other() {
        assert_eq!(steps(1, 2, 100), steps(1, 2, 100));
        assert_ne!(steps(1, 2, 100), steps(1, 3, 100));
        assert_ne!(steps(1, 2, 100), steps(2, 2, 100));
    }
}
