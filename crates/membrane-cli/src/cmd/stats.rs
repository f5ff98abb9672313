//! `stats`: how much there is, and how it grew.

use membrane::store::StoreStats;
use membrane::store::stats::Begun;
use serde_json::{Value, json};

use super::Keep;
use crate::config::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{bytes, count};

pub(super) async fn stats(keep: &Keep, database: &Database, output: &mut Output) -> Result<(), Failure> {
    let stats = keep.chat.stats().await?;
    if output.is_json() {
        return output.document(&document(&stats));
    }
    let mut line = |name: &str, value: String| output.line(&format!("{name:<13} {value}"));
    line("sessions", stats.sessions.to_string())?;
    line("turns", format!("{} shown, {} stored", stats.turns_shown, stats.turns_stored))?;
    line(
        "text",
        format!("{} shown, {} stored", bytes(stats.text_bytes_shown), bytes(stats.text_bytes_stored)),
    )?;
    if let Some((saved, percent)) = saved(&stats) {
        line("", format!("sharing between forks saves {}, {percent:.1} %", bytes(saved)))?;
    }
    line("histories", format!("{} of {}", stats.histories, count(stats.slices, "slice")))?;
    line("checkpoints", stats.checkpoints.to_string())?;
    line("crystals", stats.crystals.to_string())?;
    line("under way", count(stats.runs, "turn"))?;
    let main = stats.bytes.saturating_sub(stats.log_bytes);
    if let Database::Postgres(_) = database {
        // Its log is the server's, for all its databases.
        line("database", format!("{} in tables and indexes", bytes(stats.bytes)))?;
    } else {
        line(
            "file",
            format!(
                "{}: {} main file, of which {} free, and {} log",
                bytes(stats.bytes),
                bytes(main),
                bytes(stats.free_bytes),
                bytes(stats.log_bytes),
            ),
        )?;
    }
    for (title, periods) in [("day (UTC)", &stats.growth.days), ("month", &stats.growth.months)] {
        if periods.is_empty() {
            continue;
        }
        output.line("")?;
        output.line(&format!("{title:<10}  {:>8}  {:>8}", "sessions", "turns"))?;
        for Begun { period, sessions, turns } in periods {
            output.line(&format!("{period:<10}  {sessions:>8}  {turns:>8}"))?;
        }
    }
    Ok(())
}

/// What is shown more than it is stored, in bytes and of a hundred; nothing if it is not.
fn saved(stats: &StoreStats) -> Option<(u64, f64)> {
    let saved = stats.text_bytes_shown.checked_sub(stats.text_bytes_stored).filter(|saved| *saved > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a share is shown to one digit")]
    let percent = saved as f64 * 100.0 / stats.text_bytes_shown as f64;
    Some((saved, percent))
}

fn document(stats: &StoreStats) -> Value {
    let (saved, percent) = saved(stats).unwrap_or((0, 0.0));
    let periods = |periods: &[Begun], name: &str| -> Vec<Value> {
        let row =
            |begun: &Begun| json!({name: begun.period, "sessions": begun.sessions, "turns": begun.turns});
        periods.iter().map(row).collect()
    };
    json!({
        "sessions": stats.sessions,
        "turns_shown": stats.turns_shown,
        "turns_stored": stats.turns_stored,
        "text_bytes_shown": stats.text_bytes_shown,
        "text_bytes_stored": stats.text_bytes_stored,
        "text_bytes_saved": saved,
        "text_percent_saved": (percent * 10.0).round() / 10.0,
        "histories": stats.histories,
        "slices": stats.slices,
        "checkpoints": stats.checkpoints,
        "crystals": stats.crystals,
        "runs": stats.runs,
        "file": {
            "bytes": stats.bytes,
            "main_bytes": stats.bytes.saturating_sub(stats.log_bytes),
            "log_bytes": stats.log_bytes,
            "free_bytes": stats.free_bytes,
        },
        "days": periods(&stats.growth.days, "day"),
        "months": periods(&stats.growth.months, "month"),
    })
}
