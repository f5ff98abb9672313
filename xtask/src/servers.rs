//! The servers that tests talk to: their programs, installed where that may be done, and one PostgreSQL for a
//! whole run.
//!
//! What is looked for, and how a server is started, is the matter of `membrane-testservers`, which runs as a
//! program, so that this one builds at once. Not here: servers of single tests, which start their own.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::process::{cargo, output, run, text, variable};

/// Tells tests the server on which they make their databases.
pub(crate) const POSTGRES_URL: &str = "MEMBRANE_TEST_POSTGRES_URL";

/// Asked by Debian's packages whether they may start their services.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// Answers no to all of them.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";
/// Read by PostgreSQL's package, which else makes a cluster for the machine.
const CLUSTER_POLICY: &str = "/etc/postgresql-common/createcluster.d/membrane-tests.conf";
const NO_CLUSTER: &str = "create_main_cluster = false\n";

/// A program that is not there.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    /// Debian's package.
    package: String,
    /// What was looked for, and where.
    what: String,
}

/// Sees to it that the servers' programs are there: root's run on a system with `apt-get` installs those that are
/// missing, and starts no service.
///
/// # Errors
/// Programs are missing and cannot be installed; the message names them and the commands.
pub(crate) fn provide(root: &Path) -> Outcome {
    let missing = missing(root)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install() {
        return Err(refusal(&missing, "this machine lacks servers that the tests need"));
    }
    install(&missing)?;
    let missing = self::missing(root)?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(refusal(&missing, "apt-get did not bring what the tests need"))
    }
}

/// A PostgreSQL for all tests of a run. Dropping it stops it; so does the end of this process, whatever ends it.
pub(crate) struct Postgres {
    /// None if the environment names a server already.
    own: Option<(Child, String)>,
}

impl Postgres {
    /// Starts it, unless the environment names one.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start(root: &Path) -> Outcome<Self> {
        if variable(POSTGRES_URL).is_some_and(|url| !url.is_empty()) {
            println!("    the one that {POSTGRES_URL} names");
            return Ok(Self { own: None });
        }
        let mut command = program(root, "postgres");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start PostgreSQL for the tests: {error}")))?;
        let mut url = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut url)
                .map_err(|error| Failure::new(format!("cannot hear from PostgreSQL: {error}")))?;
        }
        let postgres = Self { own: Some((child, url.trim().to_owned())) };
        match postgres.url() {
            Some("") => {
                Err(Failure::new("PostgreSQL did not come up for the tests; the reason stands above"))
            }
            _ => Ok(postgres),
        }
    }

    /// Its URL; none if tests find one in the environment anyway.
    pub(crate) fn url(&self) -> Option<&str> {
        self.own.as_ref().map(|(_, url)| url.as_str())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            // The end of its input asks it to stop.
            drop(child.stdin.take());
            if let Err(error) = child.wait() {
                eprintln!("xtask: cannot wait for the end of PostgreSQL: {error}");
            }
        }
    }
}

fn program(root: &Path, argument: &str) -> Command {
    let mut command = cargo(root);
    command.args(["run", "--quiet", "--locked", "--package", "membrane-testservers", "--", argument]);
    command
}

fn missing(root: &Path) -> Outcome<Vec<Missing>> {
    Ok(parse(&text(&mut program(root, "missing"))?))
}

/// Reads lines of `PACKAGE<tab>what is missing`.
fn parse(lines: &str) -> Vec<Missing> {
    lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(package, what)| Missing { package: package.to_owned(), what: what.to_owned() })
        .collect()
}

fn may_install() -> bool {
    let is_root = text(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    is_root && output(Command::new("apt-get").arg("--version")).is_ok_and(|apt| apt.status.success())
}

fn refusal(missing: &[Missing], because: &str) -> Failure {
    let lines: Vec<String> = missing.iter().map(|missing| format!("  - {}", missing.what)).collect();
    Failure::new(format!(
        "{because}:\n{}\nOn Debian or Ubuntu: sudo apt-get install {} (as root, this command does it by itself). \
         PostgreSQL may also be named by MEMBRANE_TEST_POSTGRES_BIN, the folder with initdb.",
        lines.join("\n"),
        packages(missing).join(" "),
    ))
}

fn packages(missing: &[Missing]) -> Vec<&str> {
    missing.iter().map(|missing| missing.package.as_str()).collect()
}

fn install(missing: &[Missing]) -> Outcome {
    println!("    installing {}", packages(missing).join(", "));
    let _services = Policy::set(Path::new(SERVICE_POLICY), NO_SERVICES)?;
    let _cluster = Policy::set(Path::new(CLUSTER_POLICY), NO_CLUSTER)?;
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages(missing)))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--quiet", "-o", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// A file that tells packages what not to do, as long as this value lives.
struct Policy {
    /// None if there was one already, which holds then.
    path: Option<PathBuf>,
}

impl Policy {
    fn set(path: &Path, content: &str) -> Outcome<Self> {
        if fs::exists(path).map_err(Failure::with_path("look for", path))? {
            return Ok(Self { path: None });
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Failure::with_path("make the folder", folder))?;
        }
        fs::write(path, content).map_err(Failure::with_path("write", path))?;
        let policy = Self { path: Some(path.to_owned()) };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .map_err(Failure::with_path("make executable", path))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!(
                    "xtask: remove {} by hand, it keeps packages from their work: {error}",
                    path.display()
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let missing = parse("pgbouncer\tpgbouncer: not found in /bin\nredis-server\tredis: not found\n");
        assert_eq!(packages(&missing), ["pgbouncer", "redis-server"]);
        let message = refusal(&missing, "this machine lacks servers").to_string();
        for part in ["pgbouncer: not found in /bin", "apt-get install pgbouncer redis-server", "as root"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn a_policy_goes_when_it_is_dropped_and_one_that_was_there_stays() {
        let folder = crate::repository::root().join("target/xtask/policies");
        let path = folder.join("deep/policy");
        let is_there = || fs::exists(&path).expect("it can be looked for");
        let policy = Policy::set(&path, NO_SERVICES).expect("it can be written");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        drop(Policy::set(&path, "other").expect("it is there"));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), NO_SERVICES);
        drop(policy);
        assert!(!is_there());
    }
}
