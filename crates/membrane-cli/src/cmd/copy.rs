//! `copy`: a whole keep into another database.

use membrane::store::transfer::{self, CopyReport, Phase, Progress};
use membrane::{Clock, SystemClock};
use serde_json::json;

use super::progress::ProgressLine;
use crate::args::Copy;
use crate::config::{self, Database, Flags};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;
use crate::wiring;

pub(super) async fn copy(flags: Flags<'_>, args: &Copy, output: &mut Output) -> Result<(), Failure> {
    if flags.database_url.is_some() {
        return Err(Failure::usage(
            "copy is told both databases by --from and --to; leave out --database-url",
        ));
    }
    let (from, to) = (Database::named(&args.from, "--from")?, Database::named(&args.to, "--to")?);
    let (settings, _) = config::load(Flags { database_url: Some(&args.from), ..flags })?;
    let (mut source, mut target) = wiring::open_copy(&from, &to, &settings).await?;
    let name = wiring::name_of_copied(&from);
    let (mut line, mut phase) = (ProgressLine::new(output), None);
    let mut watch = |progress: Progress| {
        if phase.replace(progress.phase) != Some(progress.phase) {
            line.restart();
        }
        line.say(progress.rows, |per_second| shown(progress, per_second));
    };
    let copied = transfer::copy(source.as_mut(), target.as_mut(), &name, SystemClock.now(), &mut watch).await;
    line.clear();
    let report = copied.map_err(|error| Failure::of_copy(&error, &from.shown(), &to.shown()))?;
    if output.is_json() {
        output.document(&json!({
            "from": from.shown(),
            "to": to.shown(),
            "resumed": report.resumed,
            "rows": report.rows(),
            "written": report.written,
            "outdated": report.outdated,
            "tables": report.tables.iter().map(|table| json!({
                "name": table.name,
                "rows": table.rows,
                "sha256": table.sha256,
            })).collect::<Vec<_>>(),
        }))
    } else {
        print(&report, &from, &to, output)
    }
}

fn shown(progress: Progress, per_second: u128) -> String {
    let Progress { phase, table, rows, of } = progress;
    let doing = match phase {
        Phase::Comparing => "comparing what an interrupted copy left",
        Phase::Copying => "copying",
        Phase::Verifying => "verifying",
    };
    format!("{doing}: {rows} of {of} rows ({table}), {per_second} rows/s")
}

fn print(report: &CopyReport, from: &Database, to: &Database, output: &mut Output) -> Result<(), Failure> {
    if report.resumed {
        output.line(&format!(
            "an interrupted copy was finished: {} written now, {} of it were outdated",
            text::count(report.written, "row"),
            report.outdated
        ))?;
    }
    output.line(&format!(
        "copied: {}, {} from {} to {}",
        text::count(report.rows_of("chat_sessions"), "session"),
        text::count(report.rows_of("turns"), "turn"),
        text::printable(&from.shown()),
        text::printable(&to.shown())
    ))?;
    output.line(&format!(
        "verified: {} were read back, and their hashes are those of the source",
        text::count(report.rows(), "row")
    ))?;
    for table in report.tables.iter().filter(|table| table.rows > 0) {
        output.line(&format!("{}  {}: {}", table.sha256, table.name, text::count(table.rows, "row")))?;
    }
    Ok(())
}
