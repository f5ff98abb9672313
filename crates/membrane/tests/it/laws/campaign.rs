//! Runs a law on many random cases from one seed on one store, counts how rich they were, and prints the
//! line that says so. The laws are not here.

use std::cell::Cell;
use std::sync::Arc;

use membrane::store::memory::MemoryStore;
use membrane::{Store, SystemClock};
use membrane_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::driven::{Driven, Facts};
use super::ops::{Draft, Op, drafts, histories};

/// Cases per law and store in a full campaign.
const FULL_CASES: u32 = 500;
/// Cases per law and store otherwise.
const SLICE_CASES: u32 = 25;
/// The seed when none is given.
const DEFAULT_SEED: u64 = 20_260_101;
/// The least share of cases of a full campaign in which everything happened that [`Facts`] knows.
const LEAST_RICH: f64 = 0.30;
/// The same for a slice, where chance has more say.
const LEAST_RICH_OF_SLICE: f64 = 0.10;

/// What a law says of one case.
pub(crate) type Verdict = Result<(), TestCaseError>;

/// What a law is tried on: what happens, and selectors and turns that the law is free to use.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) ops: Vec<Op>,
    pub(crate) picks: [u8; 3],
    pub(crate) drafts: Vec<Draft>,
}

/// The stores on which each law is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Memory,
    Sqlite,
}

impl On {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        }
    }

    /// One store for all cases of a law: they must not see each other. Power loss is another campaign's
    /// business, so nothing waits for the disk.
    async fn open(self) -> (Arc<dyn Store>, Option<tempfile::TempDir>) {
        match self {
            Self::Memory => (Arc::new(MemoryStore::new(Arc::new(SystemClock))), None),
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let options = SqliteOptions {
                    synchronous: Synchronous::Off,
                    ..SqliteOptions::at(folder.path().join("laws.db"))
                };
                (Arc::new(SqliteStore::open(options).await.unwrap()), Some(folder))
            }
        }
    }
}

/// Declares laws, each as one test per store.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod on_memory {
            $(#[test]
            fn $law() {
                $crate::laws::campaign::holds(stringify!($law), $crate::laws::campaign::On::Memory, super::$law);
            })+
        }
        mod on_sqlite {
            $(#[test]
            fn $law() {
                $crate::laws::campaign::holds(stringify!($law), $crate::laws::campaign::On::Sqlite, super::$law);
            })+
        }
    };
}
pub(crate) use laws;

/// Tries a law. It gets a keep with one empty session; the store is checked after the last case.
pub(crate) fn holds<F>(law: &str, on: On, check: impl Fn(Driven, Case) -> F)
where
    F: Future<Output = Result<Facts, TestCaseError>>,
{
    let (cases, seed) = (cases(), seed());
    let tally = Cell::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (store, _folder) = runtime.block_on(on.open());
    let outcome = runner(law, cases, seed).run(&case(), |case| {
        let facts = runtime.block_on(async {
            let driven = Driven::on(&store).await;
            check(driven, case).await
        })?;
        tally.set(tally.get().with(facts));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!(
            "law {law} is broken on {}: {reason}\nshrunk case: {case:#?}\n\
             replay with MEMBRANE_TEST_SEED={seed}{}",
            on.name(),
            if cases == FULL_CASES { " MEMBRANE_TEST_FULL=1" } else { "" }
        ),
        Err(TestError::Abort(reason)) => panic!("law {law} could not be tried with seed {seed}: {reason}"),
    }
    let findings = runtime.block_on(store.check()).unwrap();
    assert_eq!(findings, Vec::<String>::new(), "the store contradicts itself after {law} with seed {seed}");
    let tally = tally.get();
    assert_eq!(tally.cases, cases);
    println!(
        "campaign: law={law} store={} cases={cases} seed={seed} rich={:.1}% fork_of_fork={:.1}% \
         merge={:.1}% rewind_across_slices={:.1}% interrupted={:.1}%",
        on.name(),
        100.0 * tally.share(tally.rich),
        100.0 * tally.share(tally.fork_of_fork),
        100.0 * tally.share(tally.merge),
        100.0 * tally.share(tally.rewind_across_slices),
        100.0 * tally.share(tally.interrupted),
    );
    let least = if cases == FULL_CASES { LEAST_RICH } else { LEAST_RICH_OF_SLICE };
    assert!(tally.share(tally.rich) >= least, "too few cases were rich with seed {seed}: {tally:?}");
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

fn case() -> impl Strategy<Value = Case> {
    (histories(), any::<[u8; 3]>(), drafts()).prop_map(|(ops, picks, drafts)| Case { ops, picks, drafts })
}

fn runner(law: &str, cases: u32, seed: u64) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 5_000, ..Config::default() };
    // Each law gets cases of its own from the one seed, the same on every store.
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
