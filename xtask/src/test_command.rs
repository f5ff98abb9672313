//! `cargo xtask test`: everything that must hold, in the order that fails fastest.
//!
//! Not here: how each step does its work.

use std::path::PathBuf;

use crate::arguments::TestOptions;
use crate::campaigns::{CAMPAIGN, TIDY, marked};
use crate::defects;
use crate::failure::{Failure, Outcome};
use crate::hygiene;
use crate::needs;
use crate::process::{cargo, run as run_command};
use crate::repository::{Snapshot, revision, root};
use crate::runner::{Profile, Report, Runner, Selection, Setting, run_doctests};
use crate::seed;
use crate::servers::{self, Postgres};
use crate::steps::Steps;

/// Runs everything and says what came of it. The last line of a good run is `N passed, 0 failed`.
///
/// # Errors
/// The first step that fails; the message ends with the command that repeats the run.
pub(crate) fn run(options: TestOptions) -> Outcome {
    let seed = options.seed.unwrap_or_else(seed::fresh);
    let again = format!("cargo xtask test{} --seed {seed}", if options.full { " --full" } else { "" });
    println!("seed {seed}; to repeat this run: {again}");

    let mut run = Run {
        root: root(),
        full: options.full,
        seed,
        revision: None,
        postgres: None,
        n_passed: 0,
        campaigns: vec![],
    };
    let mut steps = Steps::default();
    let outcome = run.all(&mut steps);
    println!("\n{}", steps.summary());
    if let Some(revision) = &run.revision {
        println!("commit={revision} seed={seed}");
    }
    for line in &run.campaigns {
        println!("{line}");
    }
    outcome
        .map_err(|failure| Failure::new(format!("{failure}\nseed {seed}; to repeat this run: {again}")))?;
    println!("{} passed, 0 failed", run.n_passed);
    Ok(())
}

/// One run of the test command.
struct Run {
    root: PathBuf,
    full: bool,
    seed: u64,
    /// What is tested; unknown until git was found.
    revision: Option<String>,
    /// For all tests, once it is started.
    postgres: Option<Postgres>,
    /// Tests that passed so far.
    n_passed: u64,
    /// What campaigns reported so far.
    campaigns: Vec<String>,
}

impl Run {
    fn all(&mut self, steps: &mut Steps) -> Outcome {
        let root = &self.root.clone();
        steps.step("needs", || needs::check(root, &root.join("target/xtask")))?;
        steps.step("servers", || servers::provide(root))?;
        self.revision = Some(revision(root)?);
        let before = Snapshot::take(root)?;

        steps.step("format", || run_command(cargo(root).args(["fmt", "--all", "--check"])))?;
        steps.step("clippy", || {
            run_command(cargo(root).args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]))
        })?;
        steps.step("documentation", || {
            run_command(
                cargo(root)
                    .args(["doc", "--workspace", "--no-deps", "--locked"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        })?;
        let runner = Runner::installed(root);
        steps.step("tidy", || self.tidy(runner))?;
        self.postgres = Some(steps.step("postgresql", || Postgres::start(root))?);
        steps.step("tests", || self.tests(runner))?;
        steps.step("doctests", || {
            let report = run_doctests(&self.setting())?;
            self.add(&report)
        })?;
        if self.full {
            steps.step("unused dependencies", || hygiene::unused_dependencies(root))?;
            steps.step("licences", || hygiene::licences(root))?;
            steps.step("planted defects", || self.defects(runner))?;
        }
        steps.step("unchanged files", || {
            let changes = before.changes(&Snapshot::take(root)?);
            if changes.is_empty() {
                return Ok(());
            }
            let list: Vec<String> = changes.iter().map(|file| format!("  {}", file.display())).collect();
            Err(Failure::new(format!(
                "these files changed during the run; either a test wrote them, or you did and should run again:\n{}",
                list.join("\n")
            )))
        })
    }

    /// The rules of the repository, which are the tests of this crate.
    fn tidy(&mut self, runner: Runner) -> Outcome {
        let selection = Selection { packages: words(&["-p", "xtask"]), names: vec![] };
        let report = runner.run(&self.setting(), &selection)?;
        for line in marked(&report.printed, TIDY) {
            println!("{line}");
        }
        self.add(&report)
    }

    fn tests(&mut self, runner: Runner) -> Outcome {
        println!("    with {}", runner.name());
        let selection = Selection { packages: words(&["--workspace", "--exclude", "xtask"]), names: vec![] };
        let report = runner.run(&self.setting(), &selection)?;
        self.add(&report)
    }

    fn defects(&mut self, runner: Runner) -> Outcome {
        let count = defects::try_all(&self.root, runner, self.seed, self.postgres_url(), &[])?;
        self.campaigns.push(count.to_string());
        count.verdict()
    }

    fn setting(&self) -> Setting<'_> {
        let profile = if self.full { Profile::Full } else { Profile::Default };
        Setting {
            folder: &self.root,
            target: None,
            profile,
            seed: self.seed,
            postgres: self.postgres_url(),
            loud: true,
        }
    }

    fn postgres_url(&self) -> Option<&str> {
        self.postgres.as_ref().and_then(Postgres::url)
    }

    /// Takes over the counts and campaigns of a report.
    ///
    /// # Errors
    /// Tests failed.
    fn add(&mut self, report: &Report) -> Outcome {
        self.n_passed += report.n_passed;
        self.campaigns.extend(marked(&report.printed, CAMPAIGN));
        if report.n_failed == 0 {
            return Ok(());
        }
        let list: Vec<String> = report.failed.iter().map(|test| format!("  {test}")).collect();
        Err(Failure::new(format!(
            "{} passed, {} failed:\n{}",
            report.n_passed,
            report.n_failed,
            list.join("\n")
        )))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh_run() -> Run {
        Run {
            root: root(),
            full: false,
            seed: 7,
            revision: None,
            postgres: None,
            n_passed: 0,
            campaigns: vec![],
        }
    }

    #[test]
    fn counts_and_campaigns_of_all_reports_come_together() {
        let mut run = fresh_run();
        for printed in ["campaign: law=a\n", "nothing\ncampaign: law=b\n"] {
            let report = Report { n_passed: 2, printed: printed.to_owned(), ..Report::default() };
            run.add(&report).expect("nothing failed");
        }
        assert_eq!(run.n_passed, 4);
        assert_eq!(run.campaigns, ["campaign: law=a", "campaign: law=b"]);
    }

    #[test]
    fn a_failed_test_fails_the_run_by_name_and_its_campaign_is_kept() {
        let mut run = fresh_run();
        let report = Report {
            n_passed: 2,
            n_failed: 1,
            failed: vec!["core laws::bad".to_owned()],
            printed: "campaign: law=a\n".to_owned(),
            ..Report::default()
        };
        let failure = run.add(&report).expect_err("a test failed").to_string();
        assert!(failure.contains("2 passed, 1 failed") && failure.contains("core laws::bad"), "{failure}");
        assert_eq!(run.campaigns, ["campaign: law=a"]);
    }
}
