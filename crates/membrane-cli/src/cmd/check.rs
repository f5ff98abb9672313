//! `check` and `check --repair`.

use std::path::Path;

use membrane::{Clock, StoreStats, SystemClock};
use serde_json::{Value as Json, json};

use super::doctor::{Holders, holders};
use crate::args::Check;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text;
use crate::wiring::{self, CheckReport, RepairError, RepairOptions, Repaired, Theme};

/// Checks a file, and puts it right if that is asked for.
pub(super) fn check(path: &Path, args: &Check, output: &mut Output) -> Result<(), Failure> {
    wiring::expect_file(path)?;
    if args.repair { repair(path, args, output) } else { look(path, output) }
}

fn look(path: &Path, output: &mut Output) -> Result<(), Failure> {
    let (report, stats) = wiring::check(path)?;
    if output.is_json() {
        output.document(&json!({
            "ok": report.is_clean(),
            "findings": report.lines(),
            "checks": themes(&report),
            "stats": stats.as_ref().map(figures),
        }))?;
    } else {
        show(&report, output)?;
        if let (true, Some(stats)) = (report.is_clean(), &stats) {
            output.line(&format!(
                "nothing contradicts: {}, {} stored once each",
                text::count(stats.sessions, "session"),
                text::count(stats.turns_stored, "turn"),
            ))?;
        }
    }
    if report.is_clean() {
        return Ok(());
    }
    let found = text::count(u64::try_from(report.findings.len()).unwrap_or(u64::MAX), "finding");
    Err(Failure::failed(
        "inconsistent",
        format!(
            "{found}; stop the server, then put right what can be put right with \"membrane check --repair\""
        ),
    ))
}

fn repair(path: &Path, args: &Check, output: &mut Output) -> Result<(), Failure> {
    let options = RepairOptions { prune: args.prune, now: SystemClock.now() };
    let repaired = wiring::repair(path, options).map_err(|error| failure(path, &error))?;
    if output.is_json() {
        output.document(&json!({
            "ok": repaired.after.is_clean(),
            "copy": repaired.copy.as_ref().map(|copy| copy.display().to_string()),
            "repaired": repaired.done,
            "lost": repaired.lost,
            "left": repaired.left,
            "before": repaired.before.lines(),
            "findings": repaired.after.lines(),
            "checks": themes(&repaired.after),
        }))?;
    } else {
        tell(&repaired, output)?;
    }
    if repaired.after.is_clean() {
        return Ok(());
    }
    let found = text::count(u64::try_from(repaired.after.findings.len()).unwrap_or(u64::MAX), "finding");
    let what = if repaired.lost.is_empty() {
        format!("{found} cannot be put right in this way; see the lines above")
    } else {
        format!(
            "{found} cannot be put right, for something is lost; bring back a backup: membrane restore FILE"
        )
    };
    Err(Failure::failed("inconsistent", what))
}

fn tell(repaired: &Repaired, output: &mut Output) -> Result<(), Failure> {
    show(&repaired.before, output)?;
    if let Some(copy) = &repaired.copy {
        output.line(&format!(
            "before anything was changed, it was copied to {}",
            text::printable(&copy.display().to_string())
        ))?;
    }
    let lines = [("repaired", &repaired.done), ("lost", &repaired.lost), ("left", &repaired.left)];
    for (word, lines) in lines {
        for line in lines {
            output.line(&format!("{word}: {}", text::printable(line)))?;
        }
    }
    output.line(&match (repaired.after.findings.len(), repaired.done.is_empty()) {
        (0, true) => "nothing contradicts; nothing was changed".to_owned(),
        (0, false) => "nothing contradicts any more".to_owned(),
        (left, true) => format!("nothing was changed; {left} found"),
        (left, false) => format!("{left} found after the repair"),
    })
}

/// A line for each theme, and under it what was found.
fn show(report: &CheckReport, output: &mut Output) -> Result<(), Failure> {
    for theme in Theme::ALL {
        let count = report.count(theme);
        let found = if count == 0 { "ok".to_owned() } else { format!("{count} found") };
        output.line(&format!("{found:<9}  {:<11}  {}", theme.as_str(), theme.about()))?;
        for finding in report.findings.iter().filter(|finding| finding.theme == theme) {
            output.line(&format!("           {}", text::printable(&finding.what)))?;
        }
    }
    Ok(())
}

fn themes(report: &CheckReport) -> Vec<Json> {
    let theme = |theme: &Theme| json!({"name": theme.as_str(), "about": theme.about(), "found": report.count(*theme)});
    Theme::ALL.iter().map(theme).collect()
}

pub(super) fn figures(stats: &StoreStats) -> Json {
    json!({
        "sessions": stats.sessions,
        "turns_shown": stats.turns_shown,
        "turns_stored": stats.turns_stored,
        "histories": stats.histories,
        "slices": stats.slices,
        "runs": stats.runs,
        "bytes": stats.bytes,
    })
}

/// Says who has the file open.
fn failure(path: &Path, error: &RepairError) -> Failure {
    match error {
        RepairError::InUse { .. } => {
            let holders: Holders = holders(path);
            let who = holders.in_words(false);
            let who = if who.is_empty() { format!("find who it is: lsof {}*", path.display()) } else { who };
            Failure::unavailable(format!("{error}: {who}"))
        }
        RepairError::Store(membrane::StoreError::StorageFull) => {
            Failure::caused(Exit::Unavailable, "storage_full", error)
        }
        error => Failure::caused(Exit::Failure, "failed", error),
    }
}
