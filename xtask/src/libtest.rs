//! What `cargo test` prints: totals, the tests that failed, and which of it is worth showing.
//!
//! Not here: running it.

use crate::runner::Report;

/// Reads the standard output of `cargo test -- --show-output`, line by line as it comes.
///
/// A test may print the output of a test program which it started itself. So a block is opened by `running N
/// tests`, and closed by the first result that accounts for N.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    report: Report,
    block: Option<Block>,
}

/// The tests of one program, between `running N tests` and their result.
#[derive(Debug)]
struct Block {
    n_tests: u64,
    part: Part,
}

/// What the lines of a block are, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `test NAME ... ok`.
    Tests,
    /// What tests printed that passed.
    Successes,
    /// What tests printed that failed.
    Failures,
}

impl Reader {
    /// Takes the next line. Returns whether a person wants to see it: all of a run but the output of tests that
    /// passed.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        self.report.printed.push_str(line);
        self.report.printed.push('\n');
        let Some(block) = &mut self.block else {
            self.block = n_running(line).map(|n_tests| Block { n_tests, part: Part::Tests });
            return true;
        };
        if let Some((n_passed, n_failed, n_others)) = counts(line)
            && n_passed + n_failed + n_others == block.n_tests
        {
            self.report.n_passed += n_passed;
            self.report.n_failed += n_failed;
            self.block = None;
            return true;
        }
        match line {
            "successes:" => block.part = Part::Successes,
            "failures:" => block.part = Part::Failures,
            _ => {}
        }
        if block.part == Part::Tests
            && let Some(name) = failed_test(line)
        {
            self.report.failed.push(name.to_owned());
        }
        block.part != Part::Successes
    }

    /// What all lines together say.
    pub(crate) fn finish(self) -> Report {
        self.report
    }
}

/// Reads the whole output at once.
pub(crate) fn parse(stdout: &str) -> Report {
    let mut reader = Reader::default();
    for line in stdout.lines() {
        reader.take(line);
    }
    reader.finish()
}

/// `N` of `running N tests`.
fn n_running(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

/// The name in `test NAME ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Passed, failed and other tests of `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
fn counts(line: &str) -> Option<(u64, u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim_end().parse::<u64>().ok())
    };
    Some((count("passed")?, count("failed")?, count("ignored")? + count("measured")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
running 1 test
test tests::unit ... ok

successes:

successes:
    tests::unit

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s


running 3 tests
test laws::good ... ok
test laws::bad ... FAILED
test disk::full ... ok

successes:

---- disk::full stdout ----
running 1 test
test disk::full ... FAILED
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s

---- laws::good stdout ----
campaign: law=a

failures:

---- laws::bad stdout ----
campaign: law=b

failures:
    laws::bad

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s
";

    #[test]
    fn programs_are_added_up_and_what_tests_print_is_not_counted() {
        let report = parse(PRINTED);
        assert_eq!((report.n_passed, report.n_failed), (3, 1));
        assert_eq!(report.failed, ["laws::bad"]);
        assert!(report.printed.contains("campaign: law=a"));
    }

    #[test]
    fn a_run_without_tests_counts_none() {
        let report = parse(
            "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!((report.n_passed, report.n_failed), (0, 0));
    }

    #[test]
    fn the_output_of_passing_tests_is_not_shown_and_that_of_failing_tests_is() {
        let mut reader = Reader::default();
        let shown: Vec<&str> = PRINTED.lines().filter(|line| reader.take(line)).collect();
        assert!(!shown.contains(&"campaign: law=a"), "{shown:?}");
        for line in ["test laws::bad ... FAILED", "campaign: law=b"] {
            assert!(shown.contains(&line), "{line} in {shown:?}");
        }
    }
}
