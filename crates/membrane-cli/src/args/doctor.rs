//! Arguments of the commands that look into a database and put it right.

use clap::Args;

pub(crate) const DOCTOR_HELP: &str = "\
Looks at the configuration, the file and its folder, who has it open, its schema and its content,
and at the server's address; of a PostgreSQL database at the way there, at the server and its settings,
and at who holds up whom. Changes nothing, makes nothing, and waits for no lock of a file's longer than
0.3 s, for none of a server's longer than chat.postgres.timeout_ms.
Under each problem stands what to type.

Exit codes:
  0  no problem
  1  a problem
  5  another process holds the database, or part of it that others wait for

Examples:
  membrane doctor
  membrane doctor --session session-0123
  membrane doctor --deep --json | jq '.checks[] | select(.status == \"problem\")'";

pub(crate) const CHECK_HELP: &str = "\
Looks at every page and row, and says for each theme how much it found. With --repair, what is
derived (totals, evidence, counts, indexes, views) is derived again from the turns. That is done in
one step, after a copy of the file is made beside it, and only if nobody else has the file open. What
is lost is named, and never invented.

Examples:
  membrane check || echo 'look at the lines above'
  membrane check --repair
  membrane check --repair --prune";

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look for this session, too: here, among the deleted, and in every other database that the
    /// configuration could have meant.
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Read everything: every index and every row.
    #[arg(long)]
    pub(crate) deep: bool,
    /// The address that the server should have (chat.server.addr).
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Put right what can be put right.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Remove what nothing reaches, too; it may hold somebody's words.
    #[arg(long, requires = "repair")]
    pub(crate) prune: bool,
}
