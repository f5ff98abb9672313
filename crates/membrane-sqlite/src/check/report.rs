//! What was checked and what was found.

use std::collections::BTreeSet;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Theme {
    /// The file's pages, and the order of its indexes.
    File,
    /// Tables, views, triggers and indexes.
    Schema,
    /// Values that cannot be read.
    Values,
    /// Rows that refer to rows.
    References,
    /// Numbers of turns.
    Counts,
    /// How histories are laid out.
    Slices,
    /// Running totals and what repeats them.
    Totals,
    /// Evidence.
    Evidence,
    /// Signals on turns.
    Signals,
    /// Where sessions may append.
    Heads,
    /// What nothing reaches.
    Reach,
    /// Checkpoints.
    Checkpoints,
    /// Crystals.
    Crystals,
    /// Unfinished turns.
    Runs,
    /// Idempotency keys.
    Keys,
    /// Tombstones of deleted sessions.
    Tombstones,
}

impl Theme {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 16] = [
        Self::File,
        Self::Schema,
        Self::Values,
        Self::References,
        Self::Counts,
        Self::Slices,
        Self::Totals,
        Self::Evidence,
        Self::Signals,
        Self::Heads,
        Self::Reach,
        Self::Checkpoints,
        Self::Crystals,
        Self::Runs,
        Self::Keys,
        Self::Tombstones,
    ];

    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Schema => "schema",
            Self::Values => "values",
            Self::References => "references",
            Self::Counts => "counts",
            Self::Slices => "slices",
            Self::Totals => "totals",
            Self::Evidence => "evidence",
            Self::Signals => "signals",
            Self::Heads => "heads",
            Self::Reach => "reach",
            Self::Checkpoints => "checkpoints",
            Self::Crystals => "crystals",
            Self::Runs => "runs",
            Self::Keys => "keys",
            Self::Tombstones => "tombstones",
        }
    }

    /// What is looked at.
    pub fn about(self) -> &'static str {
        match self {
            Self::File => "pages, and rows against indexes",
            Self::Schema => "tables, views, triggers and indexes against the migrations",
            Self::Values => "values that must be readable",
            Self::References => "rows that other rows name",
            Self::Counts => "numbers of turns against the turns that are there",
            Self::Slices => "histories, slice after slice",
            Self::Totals => "totals against what turns say",
            Self::Evidence => "evidence against turns, signals and old observations",
            Self::Signals => "signals and the turns that they turned",
            Self::Heads => "where sessions may append",
            Self::Reach => "turns, segments and histories that nothing reaches",
            Self::Checkpoints => "checkpoints against their histories",
            Self::Crystals => "crystals and their sessions",
            Self::Runs => "turns under way and their sessions",
            Self::Keys => "idempotency keys and their sessions",
            Self::Tombstones => "tombstones and their families",
        }
    }
}

/// Something that contradicts something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What it is about.
    pub theme: Theme,
    /// The row and what is wrong with it, in one line.
    pub what: String,
}

/// What was checked and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// In the order of the themes.
    pub findings: Vec<Finding>,
    /// Themes of which a part could not be checked; each has a finding that says why.
    pub unchecked: BTreeSet<Theme>,
}

impl CheckReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many findings a theme has.
    pub fn count(&self, theme: Theme) -> usize {
        self.findings.iter().filter(|finding| finding.theme == theme).count()
    }

    /// The findings alone, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.findings.iter().map(|finding| finding.what.clone()).collect()
    }

    /// What this one found and none of `others` did. What they could not check is no news.
    pub fn news<'a>(&'a self, others: &[&Self]) -> Vec<&'a Finding> {
        let is_known = |finding: &Finding| {
            let knows =
                |other: &&Self| other.unchecked.contains(&finding.theme) || other.findings.contains(finding);
            others.iter().any(knows)
        };
        self.findings.iter().filter(|finding| !is_known(finding)).collect()
    }

    pub(crate) fn find(&mut self, theme: Theme, what: impl Into<String>) {
        self.findings.push(Finding { theme, what: what.into() });
    }

    pub(crate) fn could_not(&mut self, theme: Theme, what: impl Into<String>) {
        let finding = Finding { theme, what: what.into() };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
        self.unchecked.insert(theme);
    }
}
