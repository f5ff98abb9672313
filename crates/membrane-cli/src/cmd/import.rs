//! `import`: what kgents left, session by session into the keep.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use membrane::store::kgents::{LoadError, LoadOptions, Report};
use membrane::{Chat, Clock, SystemClock};

use super::upgraded;
use crate::args::{Import, ImportKgents};
use crate::config::Settings;
use crate::failure::Failure;
use crate::old_source::{self, OldSource};
use crate::output::Output;
use crate::wiring::{self, Missing, Opened, UpgradeOptions};
use crate::{old_report, zone};

/// How often the line about the progress is written anew.
const STEP: Duration = Duration::from_millis(200);

pub(super) async fn import(settings: &Settings, args: Import, output: &mut Output) -> Result<(), Failure> {
    let Import::Kgents(args) = args;
    let zone = zone::naive(args.naive_timezone.as_deref())?;
    let options = LoadOptions { naive_zone: zone.clone(), now: SystemClock.now() };
    let progress = Progress::new(output);
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
    progress.clear();
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

/// A line on a terminal's standard error that says how far it is.
#[derive(Clone)]
struct Progress {
    is_shown: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Progress {
    fn new(output: &Output) -> Self {
        let is_shown = !output.is_json() && std::io::stderr().is_terminal();
        Self { is_shown, start: Instant::now(), last: None }
    }

    fn rows(&mut self, rows: u64) {
        self.say(&format!("{rows} rows looked at"));
    }

    fn report(&mut self, report: &Report) {
        let sessions = report.sessions_created + report.sessions_extended + report.sessions_unchanged;
        let turns = report.turns_written;
        let micros = self.start.elapsed().as_micros().max(1);
        let per_second = u128::from(turns) * 1_000_000 / micros;
        self.say(&format!("{sessions} sessions, {turns} turns, {per_second} turns/s"));
    }

    fn say(&mut self, line: &str) {
        if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= STEP) {
            self.last = Some(Instant::now());
            write(&format!("\r\u{1b}[K{line}"));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            write("\r\u{1b}[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // A terminal that has gone needs no progress.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
