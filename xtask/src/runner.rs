//! Running tests, under cargo-nextest where it is installed and under `cargo test` elsewhere; the same tests,
//! the same report.
//!
//! Not here: reading what either says ([`crate::junit`], [`crate::libtest`]), and which tests to run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::failure::{Failure, Outcome};
use crate::junit;
use crate::libtest::{self, Reader};
use crate::process::{cargo, echo, failed, output, shown};
use crate::servers::POSTGRES_URL;

/// Tests that `cargo test` runs at the same time; `.config/nextest.toml` says the same.
const N_THREADS: &str = "--test-threads=2";

/// Who runs tests here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// cargo-nextest: each test a process, hung tests end.
    Nextest,
    /// cargo alone.
    Cargo,
}

/// A profile of `.config/nextest.toml`, and how far campaigns go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// A slice of every campaign.
    Default,
    /// Campaigns to their end.
    Full,
    /// A slice of every campaign, for planted defects.
    Defects,
}

/// Where and how tests run.
#[derive(Debug, Clone)]
pub(crate) struct Setting<'a> {
    /// The workspace.
    pub(crate) folder: &'a Path,
    /// Where cargo builds it; cargo's choice if absent.
    pub(crate) target: Option<PathBuf>,
    /// How they run.
    pub(crate) profile: Profile,
    /// What tests make their random choices from.
    pub(crate) seed: u64,
    /// The PostgreSQL for tests that need no server of their own; the environment's if absent.
    pub(crate) postgres: Option<&'a str>,
    /// Whether what cargo and the tests say is shown while they run, or only if it is asked for later.
    pub(crate) loud: bool,
}

/// Which tests run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selection {
    /// What tells cargo the packages: `-p NAME`, `--workspace`.
    pub(crate) packages: Vec<String>,
    /// Parts of names; a test runs if its name holds one of them. All run if there are none.
    pub(crate) names: Vec<String>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Tests that passed.
    pub(crate) n_passed: u64,
    /// Tests that failed.
    pub(crate) n_failed: u64,
    /// The names of those that failed.
    pub(crate) failed: Vec<String>,
    /// Everything that the tests printed to standard output.
    pub(crate) printed: String,
    /// Everything that cargo and the runner said, unless it was shown at once.
    pub(crate) said: String,
}

impl Runner {
    /// The better one of those installed.
    pub(crate) fn installed(folder: &Path) -> Self {
        let nextest = output(cargo(folder).args(["nextest", "--version"]));
        if nextest.is_ok_and(|nextest| nextest.status.success()) { Self::Nextest } else { Self::Cargo }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nextest => "cargo nextest",
            Self::Cargo => "cargo test",
        }
    }

    /// Compiles the tests without running them; returns what the compiler said if that failed.
    ///
    /// # Errors
    /// Cargo could not be started.
    pub(crate) fn build(self, setting: &Setting<'_>, selection: &Selection) -> Outcome<Result<(), String>> {
        let mut command = self.command(setting, selection);
        let output = output(command.arg("--no-run"))?;
        Ok(if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        })
    }

    /// Runs tests. That some of them fail is in the report.
    ///
    /// # Errors
    /// They do not compile, there are none, or they cannot be run.
    pub(crate) fn run(self, setting: &Setting<'_>, selection: &Selection) -> Outcome<Report> {
        let mut command = self.command(setting, selection);
        match self {
            Self::Nextest => run_nextest(command, setting, selection),
            Self::Cargo => {
                command.args(["--", "--show-output", N_THREADS]).args(&selection.names);
                run_cargo_test(command, setting)
            }
        }
    }

    fn command(self, setting: &Setting<'_>, selection: &Selection) -> Command {
        let mut command = setting.cargo();
        match self {
            Self::Nextest => command.args(["nextest", "run", "--profile", setting.profile.name()]),
            Self::Cargo => command.args(["test", "--tests"]),
        };
        if self == Self::Cargo && setting.profile == Profile::Full {
            command.arg("--no-fail-fast");
        }
        command.arg("--locked").args(&selection.packages);
        command
    }
}

/// Runs the examples in the documentation; nextest has no part in that.
///
/// # Errors
/// They cannot be run at all. That some fail is in the report.
pub(crate) fn run_doctests(setting: &Setting<'_>) -> Outcome<Report> {
    let mut command = setting.cargo();
    command.args(["test", "--doc", "--workspace", "--locked"]);
    let mut reader = Reader::default();
    let status = echo(&mut command, |line| reader.take(line))?;
    let report = reader.finish();
    if !status.success() && report.n_failed == 0 {
        return Err(failed(&command, status));
    }
    Ok(report)
}

