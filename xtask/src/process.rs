//! Starting other programs: cargo, git and what the checks at the start try.
//!
//! Not here: which programs, and what their output means.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::failure::{Failure, Outcome};

/// A `cargo` command that runs in `folder`; the same cargo that started this program.
pub(crate) fn cargo(folder: &Path) -> Command {
    let program = variable("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(folder);
    command
}

/// A `git` command that runs in `folder` and finds its repository from there, in a git hook too.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder);
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    command
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "cargo and C compilers are chosen through the environment")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Runs a command that shows its own output.
///
/// # Errors
/// It could not be started, or it failed.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(failed(command, status)) }
}

/// Runs a command in silence and returns whatever it said and how it ended.
///
/// # Errors
/// It could not be started.
pub(crate) fn output(command: &mut Command) -> Outcome<Output> {
    command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))
}

/// Runs a command in silence and returns its standard output.
///
/// # Errors
/// It could not be started, it failed (the message holds its standard error), or it printed no text.
pub(crate) fn text(command: &mut Command) -> Outcome<String> {
    let output = output(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{}: {}", failed(command, output.status), said.trim())));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` printed what is not UTF-8", shown(command))))
}

/// Runs a command and hands over its standard output line by line, as it comes. A line is printed if `take`
/// says so.
///
/// # Errors
/// It could not be started, or its output broke off.
pub(crate) fn echo(command: &mut Command, mut take: impl FnMut(&str) -> bool) -> Outcome<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(command, &error))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| broke_off(command, &error))?;
            let line = String::from_utf8_lossy(&line);
            if take(&line) {
                println!("{line}");
            }
        }
    }
    child.wait().map_err(|error| broke_off(command, &error))
}

/// A command as it would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            line.push_str(&name.to_string_lossy());
            line.push('=');
            line.push_str(&quoted(value));
            line.push(' ');
        }
    }
    let program = Path::new(command.get_program());
    line.push_str(&quoted(program.file_name().unwrap_or(program.as_os_str())));
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=./:,+@%".contains(c)) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", shown(command)))
}

fn broke_off(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot follow `{}`: {error}", shown(command)))
}

/// The failure of a command that was started and ended badly.
pub(crate) fn failed(command: &Command, status: ExitStatus) -> Failure {
    Failure::new(format!("`{}` failed ({status})", shown(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/local/bin/cargo");
        command.args(["doc", "--locked", "a b", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), r"RUSTDOCFLAGS='-D warnings' cargo doc --locked 'a b' 'it'\''s'");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut Command::new("no-such-program-anywhere")).expect_err("it cannot be there");
        assert!(failure.to_string().contains("no-such-program-anywhere"), "{failure}");
    }

    #[test]
    fn a_failing_command_says_what_it_wrote_to_standard_error() {
        let failure = text(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).expect_err("exit 3");
        assert!(failure.to_string().ends_with(": because"), "{failure}");
    }

    #[test]
    fn every_line_is_handed_over_whatever_is_shown() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf two; exit 3"]);
        let mut lines = Vec::new();
        let status = echo(&mut command, |line| {
            lines.push(line.to_owned());
            false
        });
        assert_eq!(status.expect("sh is there").code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
    }
}
