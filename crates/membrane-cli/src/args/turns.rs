//! Arguments of the commands that list, show and write turns.

use clap::{Args, ValueEnum};
use membrane::SignalKind;

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

pub(super) const APPEND_HELP: &str = r#"With --stdin each line is one turn, a JSON object:
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
