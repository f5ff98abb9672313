//! A small file system of its own for one test: a tmpfs in a private mount namespace.
//!
//! A test cannot mount anything for itself, so it runs twice: the test in the ordinary run starts the same
//! test of the same program again, inside a new mount namespace with a small tmpfs, and waits for it. Nobody
//! else sees the mount, and it is gone with the process. Root needs nothing more; anybody else needs user
//! namespaces. Where neither works the test *fails* and says why: a full disk that was not tried proves
//! nothing.
//!
//! Not here: what is done to a store on such a disk.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use thiserror::Error;

use crate::settings::variable;

/// Tells the inner run where its small disk is. Set by the outer run alone.
const MOUNTED_AT: &str = "MEMBRANE_TEST_SMALL_DISK";

/// The ways to a private mount namespace, tried in this order: as root, and as anybody.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Mounts the tmpfs (`$1` bytes at `$2`), then becomes the program in the remaining arguments.
const MOUNT_AND_RUN: &str = r#"
size=$1 at=$2
shift 2
mount -t tmpfs -o "size=$size,mode=0700" membrane-small-disk "$at" && exec "$@"
"#;

/// Why a test on a small disk failed.
#[derive(Debug, Error)]
pub enum SmallDiskError {
    /// Something of the outer run failed before a namespace was tried.
    #[error("could not prepare a small disk: {doing}")]
    Prepare {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No way to a private mount namespace works on this machine.
    #[error(
        "no small disk could be mounted; install unshare and mount (util-linux), and run the tests as root or \
         allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0): {}",
        .attempts.join("; ")
    )]
    Mount {
        /// Each way that was tried and what it answered.
        attempts: Vec<String>,
    },
    /// `MEMBRANE_TEST_SMALL_DISK` is set, but there is no small disk of ours. Filling it could fill the real one.
    #[error(
        "{path:?} is not a small disk of this test; unset MEMBRANE_TEST_SMALL_DISK, the test sets it by itself"
    )]
    NotMounted {
        /// The value of the variable.
        path: String,
    },
    /// The program holds no test of this name, or more than one.
    #[error("no single test is named {test:?}; pass the path that the test runner shows. it said:\n{said}")]
    NoSuchTest {
        /// The name that was given.
        test: String,
        /// What the inner run printed.
        said: String,
    },
    /// The test failed on the small disk.
    #[error("{test} failed on a disk of {n_bytes} bytes:\n{said}")]
    Failed {
        /// The test.
        test: String,
        /// The size of the disk.
        n_bytes: u64,
        /// What the inner run printed.
        said: String,
    },
}

/// A file system of a few MiB that nobody else uses.
#[derive(Debug, Clone)]
pub struct SmallDisk {
    path: PathBuf,
}

/// A file that takes up room.
#[derive(Debug)]
#[must_use = "it keeps the room until it is removed"]
pub struct Ballast {
    path: PathBuf,
    n_bytes: u64,
}

/// Runs `body` on an empty disk of `n_bytes` bytes, and returns what it printed.
///
/// Call it as the only statement of a test, with that test's name as the test runner shows it. In the
/// ordinary run it starts that test again on a small disk; there it calls `body`, whose panic fails both.
pub fn on_small_disk(
    test: &str,
    n_bytes: u64,
    body: impl FnOnce(&SmallDisk),
) -> Result<String, SmallDiskError> {
    match variable(MOUNTED_AT) {
        Some(path) => {
            body(&SmallDisk::mounted_at(path)?);
            Ok(String::new())
        }
        None => run_again(test, n_bytes),
    }
}

