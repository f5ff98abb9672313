//! Arguments of the commands that copy the whole keep, bring a copy back, and count what there is.

use std::path::PathBuf;

use clap::Args;

pub(super) const BACKUP_HELP: &str = "\
Others may go on writing: the backup is one moment of the database, as one plain file. Before it
has its name it is read back and compared with the database value by value, and checked as
\"membrane check\" does. A file that is there is never overwritten.

In a folder it is called NAME-YYYYMMDDTHHMMSSZ.db, by the time in UTC.
A PostgreSQL database is backed up with pg_dump.

Examples:
  membrane backup
  membrane backup --to /backup/membrane/ --keep 14
  membrane backup --to before-the-move.db --json | jq -r .sha256";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A new file, or a folder (one that is there, or a name that ends in /, which is made); by
    /// default the folder backups beside the database.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// When the new backup is verified, remove the oldest ones of this database in the folder, so
    /// that N are left. Only files with the names above are counted and removed; by default none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,
}

pub(super) const RESTORE_HELP: &str = "\
With one argument, the database becomes what the backup in FILE is. Nobody else may have it open:
stop servers first. The backup is proved before anything is changed, and the database that is there
is set aside beside it, as NAME-before-restore-YYYYMMDDTHHMMSSZ.db. A file of kgents' own is
restorable, too; it is upgraded when it is opened next.
A PostgreSQL database is restored with pg_restore.

With two, a session returns to one of its checkpoints; that can be undone.

Examples:
  membrane restore backups/membrane-20261124T155000Z.db
  membrane restore session-0123 ckpt-0123";

#[derive(Debug, Args)]
#[command(
    override_usage = "membrane restore [OPTIONS] <FILE>\n       membrane restore [OPTIONS] <ID> <CHECKPOINT>"
)]
pub(crate) struct Restore {
    /// A backup of the whole database; or, if a checkpoint follows, a session.
    #[arg(value_name = "FILE|ID")]
    pub(crate) what: PathBuf,
    /// One of the session's checkpoints; `membrane checkpoint ID --list` shows them.
    #[arg(value_name = "CHECKPOINT")]
    pub(crate) checkpoint: Option<String>,
}
