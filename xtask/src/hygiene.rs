//! Dependencies that nobody uses, and licences that do not fit ours: two tools, installed on demand.
//!
//! Not here: security advisories, whose database is not part of the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::process::{cargo, output, run};

/// A program that checks the dependencies.
struct Tool {
    /// Its name, as a program and on the registry.
    name: &'static str,
    /// What is installed if it is missing.
    version: &'static str,
}

const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Fails on dependencies which no source file mentions.
///
/// # Errors
/// There are some, or cargo-machete is neither there nor can be installed.
pub(crate) fn unused_dependencies(root: &Path) -> Outcome {
    let program = MACHETE.program(root)?;
    run(Command::new(program).arg("--skip-target-dir").current_dir(root))
}

/// Fails on what `deny.toml` does not allow: licences, banned crates, sources.
///
/// # Errors
/// There is some, or cargo-deny is neither there nor can be installed.
pub(crate) fn licences(root: &Path) -> Outcome {
    let program = DENY.program(root)?;
    run(Command::new(program).args(["--locked", "check", "licenses", "bans", "sources"]).current_dir(root))
}

impl Tool {
    /// The program: from PATH, or from `target/tools`, where it is installed if it is missing.
    fn program(&self, root: &Path) -> Outcome<PathBuf> {
        let folder = root.join("target/tools");
        let own = folder.join("bin").join(self.name);
        for program in [PathBuf::from(self.name), own.clone()] {
            let version = output(Command::new(&program).arg("--version"));
            if version.is_ok_and(|version| version.status.success()) {
                return Ok(program);
            }
        }
        let build = folder.join("build");
        let crate_and_version = format!("{}@{}", self.name, self.version);
        println!("    installing {crate_and_version} into {}", folder.display());
        let mut install = cargo(root);
        install.args(["install", "--locked", "--quiet", &crate_and_version]);
        install.arg("--root").arg(&folder).arg("--target-dir").arg(&build);
        run(&mut install).map_err(|failure| {
            Failure::new(format!("{failure}; install it yourself: cargo install --locked {}", self.name))
        })?;
        // Half a gigabyte that nobody needs again.
        fs::remove_dir_all(&build).map_err(Failure::with_path("remove", &build))?;
        Ok(own)
    }
}
