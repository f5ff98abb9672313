//! Arguments of the commands that fork, rewind, merge and mark.

use clap::{Args, ValueEnum};
use membrane::MergeStrategy;

#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The session.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How many of its first turns the fork holds, 0 for none; all by default.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) at: Option<i64>,
    /// What the fork is called; `branch-<n>` by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rewind {
    /// The session.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How many turns to take off.
    #[arg(value_name = "TURNS")]
    pub(crate) turns: u64,
    /// Only if the session is at this version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) expect_version: Option<u64>,
}

pub(super) const MERGE_HELP: &str = "\
Strategies:
  sequential  the turns of BASE, then those of OTHER that BASE has not
  interleave  the turns of both, in order of time
  manual      the turns named with --pick, in that order

Examples:
  membrane merge session-0123 session-4567
  membrane merge session-0123 session-4567 --strategy manual --pick session-0123:0 --pick session-4567:2";

#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The session whose family, project and names the merge gets.
    #[arg(value_name = "BASE")]
    pub(crate) base: String,
    /// The other one.
    #[arg(value_name = "OTHER")]
    pub(crate) other: String,
    /// How two threads become one.
    #[arg(long, value_enum, default_value_t = Strategy::Sequential)]
    pub(crate) strategy: Strategy,
    /// A turn to keep, by its session and its number there; give it again for the next one.
    #[arg(long = "pick", value_name = "ID:N")]
    pub(crate) picks: Vec<String>,
    /// What the merge is called; both names joined by + by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Strategy {
    Sequential,
    Interleave,
    Manual,
}

impl From<Strategy> for MergeStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Sequential => Self::Sequential,
            Strategy::Interleave => Self::Interleave,
            Strategy::Manual => Self::Manual,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    /// The session.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// What the checkpoint is called.
    #[arg(long, conflicts_with_all = ["list", "delete"])]
    pub(crate) name: Option<String>,
    /// List the session's checkpoints, the newest first, instead.
    #[arg(long, conflicts_with = "delete")]
    pub(crate) list: bool,
    /// Delete this checkpoint instead.
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) delete: Option<String>,
}
