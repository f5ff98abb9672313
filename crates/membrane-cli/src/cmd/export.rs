//! `export`: the keep as a file of another form.

use membrane::StoreError;
use membrane_sqlite::export::{ExportError, ExportOptions, ExportReport, LeftOut, Selection, export_v1};
use serde_json::{Map, Value, json};

use super::{Keep, session_id};
use crate::args::{Export, Format};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{signals, text, zone};

pub(super) async fn export(keep: &Keep, args: Export, output: &mut Output) -> Result<(), Failure> {
    let Format::KgentsV1 = args.format;
    let naive_zone = zone::naive(args.naive_timezone.as_deref())?;
    let zone = zone::name(&naive_zone);
    let selection = match (args.project, args.sessions) {
        (Some(project), _) => Selection::Project(project),
        (None, ids) if ids.is_empty() => Selection::All,
        (None, ids) => {
            Selection::Sessions(ids.iter().map(|id| session_id(id)).collect::<Result<_, Failure>>()?)
        }
    };
    let stopped = signals::listen()?;
    let options = ExportOptions { naive_zone, selection };
    let report = tokio::select! {
        report = export_v1(&*keep.store, &args.out, options) => report.map_err(failure)?,
        () = stopped.at_least(1) => {
            return Err(Failure::failed("cancelled", "the export was stopped; nothing is left of it"));
        }
    };
    let out = args.out.to_string_lossy();
    if output.is_json() {
        return output.document(&document(&out, &zone, &report));
    }
    output.line(&format!(
        "{}: {}, {}, {}, {}",
        text::printable(&out),
        text::count(report.sessions, "session"),
        text::count(report.turns, "turn"),
        text::count(report.checkpoints, "checkpoint"),
        text::count(report.crystals, "crystal"),
    ))?;
    output.line(&format!("times are local, in the zone {}", text::printable(&zone)))?;
    if report.times_with_offset > 0 {
        let times = text::count(report.times_with_offset, "time");
        output.line(&format!("{times} with an offset from UTC, since a local time alone would not tell"))?;
    }
    for (n_left_out, _, what, why) in left_out(&report.left_out) {
        if n_left_out > 0 {
            output.line(&format!("left out: {}, {why}", text::count(n_left_out, what)))?;
        }
    }
    Ok(())
}

/// How many, under which key, of what, and why.
fn left_out(left_out: &LeftOut) -> [(u64, &'static str, &'static str, &'static str); 6] {
    [
        (left_out.runs, "unfinished_turns", "unfinished turn", "which stays in the keep"),
        (
            left_out.parents,
            "parents",
            "parent",
            "deleted or not in this file; the id is kept beside the evidence",
        ),
        (
            left_out.deleted_meanwhile,
            "deleted_meanwhile",
            "session",
            "deleted while the export was under way",
        ),
        (
            left_out.cut_checkpoints,
            "cut_checkpoints",
            "checkpoint end",
            "whose turns went with a deleted session",
        ),
        (
            left_out.huge_checkpoints,
            "huge_checkpoints",
            "checkpoint",
            "longer in full than a value of the file may be",
        ),
        (
            left_out.old_rows,
            "old_values",
            "old value",
            "of older files, without a place here; it stays in the keep",
        ),
    ]
}

fn document(out: &str, zone: &str, report: &ExportReport) -> Value {
    let left_out: Map<String, Value> = left_out(&report.left_out)
        .into_iter()
        .map(|(count, key, ..)| (key.to_owned(), count.into()))
        .collect();
    json!({
        "file": out,
        "format": "kgents-v1",
        "naive_timezone": zone,
        "sessions": report.sessions,
        "turns": report.turns,
        "checkpoints": report.checkpoints,
        "crystals": report.crystals,
        "bytes": report.bytes,
        "times_with_offset": report.times_with_offset,
        "left_out": left_out,
    })
}

fn failure(error: ExportError) -> Failure {
    match error {
        ExportError::Read(error) => error.into(),
        ExportError::Exists { .. } => Failure::caused(Exit::Conflict, "conflict", &error),
        ExportError::Write { source: StoreError::StorageFull, .. } => {
            Failure::caused(Exit::Unavailable, "storage_full", &error)
        }
        ExportError::Folder { .. } | ExportError::Write { .. } | ExportError::Damaged { .. } => {
            Failure::caused(Exit::Failure, "failed", &error)
        }
    }
}
