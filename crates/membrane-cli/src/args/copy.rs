//! Arguments of `copy`.

use clap::Args;

pub(super) const COPY_HELP: &str = "\
Copies all of a keep into another database: from an SQLite file to PostgreSQL, back, or to another of
the same kind. What the copy holds is read back at the end, and its hashes, one for each table, must
be those of the source.

The target must be empty: a new file, or a PostgreSQL database (make it with createdb) without rows of
a keep. Nothing is overwritten. A copy that is interrupted, by Ctrl-C or by anything else, can be used
for nothing until the same command has been run again and has finished it; it goes on from what is
there.

Stop servers on the source first: what they write after the copy has begun is not in it. The source
is only read. It must be of this version: membrane migrate brings an older one up to date.

Examples:
  membrane copy --from /var/lib/membrane/membrane.db --to postgresql://membrane@db.example/membrane
  membrane copy --from postgresql://membrane@db.example/membrane --to /srv/membrane/membrane.db
  membrane copy --from old.db --to new.db --json | jq .tables";

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The database to copy, in one of the forms of --database-url.
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// The empty database to copy into, in one of these forms; a file is made.
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
}
