//! `feedback`, `delete`, and what concerns the whole keep: `migrate` and `check`.

use membrane::StoreStats;
use membrane_http::wire;
use serde_json::{Value, json};

use super::check::figures;
use super::{Keep, session_id, upgraded};
use crate::args::Feedback;
use crate::config::{Database, Settings};
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{MigrationStatus, Upgrade};
use crate::{old_source, text, wiring};

pub(super) async fn feedback(keep: &Keep, args: Feedback, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(&args.id)?;
    let result = keep.chat.feedback(&id, args.turn, args.signal.into(), args.comment, None).await?;
    if output.is_json() {
        return output.document(&wire::FeedbackView {
            turn_number: result.turn.number,
            signals: wire::signals(&result.turn.signals),
            evidence: wire::EvidenceView(&result.session),
        });
    }
    output.line(&format!(
        "evidence of {} is {:.2} now",
        text::printable(&args.id),
        result.session.evidence().confidence()
    ))
}

pub(super) async fn delete(keep: &Keep, id: &str, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(id)?;
    keep.chat.delete_session(&id).await?;
    if output.is_json() {
        return output.document(&json!({"deleted": id.as_str()}));
    }
    output.line(&format!("deleted {}", text::printable(id.as_str())))
}

/// Says what a check of a keep in memory or on a server found; a file is checked in `check.rs`.
pub(super) fn checked(
    (findings, stats): (Vec<String>, StoreStats),
    database: &Database,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        output.document(
            &json!({"ok": findings.is_empty(), "findings": findings, "checks": [], "stats": figures(&stats)}),
        )?;
    } else {
        findings.iter().try_for_each(|finding| output.line(&text::printable(finding)))?;
    }
    if findings.is_empty() {
        if !output.is_json() {
            output.line(&format!(
                "nothing contradicts: {}, {} stored once each",
                text::count(stats.sessions, "session"),
                text::count(stats.turns_stored, "turn"),
            ))?;
        }
        return Ok(());
    }
    let found = text::count(u64::try_from(findings.len()).unwrap_or(u64::MAX), "finding");
    let what = match database {
        Database::Postgres(_) => format!(
            "{found}; report the lines above; what is lost comes back from a dump: pg_restore --clean --if-exists \
             --dbname=URL FILE"
        ),
        _ => format!("{found}; report the lines above"),
    };
    Err(Failure::failed("inconsistent", what))
}

pub(super) async fn migrated(
    settings: &Settings,
    upgrade: Option<&Upgrade>,
    output: &mut Output,
) -> Result<(), Failure> {
    let database = &settings.database;
    if *database == Database::Memory {
        if output.is_json() {
            return output.document(&json!({"migrations": []}));
        }
        return output.note("memory: has no schema; there is nothing to do");
    }
    if let Database::Sqlite(path) = database
        && old_source::holds_documents(path)?
    {
        output.note(&format!(
            "the file also holds documents of kgents (table data), which are not in the keep; \
             take them in with: membrane import kgents {}",
            path.display()
        ))?;
    }
    let Some(upgrade) = upgrade else { return migration_status(settings, output).await };
    if output.is_json() {
        let steps = wiring::migration_status(settings).await?;
        let upgrade = upgraded::document(upgrade);
        return output.document(&json!({"migrations": documents(&steps), "upgrade": upgrade}));
    }
    output.raw(&upgraded::text(upgrade))?;
    migration_status(settings, output).await
}

pub(super) async fn migration_status(settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let steps = wiring::migration_status(settings).await?;
    if output.is_json() {
        return output.document(&json!({"migrations": documents(&steps)}));
    }
    for step in steps {
        let applied = step.applied_at.map_or("not applied".to_owned(), |at| format!("applied {at}"));
        output.line(&format!("{}  {}  {applied}", step.version, step.name))?;
    }
    Ok(())
}

fn documents(steps: &[MigrationStatus]) -> Vec<Value> {
    let document = |step: &MigrationStatus| json!({"version": step.version, "name": step.name, "applied_at": step.applied_at});
    steps.iter().map(document).collect()
}

pub(super) fn print_schema(output: &mut Output) -> Result<(), Failure> {
    let sql = wiring::schema_sql();
    if output.is_json() {
        return output.document(&json!({"sql": sql}));
    }
    output.raw(&sql)
}
