//! Runs a law on many random cases from one seed, counts how rich they were, and prints the line that
//! says so. The laws are not here.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, Reason, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::ops::{Draft, Op, drafts, histories};
use super::played::{Facts, Played};

/// Cases per law in a full campaign.
const FULL_CASES: u32 = 10_000;
/// Cases per law otherwise.
const SLICE_CASES: u32 = 500;
/// The seed when none is given.
const DEFAULT_SEED: u64 = 20_260_101;
/// The least share of cases in which everything happened that [`Facts`] knows.
const LEAST_RICH: f64 = 0.30;

/// What a law says of one case.
pub(crate) type Verdict = Result<(), TestCaseError>;

/// What a law is tried on: what happened, and selectors and turns that the law is free to use.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) ops: Vec<Op>,
    pub(crate) picks: [u8; 3],
    pub(crate) drafts: Vec<Draft>,
}

/// Tries a law on what random operations leave behind.
pub(crate) fn holds(law: &str, check: impl Fn(&mut Played, &Case) -> Verdict) {
    holds_along(law, |case| {
        let mut played = Played::after(&case.ops)?;
        let facts = played.facts;
        check(&mut played, case)?;
        Ok(facts)
    });
}

/// Tries a law that watches the operations itself; it reports what happened.
pub(crate) fn holds_along(law: &str, check: impl Fn(&Case) -> Result<Facts, TestCaseError>) {
    let (cases, seed) = (cases(), seed());
    let tally = Cell::new(Tally::default());
    let outcome = runner(law, cases, seed).run(&case(), |case| {
        let facts = check(&case)?;
        tally.set(tally.get().with(facts));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            let (reason, case) = drop_needless(law, reason, case, &check);
            let ops: Vec<String> = case.ops.iter().map(|op| format!("{op:?}")).collect();
            let full = if cases == FULL_CASES { " MEMBRANE_TEST_FULL=1" } else { "" };
            panic!(
                "law {law} is broken: {reason}\nshrunk case:\n    {}\n    picks {:?}\n    drafts {:?}\n\
                 replay with MEMBRANE_TEST_SEED={seed}{full}",
                ops.join("\n    "),
                case.picks,
                case.drafts
            );
        }
        Err(TestError::Abort(reason)) => panic!("law {law} could not be tried with seed {seed}: {reason}"),
    }
    let tally = tally.get();
    assert_eq!(tally.cases, cases);
    println!(
        "campaign: law={law} store=core cases={cases} seed={seed} rich={:.1}% fork_of_fork={:.1}% \
         merge={:.1}% rewind_across_slices={:.1}% interrupted={:.1}%",
        100.0 * tally.share(tally.rich),
        100.0 * tally.share(tally.fork_of_fork),
        100.0 * tally.share(tally.merge),
        100.0 * tally.share(tally.rewind_across_slices),
        100.0 * tally.share(tally.interrupted),
    );
    assert!(tally.share(tally.rich) >= LEAST_RICH, "too few cases were rich with seed {seed}: {tally:?}");
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    cases: u32,
    rich: u32,
    fork_of_fork: u32,
    merge: u32,
    rewind_across_slices: u32,
    interrupted: u32,
}

impl Tally {
    fn with(self, facts: Facts) -> Self {
        Self {
            cases: self.cases + 1,
            rich: self.rich + u32::from(facts.is_rich()),
            fork_of_fork: self.fork_of_fork + u32::from(facts.fork_of_fork),
            merge: self.merge + u32::from(facts.merge),
            rewind_across_slices: self.rewind_across_slices + u32::from(facts.rewind_across_slices),
            interrupted: self.interrupted + u32::from(facts.interrupted),
        }
    }

    fn share(self, count: u32) -> f64 {
        f64::from(count) / f64::from(self.cases)
    }
}

/// Shrinking goes through a case once; here operations are left out until none can be.
fn drop_needless(
    law: &str,
    reason: Reason,
    case: Case,
    check: &impl Fn(&Case) -> Result<Facts, TestCaseError>,
) -> (Reason, Case) {
    let (mut reason, mut case) = (reason, case);
    let mut index = case.ops.len();
    while let Some(without) = index.checked_sub(1) {
        let mut fewer = case.clone();
        fewer.ops.remove(without);
        let outcome = runner(law, 1, 0).run(&Just(fewer), |case| check(&case).map(|_| ()));
        index = if let Err(TestError::Fail(again, fewer)) = outcome {
            (reason, case) = (again, fewer);
            case.ops.len()
        } else {
            without
        };
    }
    (reason, case)
}

fn case() -> impl Strategy<Value = Case> {
    (histories(), any::<[u8; 3]>(), drafts()).prop_map(|(ops, picks, drafts)| Case { ops, picks, drafts })
}

fn runner(law: &str, cases: u32, seed: u64) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    // Each law gets cases of its own from the one seed.
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    for (index, byte) in law.bytes().enumerate() {
        let place = &mut bytes[8 + index % 24];
        *place = place.wrapping_mul(31).wrapping_add(byte);
    }
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn cases() -> u32 {
    if variable("MEMBRANE_TEST_FULL").is_some_and(|value| value == "1") { FULL_CASES } else { SLICE_CASES }
}

fn seed() -> u64 {
    variable("MEMBRANE_TEST_SEED").map_or(DEFAULT_SEED, |text| {
        text.parse().unwrap_or_else(|_| {
            panic!("MEMBRANE_TEST_SEED is {text:?}; give a whole number from 0 to {}", u64::MAX)
        })
    })
}

#[expect(clippy::disallowed_methods, reason = "a campaign's size and seed come from whoever runs the tests")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
