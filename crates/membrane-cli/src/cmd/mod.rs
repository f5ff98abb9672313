//! The commands: each turns its arguments into one or two calls of the library and prints the answer.

mod append;
mod backup;
mod branching;
mod check;
mod checkpoints;
mod config;
mod copy;
mod doctor;
mod export;
mod housekeeping;
mod import;
mod keep;
mod lines;
mod progress;
mod reading;
mod serve;
mod stats;
mod upgraded;

use std::sync::Arc;

use clap::CommandFactory;
use membrane::{Chat, SessionId, Store};

use crate::args::{Cli, Command, Config, Migrate, Restore};
use crate::config::{self as configuration, Database, Flags, Settings};
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{self, Missing, Opened, Upgrade, UpgradeOptions};
use crate::zone;

/// An open keep.
struct Keep {
    chat: Chat,
    store: Arc<dyn Store>,
}

pub(crate) async fn run(cli: Cli, output: &mut Output) -> Result<(), Failure> {
    if let Command::Migrate(Migrate { print_sql: true, .. }) = cli.command {
        return keep::print_schema(output);
    }
    if let Command::Config(Config { keys: true, .. }) = cli.command {
        return config::keys(output);
    }
    let addr = match &cli.command {
        Command::Config(config) => config.server.addr.as_deref(),
        Command::Serve(serve) => serve.server.addr.as_deref(),
        Command::Doctor(doctor) => doctor.addr.as_deref(),
        _ => None,
    };
    let flags = Flags { database_url: cli.database_url.as_deref(), addr };
    if let Command::Doctor(args) = &cli.command {
        return doctor::doctor(flags, args, output).await;
    }
    if let Command::Copy(args) = &cli.command {
        return copy::copy(flags, args, output).await;
    }
    let (settings, report) = configuration::load(flags)?;
    if let Command::Config(_) = cli.command {
        return config::show(&report, output);
    }
    if let Command::Migrate(Migrate { status: true, .. }) = cli.command {
        return keep::migration_status(&settings, output).await;
    }
    if let (Command::Check(args), Database::Sqlite(path)) = (&cli.command, &settings.database) {
        return check::check(path, args, output);
    }
    if let (Command::Check(args), Database::Postgres(url)) = (&cli.command, &settings.database) {
        if args.repair {
            return Err(Failure::usage(format!(
                "check --repair works on files, and {url} is a PostgreSQL database; \"membrane check\" looks at it, \
                 and what is lost comes back from a dump, with pg_restore"
            )));
        }
        let found = wiring::check_postgres(url, &settings.postgres).await?;
        return keep::checked(found, &settings.database, output);
    }
    if let Command::Serve(args) = &cli.command {
        return serve::serve(&settings, args, output).await;
    }
    if let Command::Backup(args) = &cli.command {
        return backup::backup(&settings, args, output);
    }
    if let Command::Restore(Restore { what, checkpoint: None }) = &cli.command {
        return backup::restore(&settings, what, output);
    }
    if let Command::Import(args) = cli.command {
        return import::import(&settings, args, output).await;
    }
    let missing = match &cli.command {
        Command::Migrate(_) => Missing::Create,
        Command::Append(append) if append.new => Missing::Create,
        _ => Missing::Refuse,
    };
    let old_files = match &cli.command {
        Command::Migrate(args) => {
            UpgradeOptions { naive_zone: zone::naive(args.naive_timezone.as_deref())?, force: args.force }
        }
        _ => UpgradeOptions::default(),
    };
    let Opened { store, upgrade } = wiring::open(&settings, missing, old_files).await?;
    if let (Some(upgrade), false) = (&upgrade, matches!(cli.command, Command::Migrate(_))) {
        upgraded::note(upgrade, output)?;
    }
    let chat = Chat::builder(Arc::clone(&store)).limits(settings.limits).build();
    let keep = Keep { chat, store };
    let ended = dispatch(&keep, &settings, upgrade.as_ref(), cli.command, output).await;
    let closed = keep.chat.close().await.map_err(Failure::from);
    ended.and(closed)
}

async fn dispatch(
    keep: &Keep,
    settings: &Settings,
    upgrade: Option<&Upgrade>,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Sessions(args) => reading::sessions(keep, args, output).await,
        Command::Show(args) => reading::show(keep, &args, output).await,
        Command::Append(args) => append::append(keep, args, output).await,
        Command::Fork(args) => branching::fork(keep, args, output).await,
        Command::Rewind(args) => branching::rewind(keep, &args, output).await,
        Command::Merge(args) => branching::merge(keep, args, output).await,
        Command::Diff { left, right } => branching::diff(keep, &left, &right, output).await,
        Command::Branches { id } => branching::branches(keep, &id, output).await,
        Command::Checkpoint(args) => checkpoints::checkpoint(keep, args, output).await,
        Command::Restore(args) => checkpoints::restore(keep, args, output).await,
        Command::Feedback(args) => keep::feedback(keep, args, output).await,
        Command::Delete { id } => keep::delete(keep, &id, output).await,
        Command::Export(args) => export::export(keep, args, output).await,
        Command::Migrate(_) => keep::migrated(settings, upgrade, output).await,
        Command::Check(_) => {
            let found = (keep.chat.check().await?, keep.chat.stats().await?);
            keep::checked(found, &settings.database, output)
        }
        Command::Stats => stats::stats(keep, &settings.database, output).await,
        // These need no keep, and were done before it was opened.
        Command::Backup(_)
        | Command::Config(_)
        | Command::Copy(_)
        | Command::Doctor(_)
        | Command::Serve(_)
        | Command::Import(_) => Ok(()),
        Command::Completions { shell } => completions(shell, output),
    }
}

pub(crate) fn completions(shell: clap_complete::Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "membrane", &mut script);
    output.raw(&String::from_utf8_lossy(&script))
}

fn session_id(text: &str) -> Result<SessionId, Failure> {
    Ok(SessionId::parse(text)?)
}

fn not_found(id: &SessionId) -> Failure {
    membrane::ChatError::NotFound { subject: membrane::Subject::Session, id: id.to_string() }.into()
}
