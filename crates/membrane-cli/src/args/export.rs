//! Arguments of `membrane export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) const EXPORT_HELP: &str = "\
Formats:
  kgents-v1  an SQLite file with kgents' tables chat_sessions, chat_turns, chat_checkpoints and
             chat_crystals. Each session has all its turns, those of forks and merges too, and each
             checkpoint has them in full. What kgents has no column for stands in keys named
             \"membrane\" inside its JSON values, which it passes over and Membrane reads again.

Times in the file are local and name no zone, as kgents writes them. One that the zone had twice, as
when clocks are set back, carries its offset from UTC. Whoever reads the file on a machine in another
zone needs --naive-timezone UTC, or that zone.

The keep may be in use; turns that are not finished are not exported. A file that is there is never
written over. If the export fails, nothing is left behind.

Examples:
  membrane export --format kgents-v1 kgents.db
  membrane export --format kgents-v1 --project alpha --naive-timezone Europe/Berlin alpha.db";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The form of the file.
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Only this session; may be given several times.
    #[arg(long = "session", value_name = "ID", conflicts_with = "project")]
    pub(crate) sessions: Vec<String>,
    /// Only the sessions of this project.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// The zone of the times in the file: a name, UTC, or an offset; the system's by default.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) naive_timezone: Option<String>,
    /// The file to make.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    KgentsV1,
}
