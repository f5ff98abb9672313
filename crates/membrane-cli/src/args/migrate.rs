//! Arguments of `migrate`.

use clap::Args;

pub(super) const MIGRATE_HELP: &str = "\
Every command does this when it opens the database; here it can be done apart.

A kgents V1 file is upgraded where it is, all of it or nothing, after a verified copy beside it whose
name is printed. What cannot be understood is kept word for word in the table legacy_rows and said in
the report. Tables of others stay as they are. V1's tables in a PostgreSQL database are upgraded in the
same way; they are kept as they were in a schema of their own, whose name is printed. Times without a
zone are read in that of --naive-timezone: a name like Europe/Berlin, UTC, or an offset like +02:00;
the system's by default.

Examples:
  membrane migrate --status
  membrane migrate --database-url old.db --naive-timezone Europe/Berlin
  membrane migrate --print-sql > schema.sql";

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Only say which steps are applied; change nothing.
    #[arg(long, conflicts_with = "print_sql")]
    pub(crate) status: bool,
    /// Only print the schema; open nothing.
    #[arg(long)]
    pub(crate) print_sql: bool,
    /// Upgrade V1's tables though something of others will stop working: a table that refers to turns,
    /// a trigger on one of them, in PostgreSQL a view of them, too.
    #[arg(long)]
    pub(crate) force: bool,
    /// The zone of V1's times, which name none; the system's by default.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) naive_timezone: Option<String>,
}
