//! The command line. Texts here are the manual's first page: each command says what it does and shows
//! one example. What the environment or the file may say instead of a flag is in `config/`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use membrane::{MergeStrategy, SignalKind};

const AFTER_HELP: &str = "\
The database is the first of these that is given:
  --database-url, KGENTS_DATABASE_URL, KGENTS_POSTGRES_URL,
  providers.relational of infrastructure.yaml, in $XDG_CONFIG_HOME/kgents/ or ~/.config/kgents/,
  $XDG_DATA_HOME/kgents/membrane.db, ~/.local/share/kgents/membrane.db
in one of these forms:
  a path, sqlite:PATH, sqlite:///PATH (four slashes for an absolute one),
  sqlite+aiosqlite:///PATH, memory: (empty at each start)

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
    Serve(ServerFlags),
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
    /// Return a session to one of its checkpoints.
    #[command(after_help = "Example: membrane restore session-0123 ckpt-0123")]
    Restore {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
        /// One of its checkpoints; `membrane checkpoint ID --list` shows them.
        #[arg(value_name = "CHECKPOINT")]
        checkpoint: String,
    },
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
    /// Bring the database's schema up to date, or look at it.
    #[command(after_help = "\
Every command does this when it opens the database; here it can be done apart.

Examples:
  membrane migrate --status
  membrane migrate --print-sql > schema.sql")]
    Migrate {
        /// Only say which steps are applied; change nothing.
        #[arg(long, conflicts_with = "print_sql")]
        status: bool,
        /// Only print the schema; open nothing.
        #[arg(long)]
        print_sql: bool,
    },
    /// Look for rows that contradict each other. Scans everything.
    #[command(after_help = "Example: membrane check || echo 'look at the lines above'")]
    Check,
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

const SERVE_HELP: &str = "\
Makes the database if it is not there. Turns that a server left behind when it died are closed with
what had arrived. SIGTERM and SIGINT take no more messages and wait for the turns under way
(chat.server.drain_ms); a second one interrupts them.

The interface is described at /docs and in docs/api.md; /health, /ready and /metrics are for
operators, and docs/operations.md is, too.

Examples:
  membrane serve
  membrane serve --addr 0.0.0.0:8642 --database-url /var/lib/membrane/membrane.db
  KGENTS_CHAT_ECHO_DELAY_MS=50 membrane serve";

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Only those of this project.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// Only those with this branch name.
    #[arg(long)]
    pub(crate) branch: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) limit: u32,
    /// Go on where an earlier list ended.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The session.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Begin with the turn of this number, counted from 0.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) from: u64,
    /// At most this many turns; all by default.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

const APPEND_HELP: &str = r#"With --stdin each line is one turn, a JSON object:
  {"user": "…", "assistant": "…"}
and, if there is more to say: "status" (complete, interrupted, failed), "model",
"usage", "finish_reason", "reasoning", "error" {"code", "message"},
"tools" [{"call_id", "name", "input", "output", "success", "duration_ms"}],
"user_linearity", "assistant_linearity" (required, preserved, droppable),
"started_at", "completed_at" (RFC 3339). Empty lines are skipped.
Turns are appended as they come. A line that cannot be read ends the command: the
turns before it are appended, it and what follows are not; the error names its number.

Examples:
  membrane append session-0123 --user 'And 3 + 3?' --assistant '6'
  membrane append --new --project alpha --stdin < conversation.jsonl"#;

#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The session.
    #[arg(value_name = "ID", required_unless_present = "new", conflicts_with = "new")]
    pub(crate) id: Option<String>,
    /// Create a session, append to it, and print its id.
    #[arg(long)]
    pub(crate) new: bool,
    /// What the user said.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "assistant",
        conflicts_with = "stdin",
        allow_hyphen_values = true
    )]
    pub(crate) user: Option<String>,
    /// What the answer was.
    #[arg(long, value_name = "TEXT", requires = "user", allow_hyphen_values = true)]
    pub(crate) assistant: Option<String>,
    /// Read turns from standard input, one JSON object a line.
    #[arg(long)]
    pub(crate) stdin: bool,
    /// The new session's project.
    #[arg(long, conflicts_with = "id")]
    pub(crate) project: Option<String>,
    /// The new session's branch name.
    #[arg(long, conflicts_with = "id")]
    pub(crate) branch: Option<String>,
    /// The new session's title.
    #[arg(long, conflicts_with = "id")]
    pub(crate) title: Option<String>,
}

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

const MERGE_HELP: &str = "\
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

#[derive(Debug, Args)]
pub(crate) struct Feedback {
    /// The session.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The turn's number, counted from 0.
    #[arg(value_name = "TURN", allow_hyphen_values = true)]
    pub(crate) turn: i64,
    /// What is said of it.
    #[arg(value_enum)]
    pub(crate) signal: Word,
    /// In words.
    #[arg(long)]
    pub(crate) comment: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Word {
    Positive,
    Negative,
    Correction,
}

impl From<Word> for SignalKind {
    fn from(word: Word) -> Self {
        match word {
            Word::Positive => Self::Positive,
            Word::Negative => Self::Negative,
            Word::Correction => Self::Correction,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
