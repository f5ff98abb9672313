//! Arguments of `import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Take in what kgents left: a database of its Universe, or the JSON of its in-memory router.
    #[command(after_help = KGENTS_HELP)]
    Kgents(ImportKgents),
}

const KGENTS_HELP: &str = "\
FILE is found out to be one of these:
  the database of kgents' Universe, ~/.local/share/kgents/default.db.db by default. It is only
  read, also while kgents has it open. Each save wrote all turns once more; each is taken in once.
  a database with kgents' chat tables (chat_sessions and others). It is only read; to turn it
  into the keep itself, name it with --database-url instead.
  JSON as GET /api/chat/sessions of the in-memory router answers it: a list of sessions with their
  turns, {\"sessions\": […]}, one session, or one session a line; - for standard input.

Importing again changes nothing, or adds what is new; after a failure it goes on. What cannot be
understood is kept word for word in the table legacy_rows and said in the report, in which for each
kind of rows those that were read and those that were skipped add up to all.

Times without a zone are read in that of --naive-timezone: a name like Europe/Berlin, UTC, or an
offset like +02:00. By default it is the system's.

--dry-run imports into an empty database in the temporary folder, with as much room as the import
needs, and removes it: the report says what FILE holds, not what the keep has of it already.

Examples:
  membrane import kgents ~/.local/share/kgents/default.db.db
  membrane import kgents old.db --dry-run --json | jq .oddities
  curl -s localhost:8000/api/chat/sessions?limit=100 | membrane import kgents -";

#[derive(Debug, Args)]
pub(crate) struct ImportKgents {
    /// The file; - for JSON on standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The zone of times that name none; the system's by default.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) naive_timezone: Option<String>,
    /// Only say what there is; keep nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
