//! Floors and Membrane side by side: each figure is a ratio of two measurements of one run, taken in turn.
//!
//! `cargo run --release -p membrane-bench` measures everything; `-- append load` only those parts;
//! `-- thresholds` tries sizes of the write-ahead log; `-- upgrade 1000000` upgrades a longer file than otherwise.
//! Files go to a fresh folder in the current one. For the parts over HTTP this program starts itself again as each of
//! the servers, for upgrades as each of the sides.
#![expect(clippy::print_stdout, reason = "printing figures is what this binary does")]

mod append;
mod cache;
mod constant;
mod disk;
mod floor;
mod http;
mod json;
mod keep;
mod list;
mod load;
mod measure;
mod models;
mod postgres;
mod report;
mod send;
mod upgrade;

use std::path::Path;

use http::child::{SERVE, serve};
use report::Report;

/// As in the binary that ships; the floors have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const PARTS: &[&str] = &[
    "append", "constant", "load", "list", "send", "models", "json", "upgrade", "postgres", "events", "cache",
];

fn main() -> Result<(), Failure> {
    let mut parts: Vec<String> = std::env::args().skip(1).collect();
    if let Some((_, server)) = parts.split_first().filter(|(first, _)| *first == SERVE) {
        return serve(server);
    }
    if let Some((_, side)) = parts.split_first().filter(|(first, _)| *first == upgrade::UPGRADE) {
        return upgrade::upgrade(side);
    }
    let n_turns = take_number(&mut parts).unwrap_or(upgrade::N_TURNS);
    if let Some(unknown) = parts.iter().find(|part| *part != "thresholds" && !PARTS.contains(&part.as_str()))
    {
        return Err(format!("{unknown:?} is no part; name any of: {}, thresholds", PARTS.join(", ")).into());
    }
    if parts.is_empty() {
        parts = PARTS.iter().map(ToString::to_string).collect();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("membrane-bench-").tempdir_in(".")?;
    let report = runtime.block_on(measure_parts(&parts, n_turns, folder.path()))?;
    if report.is_valid() { Ok(()) } else { Err("the run is invalid: see above".into()) }
}

/// Takes the number out that may stand behind `upgrade`.
fn take_number(parts: &mut Vec<String>) -> Option<usize> {
    let at = parts.iter().position(|part| part == "upgrade")? + 1;
    let number = parts.get(at)?.parse().ok()?;
    parts.remove(at);
    Some(number)
}

async fn measure_parts(parts: &[String], n_turns: usize, folder: &Path) -> Result<Report, Failure> {
    let mut report = Report::default();
    let syncs = disk::syncs_per_second(folder)?;
    report.note(format!("fdatasync of 4 KiB appends: {syncs:.0}/s"));
    for part in parts {
        match part.as_str() {
            "append" => append::measure(folder, syncs, &mut report).await?,
            "constant" => constant::measure(folder, &mut report).await?,
            "load" => load::measure(folder, &mut report).await?,
            "list" => list::measure(folder, &mut report).await?,
            "send" => send::measure(folder, &mut report).await?,
            "models" => models::measure(folder, &mut report).await?,
            "json" => json::measure(folder, &mut report).await?,
            "upgrade" => upgrade::measure(folder, n_turns, &mut report)?,
            "postgres" => postgres::measure(&mut report).await?,
            "cache" => cache::measure(folder, &mut report).await?,
            "events" => postgres::events::measure(&mut report).await?,
            _ => append::measure_thresholds(folder, &mut report).await?,
        }
    }
    Ok(report)
}
