//! What the tests need of the machine, tried before anything else, so that what is missing is said in the first
//! second and with its remedy.
//!
//! Not here: installing anything on the machine.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::process::{cargo, output, text, variable};

/// Includes a header and calls a function of the C library, as SQLite does.
const C_PROGRAM: &str = "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n";

/// The ways to a private mount namespace, as the full-disk test tries them: as root, and as anybody.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Tries everything, and names all that is missing at once.
///
/// # Errors
/// Something is missing, or `scratch`, a folder for the trials, cannot be made.
pub(crate) fn check(root: &Path, scratch: &Path) -> Outcome {
    fs::create_dir_all(scratch).map_err(Failure::with_path("make the folder", scratch))?;
    let missing: Vec<String> = [
        git(root),
        component(root, "fmt"),
        component(root, "clippy"),
        c_compiler(scratch),
        small_disk(scratch),
    ]
    .into_iter()
    .filter_map(Result::err)
    .map(|failure| format!("  - {failure}"))
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("this machine lacks what the tests need:\n{}", missing.join("\n"))))
}

fn git(root: &Path) -> Outcome {
    if output(Command::new("git").arg("--version")).is_err() {
        return Err(Failure::new("git: not found in PATH; install it (apt-get install git, apk add git)"));
    }
    text(crate::process::git(root).args(["rev-parse", "--is-inside-work-tree"])).map(|_| ()).map_err(
        |failure| {
            Failure::new(format!(
                "a git checkout: {failure}; clone the repository, or run `git init` in the unpacked archive"
            ))
        },
    )
}

fn component(root: &Path, name: &str) -> Outcome {
    text(cargo(root).args([name, "--version"])).map(|_| ()).map_err(|_| {
        let component = if name == "fmt" { "rustfmt" } else { name };
        Failure::new(format!("cargo {name}: not installed; rustup component add {component}"))
    })
}

fn c_compiler(scratch: &Path) -> Outcome {
    let chosen = variable("CC").unwrap_or_else(|| "cc".into());
    let chosen = chosen.to_string_lossy();
    let mut words = chosen.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words).args(["-x", "c", "-", "-o"]).arg(scratch.join("c-program"));
    compile(&mut command).map_err(|why| {
        Failure::new(format!(
            "a C compiler with the C library's headers: `{chosen}` {why}; install one \
             (apt-get install gcc libc6-dev, apk add gcc musl-dev), or set CC"
        ))
    })
}

/// Feeds the program to a compiler; says in the error why that did not work.
fn compile(command: &mut Command) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be started ({error})"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(C_PROGRAM.as_bytes())
            .map_err(|error| format!("does not read its input ({error})"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("cannot be followed ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("does not compile a small program ({})", first_line(&output.stderr)))
}

/// A tmpfs in a mount namespace of its own: what the full-disk test fills.
fn small_disk(scratch: &Path) -> Outcome {
    let at = scratch.join("small-disk");
    fs::create_dir_all(&at).map_err(Failure::with_path("make the folder", &at))?;
    let mut attempts = Vec::new();
    for namespace in NAMESPACES {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["--", "mount", "-t", "tmpfs", "-o", "size=1m", "membrane-small-disk"]);
        match output(command.arg(&at)) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                attempts.push(format!("unshare {}: {}", namespace.join(" "), first_line(&output.stderr)));
            }
            Err(failure) => attempts.push(failure.to_string()),
        }
    }
    Err(Failure::new(format!(
        "a small file system of its own for the full-disk test (Linux): install unshare and mount (util-linux), \
         and run as root or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 \
         kernel.apparmor_restrict_unprivileged_userns=0; in a container --cap-add SYS_ADMIN): {}",
        attempts.join("; ")
    )))
}

fn first_line(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).lines().next().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_is_missing_or_fails_is_told_apart() {
        let missing =
            compile(&mut Command::new("no-such-compiler-anywhere")).expect_err("it cannot be there");
        assert!(missing.starts_with("cannot be started"), "{missing}");
        let failing = compile(Command::new("sh").args(["-c", "cat >&2; exit 1"])).expect_err("exit 1");
        assert!(failing.contains("#include <stdio.h>"), "{failing}");
    }
}
