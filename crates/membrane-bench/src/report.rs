//! What was measured, and what it was aimed at; printed at once, so that a run that is ended early says
//! what it saw.

/// The report so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    invalid: bool,
}

impl Report {
    /// A line that is compared with nothing.
    #[expect(clippy::unused_self, reason = "a report is written to, wherever it goes")]
    pub(crate) fn note(&mut self, line: impl std::fmt::Display) {
        println!("{line}");
    }

    /// A ratio that should be at least `aim`.
    pub(crate) fn at_least(&mut self, what: &str, ratio: f64, aim: f64) {
        let verdict = if ratio >= aim { "ok" } else { "BELOW" };
        self.note(format!("{what}: ratio {ratio:.2} (aim: at least {aim:.2}) {verdict}"));
    }

    /// A ratio that should be at most `aim`.
    pub(crate) fn at_most(&mut self, what: &str, ratio: f64, aim: f64) {
        let verdict = if ratio <= aim { "ok" } else { "ABOVE" };
        self.note(format!("{what}: ratio {ratio:.2} (aim: at most {aim:.2}) {verdict}"));
    }

    /// Something that makes the figures worthless.
    pub(crate) fn invalidate(&mut self, why: &str) {
        self.note(format!("INVALID RUN: {why}"));
        self.invalid = true;
    }

    /// Whether the figures mean something.
    pub(crate) fn is_valid(&self) -> bool {
        !self.invalid
    }
}
