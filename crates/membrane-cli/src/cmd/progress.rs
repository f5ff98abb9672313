//! A line on a terminal's standard error that says how far something is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::Output;

/// How often the line is written anew.
const STEP: Duration = Duration::from_millis(200);

/// The line. Nothing is shown with JSON, or where no terminal is.
#[derive(Debug, Clone)]
pub(super) struct ProgressLine {
    is_shown: bool,
    start: Instant,
    last: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new(output: &Output) -> Self {
        let is_shown = !output.is_json() && std::io::stderr().is_terminal();
        Self { is_shown, start: Instant::now(), last: None }
    }

    /// Shows what `line` makes, if it is time to. It is told how many of `number` there were in a second.
    pub(super) fn say(&mut self, number: u64, line: impl FnOnce(u128) -> String) {
        if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= STEP) {
            self.last = Some(Instant::now());
            let micros = self.start.elapsed().as_micros().max(1);
            write(&format!("\r\u{1b}[K{}", line(u128::from(number) * 1_000_000 / micros)));
        }
    }

    /// Measures from now on.
    pub(super) fn restart(&mut self) {
        self.start = Instant::now();
    }

    /// Leaves the line empty.
    pub(super) fn clear(&self) {
        if self.is_shown {
            write("\r\u{1b}[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // A terminal that has gone needs no progress.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
