//! A second process for one test: the same program, started again with the same test and a role to play.
//!
//! It speaks to its parent in lines: the child's standard output comes to the parent line by line, and stays
//! readable when the child is killed; the parent's lines go to the child's standard input.
//!
//! Not here: what the lines mean.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::settings::variable;

/// Tells a child what to do. Set by its parent alone.
const ROLE: &str = "MEMBRANE_TEST_ROLE";

/// Marks the child's own lines among those of the test runner.
const MARK: &str = "child: ";

/// Why a child failed its parent.
#[derive(Debug, Error)]
pub enum ChildError {
    /// The process could not be started, spoken to or ended.
    #[error("a child process failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It did not say or do in time what it had to.
    #[error("the child {role:?} was not done within {} s: {doing}; it said last: {last}", .patience.as_secs())]
    TooSlow {
        /// Its role.
        role: String,
        /// What the parent was waiting for.
        doing: &'static str,
        /// For how long.
        patience: Duration,
        /// Its last lines.
        last: String,
    },
    /// It ended before its time, or with a failure.
    #[error("the child {role:?} ended ({status}) {doing}; it said last: {last}")]
    Ended {
        /// Its role.
        role: String,
        /// How it ended.
        status: ExitStatus,
        /// What the parent was waiting for.
        doing: &'static str,
        /// Its last lines.
        last: String,
    },
}

/// The role that this process is to play; `None` in the ordinary run of the test.
#[must_use]
pub fn role() -> Option<String> {
    variable(ROLE)
}

/// Says a line to the parent. It has arrived when this returns, whatever happens to the child then.
pub fn say(line: &str) -> io::Result<()> {
    // One write of less than a page: a pipe takes it whole or not at all.
    let mut out = io::stdout().lock();
    out.write_all(format!("\n{MARK}{line}\n").as_bytes())?;
    out.flush()
}

/// Waits for the parent's next line; `None` once it has let go.
pub fn listen() -> io::Result<Option<String>> {
    let mut line = String::new();
    let n_bytes = io::stdin().lock().read_line(&mut line)?;
    Ok((n_bytes > 0).then(|| line.trim_end().to_owned()))
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    role: String,
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The newest lines, its own and the test runner's, for messages.
    last: Vec<String>,
}

impl ChildProcess {
    /// Starts the test `test`, named as the test runner shows it, as a child with this role.
    pub fn start(test: &str, role: &str) -> Result<Self, ChildError> {
        let failed = |doing| move |source| ChildError::Io { doing, source };
        let program = env::current_exe().map_err(failed("finding the test program"))?;
        let mut process = Command::new(program)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("starting"))?;
        let input = process.stdin.take();
        let (sender, lines) = channel();
        if let Some(output) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { role: role.to_owned(), process, input, lines, last: Vec::new() })
    }

    /// Says a line to the child.
    pub fn tell(&mut self, line: &str) -> Result<(), ChildError> {
        let told = match &mut self.input {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        told.map_err(|source| ChildError::Io { doing: "speaking to it", source })
    }

    /// Waits for the child's next line; `None` once it has ended and everything that it said was heard.
    pub fn hear(&mut self, patience: Duration) -> Result<Option<String>, ChildError> {
        let until = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(said) = self.note(line) {
                        return Ok(Some(said));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.too_slow("saying something", patience)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Kills the child (SIGKILL, which no process can catch) and returns what it had said and was not heard.
    pub fn kill(mut self) -> Result<Vec<String>, ChildError> {
        let failed = |doing| move |source| ChildError::Io { doing, source };
        self.process.kill().map_err(failed("killing it"))?;
        self.process.wait().map_err(failed("waiting for its end"))?;
        let mut rest = Vec::new();
        while let Some(line) = self.hear(Duration::from_secs(60))? {
            rest.push(line);
        }
        Ok(rest)
    }

    /// Lets go of the child's input, which asks it to end.
    pub fn ask_to_end(&mut self) {
        self.input = None;
    }

    /// Asks the child to end, waits until it has, and returns what it said and was not heard.
    ///
    /// # Errors
    /// [`ChildError::Ended`]: its test failed. [`ChildError::TooSlow`]: it did not end.
    pub fn finish(mut self, patience: Duration) -> Result<Vec<String>, ChildError> {
        self.ask_to_end();
        let mut rest = Vec::new();
        while let Some(line) = self.hear(patience)? {
            rest.push(line);
        }
        // Its output is closed, so it is about to be gone.
        let status =
            self.process.wait().map_err(|source| ChildError::Io { doing: "waiting for its end", source })?;
        let ran = self.last.iter().any(|line| line.contains("test result: ok. 1 passed"));
        if status.success() && ran {
            Ok(rest)
        } else {
            Err(ChildError::Ended {
                role: self.role.clone(),
                status,
                doing: "without having passed its test",
                last: self.last.join(" | "),
            })
        }
    }

    /// Keeps the line for messages, and returns what the child itself said in it.
    fn note(&mut self, line: String) -> Option<String> {
        const N_KEPT: usize = 12;
        let said = line.strip_prefix(MARK).map(str::to_owned);
        if !line.is_empty() {
            if self.last.len() == N_KEPT {
                self.last.remove(0);
            }
            self.last.push(line);
        }
        said
    }

    fn too_slow(&self, doing: &'static str, patience: Duration) -> ChildError {
        ChildError::TooSlow { role: self.role.clone(), doing, patience, last: self.last.join(" | ") }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
