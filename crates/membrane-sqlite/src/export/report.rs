//! What is to be exported, and what was.

use jiff::tz::TimeZone;
use membrane_core::ids::SessionId;

/// Which sessions are exported, each with everything that is its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those of a project.
    Project(String),
    /// These, which must be there.
    Sessions(Vec<SessionId>),
}

/// How an export is made.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The zone of the times in the file, which name none.
    pub naive_zone: TimeZone,
    /// Which sessions.
    pub selection: Selection,
}

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportReport {
    /// Sessions that were written.
    pub sessions: u64,
    /// Turns that were written: one that twenty forks share twenty times. Those of checkpoints are not among them.
    pub turns: u64,
    /// Checkpoints that were written.
    pub checkpoints: u64,
    /// Crystals that were written.
    pub crystals: u64,
    /// The file's size.
    pub bytes: u64,
    /// Local times that happened twice, as when clocks are set back, or that no local time of four-digit years can
    /// name: they carry their offset from UTC.
    pub times_with_offset: u64,
    /// What is not in the file, or not as it was.
    pub left_out: LeftOut,
}

/// What an export leaves out, each with the reason why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Turns that are not finished. They stay in the keep.
    pub runs: u64,
    /// Parents that are deleted or not exported: `parent_id` is empty, and the real id is among the extras.
    pub parents: u64,
    /// Sessions that were deleted while the export was under way.
    pub deleted_meanwhile: u64,
    /// Automatic checkpoints of which some turns belonged to sessions that are deleted: they end before the gap.
    pub cut_checkpoints: u64,
    /// Checkpoints whose turns in full are more than one value of an SQLite file may hold.
    pub huge_checkpoints: u64,
    /// Values of older files that Membrane keeps word for word because they have no place: they stay in the keep.
    pub old_rows: u64,
}
