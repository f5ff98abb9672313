//! The command line. Texts here are the manual's first page: each command says what it does and shows
//! one example. What the environment or the file may say instead of a flag is in `config/`.

mod backup;
mod branching;
mod copy;
mod doctor;
mod export;
mod import;
mod migrate;
mod turns;

use clap::{Args, Parser, Subcommand};

use backup::{BACKUP_HELP, RESTORE_HELP};
pub(crate) use backup::{Backup, Restore};
use branching::MERGE_HELP;
pub(crate) use branching::{Checkpoint, Fork, Merge, Rewind};
use copy::COPY_HELP;
pub(crate) use copy::Copy;
use doctor::{CHECK_HELP, DOCTOR_HELP};
pub(crate) use doctor::{Check, Doctor};
use export::EXPORT_HELP;
pub(crate) use export::{Export, Format};
pub(crate) use import::{Import, ImportKgents};
use migrate::MIGRATE_HELP;
pub(crate) use migrate::Migrate;
use turns::APPEND_HELP;
pub(crate) use turns::{Append, Feedback, Sessions, Show};

const AFTER_HELP: &str = "\
The database is the first of these that is given:
  --database-url, KGENTS_DATABASE_URL, KGENTS_POSTGRES_URL,
  providers.relational of infrastructure.yaml, in $XDG_CONFIG_HOME/kgents/ or ~/.config/kgents/,
  $XDG_DATA_HOME/kgents/membrane.db, ~/.local/share/kgents/membrane.db
in one of these forms:
  a path, sqlite:PATH, sqlite:///PATH (four slashes for an absolute one),
  sqlite+aiosqlite:///PATH, memory: (empty at each start),
  postgresql://USER:PASSWORD@HOST:PORT/NAME, also as postgres: and postgresql+asyncpg:
A password is better set in the environment or the file: others can see a command line.

Exit codes:
  0  done
  1  it failed
  2  an argument or a value cannot be accepted
  3  no such session, checkpoint or database
  4  a conflict: another version, a turn under way, a taken id
  5  unavailable for now, or the storage is full

Examples:
  membrane append --new --user 'What is 2 + 2?' --assistant '4'
  membrane sessions
  membrane show session-0123 --json | jq .turns
  membrane fork session-0123 --at 1 --branch what-if";

/// Keep chat sessions: durable and branching.
#[derive(Debug, Parser)]
#[command(name = "membrane", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// The database: a path, or a URL in one of the forms below.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Print one JSON document instead of text; errors too, on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the keep over HTTP, until SIGTERM or SIGINT.
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// List sessions, the most recently active first.
    #[command(after_help = "Example: membrane sessions --project alpha --limit 10")]
    Sessions(Sessions),
    /// Show a session with its turns.
    #[command(after_help = "Example: membrane show session-0123 --from 10 --limit 5")]
    Show(Show),
    /// Append finished turns to a session, or to a new one.
    #[command(after_help = APPEND_HELP)]
    Append(Append),
    /// Make a new session of the first turns of another.
    #[command(after_help = "Example: membrane fork session-0123 --at 4 --branch what-if")]
    Fork(Fork),
    /// Take turns off a session's end; an automatic checkpoint is left, with which it can be undone.
    #[command(after_help = "Example: membrane rewind session-0123 2")]
    Rewind(Rewind),
    /// Make a new session of the turns of two.
    #[command(after_help = MERGE_HELP)]
    Merge(Merge),
    /// Leave a checkpoint where a session stands; or list or delete its checkpoints.
    #[command(after_help = "\
Examples:
  membrane checkpoint session-0123 --name 'before the refactoring'
  membrane checkpoint session-0123 --list
  membrane checkpoint session-0123 --delete ckpt-0123")]
    Checkpoint(Checkpoint),
    /// Bring a backup of the whole database back; or return a session to one of its checkpoints.
    #[command(after_help = RESTORE_HELP)]
    Restore(Restore),
    /// Compare two sessions: which turns do they share, which has only one of them?
    #[command(after_help = "Example: membrane diff session-0123 session-4567")]
    Diff {
        /// The one session.
        #[arg(value_name = "LEFT")]
        left: String,
        /// The other.
        #[arg(value_name = "RIGHT")]
        right: String,
    },
    /// Show the tree of forks that a session belongs to.
    #[command(after_help = "Example: membrane branches session-0123")]
    Branches {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Say whether a turn helped; the latest word on a turn counts.
    #[command(after_help = "Example: membrane feedback session-0123 3 negative --comment 'wrong file'")]
    Feedback(Feedback),
    /// Delete a session. Forks of it stay whole.
    #[command(after_help = "Example: membrane delete session-0123")]
    Delete {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Write sessions to a new file of another form: the way back to kgents.
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
    /// Take in sessions that another program left.
    #[command(subcommand)]
    Import(Import),
    /// Bring the database's schema up to date, or look at it.
    #[command(after_help = MIGRATE_HELP)]
    Migrate(Migrate),
    /// Say what is the matter with the keep: configuration, file, locks, schema, content.
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Doctor),
    /// Look for rows that contradict each other, and put them right with --repair. Scans everything.
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Make a verified copy of the whole database, while others may write to it.
    #[command(after_help = BACKUP_HELP)]
    Backup(Backup),
    /// Copy the whole keep into another database, of any kind, and verify the copy.
    #[command(after_help = COPY_HELP)]
    Copy(Copy),
    /// Count what there is: sessions, turns, what forks save, bytes, growth. Scans everything.
    #[command(after_help = "Example: membrane stats --json | jq .days")]
    Stats,
    /// Show what is in force, and where each value came from.
    #[command(after_help = CONFIG_HELP)]
    Config(Config),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Examples:
  membrane completions bash > ~/.local/share/bash-completion/completions/membrane
  membrane completions zsh > ~/.zfunc/_membrane
  membrane completions fish > ~/.config/fish/completions/membrane.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const CONFIG_HELP: &str = "\
A value is that of its flag, else of its variable in the environment, else of infrastructure.yaml
in $XDG_CONFIG_HOME/kgents/ or ~/.config/kgents/, else its default. In the file:
  chat:
    server:
      addr: 127.0.0.1:9000
in the environment:
  KGENTS_CHAT_SERVER_ADDR=127.0.0.1:9000
Passwords and other secrets are masked.

Examples:
  membrane config
  membrane config --json | jq '.[\"chat.server.addr\"]'
  membrane config --keys";

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Show instead which keys there are: what each is for, may be, and is by default.
    #[arg(long)]
    pub(crate) keys: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

/// What can be said of the server on the command line.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Where the server listens (chat.server.addr).
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// The zone of times that name none, in a kgents V1 file that is upgraded; the system's by default.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) naive_timezone: Option<String>,
}

const SERVE_HELP: &str = "\
Makes the database if it is not there, and upgrades a kgents V1 file as migrate does. Turns that a
server left behind when it died are closed with what had arrived. SIGTERM and SIGINT take no more messages and wait for the turns under way
(chat.server.drain_ms); a second one interrupts them.

The interface is described at /docs and in docs/api.md; /health, /ready and /metrics are for
operators, and docs/operations.md is, too.

Examples:
  membrane serve
  membrane serve --addr 0.0.0.0:8642 --database-url /var/lib/membrane/membrane.db
  KGENTS_CHAT_ECHO_DELAY_MS=50 membrane serve";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