fn run_again(test: &str, n_bytes: u64) -> Result<String, SmallDiskError> {
    let prepare = |doing| move |source| SmallDiskError::Prepare { doing, source };
    let program = env::current_exe().map_err(prepare("finding the test program"))?;
    let mount_point = tempfile::tempdir().map_err(prepare("making a directory to mount on"))?;
    // SQLite and the kernel's table of mounts speak of resolved paths.
    let at = mount_point.path().canonicalize().map_err(prepare("resolving the mount point"))?;

    let mut attempts = Vec::new();
    for namespace in NAMESPACES {
        let probe = inside(namespace, n_bytes, &at).arg("true").output();
        match probe {
            Ok(probe) if probe.status.success() => {
                let output = inside(namespace, n_bytes, &at)
                    .arg(&program)
                    .args(["--exact", test, "--nocapture", "--test-threads=1"])
                    .env(MOUNTED_AT, &at)
                    .output()
                    .map_err(prepare("starting the test on the small disk"))?;
                return judge(test, n_bytes, &output);
            }
            Ok(probe) => attempts.push(format!("unshare {}: {}", namespace.join(" "), said(&probe).trim())),
            Err(error) => attempts.push(format!("unshare {}: {error}", namespace.join(" "))),
        }
    }
    Err(SmallDiskError::Mount { attempts })
}

/// A command that runs its further arguments with a small disk at `at`.
fn inside(namespace: &[&str], n_bytes: u64, at: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(namespace).args(["--", "sh", "-c", MOUNT_AND_RUN, "small-disk"]);
    command.arg(n_bytes.to_string()).arg(at);
    command
}

fn judge(test: &str, n_bytes: u64, output: &Output) -> Result<String, SmallDiskError> {
    let said = said(output);
    if !output.status.success() {
        return Err(SmallDiskError::Failed { test: test.to_owned(), n_bytes, said });
    }
    // A name that matches nothing is a success to the test runner.
    if !said.contains("test result: ok. 1 passed") {
        return Err(SmallDiskError::NoSuchTest { test: test.to_owned(), said });
    }
    Ok(said)
}

fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}

impl SmallDisk {
    fn mounted_at(path: String) -> Result<Self, SmallDiskError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|source| SmallDiskError::Prepare { doing: "reading /proc/self/mountinfo", source })?;
        if mounts.lines().any(|mount| is_ours(mount, &path)) {
            Ok(Self { path: path.into() })
        } else {
            Err(SmallDiskError::NotMounted { path })
        }
    }

    /// The root of the disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the disk to its last block with a file named `name`, then gives back `n_bytes_left` bytes.
    pub fn fill(&self, name: &str, n_bytes_left: u64) -> io::Result<Ballast> {
        let path = self.path.join(name);
        let mut file = File::create_new(&path)?;
        let block = [0x42_u8; 4096];
        let mut n_bytes = 0;
        loop {
            match file.write(&block) {
                Ok(n_written) => n_bytes += n_written as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        n_bytes = n_bytes.saturating_sub(n_bytes_left);
        file.set_len(n_bytes)?;
        Ok(Ballast { path, n_bytes })
    }
}

/// Whether a line of the kernel's table is a tmpfs of ours at `path`: the fifth field is the mount point, and
/// after the dash stand the type and the source.
fn is_ours(mount: &str, path: &str) -> bool {
    let Some((place, kind)) = mount.split_once(" - ") else { return false };
    place.split(' ').nth(4) == Some(path) && kind.starts_with("tmpfs membrane-small-disk ")
}

impl Ballast {
    /// How much room it takes, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Gives back `n_bytes` of the room, or all that is left.
    pub fn shrink(&mut self, n_bytes: u64) -> io::Result<()> {
        let n_bytes = self.n_bytes.saturating_sub(n_bytes);
        File::options().write(true).open(&self.path)?.set_len(n_bytes)?;
        self.n_bytes = n_bytes;
        Ok(())
    }

    /// Gives all of the room back.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tmpfs_of_ours_at_that_place_counts_as_a_small_disk() {
        let line =
            |place: &str, kind: &str| format!("36 35 98:0 / {place} rw,relatime - {kind} rw,size=8192k");
        assert!(is_ours(&line("/mnt/x", "tmpfs membrane-small-disk"), "/mnt/x"));
        assert!(!is_ours(&line("/mnt/y", "tmpfs membrane-small-disk"), "/mnt/x"));
        assert!(!is_ours(&line("/mnt/x", "ext4 /dev/vda"), "/mnt/x"));
        assert!(!is_ours(&line("/mnt/x", "tmpfs tmpfs"), "/mnt/x"));
    }
}
