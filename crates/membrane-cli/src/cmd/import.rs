//! `import`: what kgents left, session by session into the keep.

use membrane::store::kgents::{LoadError, LoadOptions, Report};
use membrane::{Chat, Clock, SystemClock};

use super::progress::ProgressLine;
use super::upgraded;
use crate::args::{Import, ImportKgents};
use crate::config::Settings;
use crate::failure::Failure;
use crate::old_source::{self, OldSource};
use crate::output::Output;
use crate::wiring::{self, Missing, Opened, UpgradeOptions};
use crate::{old_report, zone};

pub(super) async fn import(settings: &Settings, args: Import, output: &mut Output) -> Result<(), Failure> {
    let Import::Kgents(args) = args;
    let zone = zone::naive(args.naive_timezone.as_deref())?;
    let options = LoadOptions { naive_zone: zone.clone(), now: SystemClock.now() };
    let progress = Progress(ProgressLine::new(output));
    // A file that cannot be read makes no keep.
    let mut looking = progress.clone();
    let source = old_source::open(&args.file, &mut |rows| looking.rows(rows))?;
    let (format, n_others) = (source.format, source.n_other_rows);
    let report = if args.dry_run {
        let folder = tempfile::tempdir().map_err(|error| Failure::io("make a temporary folder", &error))?;
        let store = wiring::open_throwaway(&folder.path().join("membrane.db")).await?;
        let report = load(&Chat::create(store), source, options, progress).await;
        folder.close().map_err(|error| Failure::io("remove the temporary folder", &error))?;
        report?
    } else {
        let old_files = UpgradeOptions { naive_zone: zone.clone(), force: false };
        let Opened { store, upgrade } = wiring::open(settings, Missing::Create, old_files).await?;
        if let Some(upgrade) = upgrade {
            upgraded::note(&upgrade, output)?;
        }
        load(&Chat::create(store), source, options, progress).await?
    };
    if output.is_json() {
        let mut document = old_report::document(&report);
        document.insert("format".to_owned(), format.into());
        document.insert("other_rows".to_owned(), n_others.into());
        document.insert("naive_timezone".to_owned(), zone::name(&zone).into());
        document.insert("dry_run".to_owned(), args.dry_run.into());
        output.document(&document)?;
    } else {
        print(&args, &report, n_others, output)?;
    }
    old_report::verify(&report)
}

fn print(args: &ImportKgents, report: &Report, n_others: u64, output: &mut Output) -> Result<(), Failure> {
    output.raw(&old_report::text(report))?;
    if n_others > 0 {
        output.line(&format!("rows of other schemas, which are not the chat's: {n_others}"))?;
    }
    if args.dry_run {
        output.note("nothing was kept; leave out --dry-run to import")?;
    }
    Ok(())
}

async fn load(
    chat: &Chat,
    source: OldSource,
    options: LoadOptions,
    progress: Progress,
) -> Result<Report, Failure> {
    let mut watched = progress.clone();
    let loaded = chat.import(source.source, options, Box::new(move |report| watched.report(report))).await;
    progress.0.clear();
    let closed = chat.close().await;
    let report = loaded.map_err(failure)?;
    closed?;
    Ok(report)
}

fn failure(error: LoadError) -> Failure {
    let again = "what was written is kept, and importing again goes on from there";
    match error {
        LoadError::Source(error) => old_source::failure(&error),
        LoadError::Sink { what, source } => Failure::from(source).at(&what).after(again),
    }
}

/// How far it is.
#[derive(Clone)]
struct Progress(ProgressLine);

impl Progress {
    fn rows(&mut self, rows: u64) {
        self.0.say(rows, |_| format!("{rows} rows looked at"));
    }

    fn report(&mut self, report: &Report) {
        let sessions = report.sessions_created + report.sessions_extended + report.sessions_unchanged;
        let turns = report.turns_written;
        self.0.say(turns, |per_second| format!("{sessions} sessions, {turns} turns, {per_second} turns/s"));
    }
}