impl Setting<'_> {
    /// A cargo command whose tests see the seed, and whether campaigns run to their end.
    fn cargo(&self) -> Command {
        let mut command = cargo(self.folder);
        command.env("MEMBRANE_TEST_SEED", self.seed.to_string());
        match self.profile {
            Profile::Full => command.env("MEMBRANE_TEST_FULL", "1"),
            Profile::Default | Profile::Defects => command.env_remove("MEMBRANE_TEST_FULL"),
        };
        if let Some(url) = self.postgres {
            command.env(POSTGRES_URL, url);
        }
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Full => "full",
            Self::Defects => "defects",
        }
    }
}

fn run_nextest(mut command: Command, setting: &Setting<'_>, selection: &Selection) -> Outcome<Report> {
    command.args(&selection.names);
    let path = setting.folder.join("target/nextest").join(setting.profile.name()).join("junit.xml");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Failure::with_path("remove the report of an earlier run", &path)(error));
        }
        _ => {}
    }
    let (status, said) = if setting.loud {
        (
            command.status().map_err(Failure::with_path("start cargo nextest in", setting.folder))?,
            String::new(),
        )
    } else {
        let output = output(&mut command)?;
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let xml = match fs::read_to_string(&path) {
        Ok(xml) => xml,
        // There is no report because no test was run.
        Err(error) if error.kind() == ErrorKind::NotFound && !status.success() => {
            return Err(Failure::new(format!("{}\n{said}", failed(&command, status)).trim_end()));
        }
        Err(error) => return Err(Failure::with_path("read the test report", &path)(error)),
    };
    judge(&command, status, Report { said, ..junit::parse(&xml)? })
}

fn run_cargo_test(mut command: Command, setting: &Setting<'_>) -> Outcome<Report> {
    if setting.loud {
        let mut reader = Reader::default();
        let status = echo(&mut command, |line| reader.take(line))?;
        return judge(&command, status, reader.finish());
    }
    let output = output(&mut command)?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = format!("{}{stdout}", String::from_utf8_lossy(&output.stderr));
    judge(&command, output.status, Report { said, ..libtest::parse(&stdout) })
}

/// Refuses a report that would read as a success, or as a mere failure of tests, but is neither.
fn judge(command: &Command, status: ExitStatus, report: Report) -> Outcome<Report> {
    if !status.success() && report.n_failed == 0 {
        return Err(Failure::new(format!("{}\n{}", failed(command, status), report.said).trim_end()));
    }
    if status.success() && report.n_failed > 0 {
        return Err(Failure::new(format!("`{}` succeeded though tests failed", shown(command))));
    }
    if report.n_passed + report.n_failed == 0 {
        return Err(Failure::new(format!("`{}` found no test to run", shown(command))));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_command(runner: Runner, profile: Profile) -> String {
        let setting = Setting {
            folder: Path::new("."),
            target: Some("/t".into()),
            profile,
            seed: 7,
            postgres: Some("postgres://a@b"),
            loud: false,
        };
        let selection =
            Selection { packages: vec!["-p".to_owned(), "core".to_owned()], names: vec!["laws".to_owned()] };
        shown(&runner.command(&setting, &selection))
    }

    #[test]
    fn both_runners_get_the_packages_the_seed_the_server_and_a_locked_lock_file() {
        for runner in [Runner::Nextest, Runner::Cargo] {
            let line = shown_command(runner, Profile::Default);
            for part in [
                "MEMBRANE_TEST_SEED=7",
                "MEMBRANE_TEST_POSTGRES_URL=postgres://a@b",
                "CARGO_TARGET_DIR=/t",
                "--locked",
                "-p core",
            ] {
                assert!(line.contains(part), "{part} in {line}");
            }
            assert!(!line.contains("MEMBRANE_TEST_FULL"), "{line}");
        }
    }

    #[test]
    fn only_the_full_profile_asks_for_full_campaigns() {
        for runner in [Runner::Nextest, Runner::Cargo] {
            assert!(shown_command(runner, Profile::Full).contains("MEMBRANE_TEST_FULL=1"));
            assert!(!shown_command(runner, Profile::Defects).contains("MEMBRANE_TEST_FULL"));
        }
    }

    #[test]
    fn a_report_without_tests_or_with_failures_that_cargo_denies_is_no_success() {
        let command = Command::new("true");
        let ended = |code: i32| {
            Command::new("sh").args(["-c", &format!("exit {code}")]).status().expect("sh is there")
        };
        let report = |n_passed, n_failed| Report { n_passed, n_failed, ..Report::default() };
        assert!(judge(&command, ended(0), report(0, 0)).is_err());
        assert!(judge(&command, ended(1), report(5, 0)).is_err());
        assert!(judge(&command, ended(0), report(5, 1)).is_err());
        assert!(judge(&command, ended(1), report(5, 1)).is_ok());
        assert!(judge(&command, ended(0), report(5, 0)).is_ok());
    }
}
