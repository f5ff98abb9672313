//! What was found in an old file and what became of it.

use std::collections::BTreeMap;

use super::old::Place;

/// How many findings of one kind are named; the others are only counted.
pub const MAX_NAMED: usize = 1000;

/// A kind of odd thing in an old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Oddity {
    /// A row names a session that is not there.
    Orphan,
    /// A session's parent is not there, or is the session itself.
    DanglingParent,
    /// Parents go round in a circle.
    ParentCycle,
    /// A counter is not what the rows say.
    WrongCount,
    /// Turns are not numbered 0, 1, 2, …
    WrongNumber,
    /// A time that cannot be read.
    BadTime,
    /// A time without a zone that happened twice or never where the clocks were changed.
    AmbiguousTime,
    /// A value of another type than the column's.
    WrongType,
    /// Text that is not UTF-8.
    NotText,
    /// A word that is none of the known ones.
    UnknownWord,
    /// Text that is not the JSON that belongs there.
    BadJson,
    /// JSON that holds more than is known.
    UnknownField,
    /// Turns that were only in a checkpoint.
    OnlyInCheckpoint,
    /// The same row twice.
    Duplicate,
    /// Something without an id.
    NoId,
    /// Evidence of which no total can be read.
    BadEvidence,
    /// A session that is in the keep already, with another conversation.
    Conflict,
    /// A session or another object that is in the keep already.
    AlreadyThere,
    /// Work that was under way when the file was left.
    Unfinished,
}

impl Oddity {
    /// A stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::DanglingParent => "dangling_parent",
            Self::ParentCycle => "parent_cycle",
            Self::WrongCount => "wrong_count",
            Self::WrongNumber => "wrong_number",
            Self::BadTime => "bad_time",
            Self::AmbiguousTime => "ambiguous_time",
            Self::WrongType => "wrong_type",
            Self::NotText => "not_text",
            Self::UnknownWord => "unknown_word",
            Self::BadJson => "bad_json",
            Self::UnknownField => "unknown_field",
            Self::OnlyInCheckpoint => "only_in_checkpoint",
            Self::Duplicate => "duplicate",
            Self::NoId => "no_id",
            Self::BadEvidence => "bad_evidence",
            Self::Conflict => "conflict",
            Self::AlreadyThere => "already_there",
            Self::Unfinished => "unfinished",
        }
    }
}

/// One odd thing: where it is, what is odd, what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub oddity: Oddity,
    /// Where it is.
    pub place: Place,
    /// What is odd, with the value, and what was done about it: a sentence without a full stop.
    pub what: String,
}

/// The rows of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableCount {
    /// All of them.
    pub total: u64,
    /// Those that became part of the keep, or were in it already.
    pub read: u64,
    /// Those that did not: each is kept aside, or is a copy of another, or its session has a finding.
    pub skipped: u64,
}

/// What was done with an old file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The rows of each table: `read + skipped = total`.
    pub tables: BTreeMap<&'static str, TableCount>,
    /// How many odd things of each kind there are.
    pub oddities: BTreeMap<Oddity, u64>,
    /// The first [`MAX_NAMED`] of each kind.
    pub findings: Vec<Finding>,
    /// Sessions that were made.
    pub sessions_created: u64,
    /// Sessions that were there and got more turns.
    pub sessions_extended: u64,
    /// Sessions that were there and stay as they were.
    pub sessions_unchanged: u64,
    /// Turns that were written, those of checkpoints included; turns that forks share with their parents are not.
    pub turns_written: u64,
    /// Turns that forks share with their parents.
    pub turns_shared: u64,
    /// Checkpoints that were written.
    pub checkpoints_written: u64,
    /// Crystals that were written.
    pub crystals_written: u64,
    /// Old values that are kept aside, word for word.
    pub kept_aside: u64,
}

impl Report {
    /// Adds a finding.
    pub fn note(&mut self, oddity: Oddity, place: &Place, what: impl Into<String>) {
        self.add(Finding { oddity, place: place.clone(), what: what.into() });
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        let count = self.oddities.entry(finding.oddity).or_default();
        *count += 1;
        if usize::try_from(*count).is_ok_and(|count| count <= MAX_NAMED) {
            self.findings.push(finding);
        }
    }

    /// Counts a row that was read.
    pub fn count_read(&mut self, table: &'static str) {
        self.tables.entry(table).or_default().read += 1;
    }

    /// Counts a row that was skipped.
    pub fn count_skipped(&mut self, table: &'static str) {
        self.tables.entry(table).or_default().skipped += 1;
    }

    /// Counts rows that had been read as skipped after all.
    pub fn take_back(&mut self, table: &'static str, rows: u64) {
        let count = self.tables.entry(table).or_default();
        let rows = rows.min(count.read);
        count.read -= rows;
        count.skipped += rows;
    }

    /// Counts rows that were skipped and are not kept, each with an odd thing that is counted but not named.
    pub fn count_dropped(&mut self, table: &'static str, oddity: Oddity, rows: u64) {
        self.tables.entry(table).or_default().skipped += rows;
        if rows > 0 {
            *self.oddities.entry(oddity).or_default() += rows;
        }
    }

    /// Whether every row of every table is accounted for.
    pub fn is_complete(&self) -> bool {
        self.tables.values().all(|count| count.read + count.skipped == count.total)
    }
}
