//! What was found.

/// What a check is about, in the order in which findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Theme {
    Values,
    References,
    Counts,
    Slices,
    Totals,
    Evidence,
    Signals,
    Heads,
    Reach,
    Checkpoints,
    Crystals,
    Runs,
    Keys,
    Tombstones,
}

/// Findings, a line each.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<(Theme, String)>,
}

impl Report {
    pub(super) fn find(&mut self, theme: Theme, what: impl Into<String>) {
        self.findings.push((theme, what.into()));
    }

    /// The findings in the order of the themes.
    pub(super) fn into_lines(mut self) -> Vec<String> {
        self.findings.sort_by_key(|(theme, _)| *theme);
        self.findings.into_iter().map(|(_, line)| line).collect()
    }
}
