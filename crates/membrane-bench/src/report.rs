//! What was measured, and what it was aimed at.

use std::fmt;

/// Lines of the report, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    invalid: bool,
}

impl Report {
    /// A line that is compared with nothing.
    pub(crate) fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    /// A ratio that should be at least `aim`.
    pub(crate) fn at_least(&mut self, what: &str, ratio: f64, aim: f64) {
        let verdict = if ratio >= aim { "ok" } else { "BELOW" };
        self.lines.push(format!("{what}: ratio {ratio:.2} (aim: at least {aim:.2}) {verdict}"));
    }

    /// A ratio that should be at most `aim`.
    pub(crate) fn at_most(&mut self, what: &str, ratio: f64, aim: f64) {
        let verdict = if ratio <= aim { "ok" } else { "ABOVE" };
        self.lines.push(format!("{what}: ratio {ratio:.2} (aim: at most {aim:.2}) {verdict}"));
    }

    /// Something that makes the figures worthless.
    pub(crate) fn invalidate(&mut self, why: &str) {
        self.lines.push(format!("INVALID RUN: {why}"));
        self.invalid = true;
    }

    /// Whether the figures mean something.
    pub(crate) fn is_valid(&self) -> bool {
        !self.invalid
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
