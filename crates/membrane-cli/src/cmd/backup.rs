//! `backup`, and `restore` of a whole database.

use std::path::Path;

use membrane_sqlite::backup::{Contents, Make};
use serde_json::{Value, json};

use crate::args::Backup;
use crate::config::{Database, Settings};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;
use crate::wiring::{self, BackedUp};

/// How many findings are shown to people; "membrane check" shows all.
const MAX_FINDINGS: usize = 20;

pub(super) fn backup(settings: &Settings, args: &Backup, output: &mut Output) -> Result<(), Failure> {
    let BackedUp { made, removed } = wiring::back_up(settings, args.to.as_deref(), args.keep)?;
    let findings = &made.contents.findings;
    if output.is_json() {
        let mut document = json!({
            "path": raw(&made.path),
            "bytes": made.bytes,
            "sha256": made.sha256,
            "verified": {"tables": made.tables, "rows": made.rows},
            "findings": findings,
            "removed": removed.iter().map(|path| raw(path)).collect::<Vec<_>>(),
        });
        describe(&mut document, &made.contents);
        output.document(&document)?;
    } else {
        output.line(&format!(
            "{}: {}, {}",
            text::path(&made.path),
            held(&made.contents),
            text::bytes(made.bytes)
        ))?;
        let rows = text::count(made.rows, "row");
        let tables = text::count(made.tables, "table");
        output.line(&format!("verified: {rows} in {tables} are those of the database, value by value"))?;
        output.line(&format!("sha256: {}", made.sha256))?;
        for path in &removed {
            output.line(&format!("removed: {}", text::path(path)))?;
        }
        for finding in findings.iter().take(MAX_FINDINGS) {
            output.line(&text::printable(finding))?;
        }
        if findings.len() > MAX_FINDINGS {
            output.line(&format!("and {} more", findings.len() - MAX_FINDINGS))?;
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(
        "inconsistent",
        format!(
            "the backup is made, but the database contradicts itself in {} rows or more, and so does the backup; no \
             older one was removed: see \"membrane check\"",
            findings.len()
        ),
    ))
}

pub(super) fn restore(settings: &Settings, file: &Path, output: &mut Output) -> Result<(), Failure> {
    // What can be restored at all is told first, below.
    if !file.exists() && !matches!(settings.database, Database::Postgres(_)) {
        return Err(missing(file));
    }
    let restored = wiring::restore(settings, file)?;
    let aside = restored.aside.as_ref();
    if output.is_json() {
        let mut document = json!({
            "path": raw(&restored.path),
            "bytes": restored.bytes,
            "from": raw(file),
            "set_aside": aside.map(|aside| raw(&aside.path)),
            "set_aside_damage": aside.and_then(|aside| aside.damage.as_deref()),
        });
        describe(&mut document, &restored.contents);
        return output.document(&document);
    }
    if let Some(aside) = aside {
        let how = match &aside.damage {
            None => "a verified backup".to_owned(),
            Some(damage) => format!("as it is, for it is damaged: {}", text::printable(damage)),
        };
        output.line(&format!("set aside: {} ({how})", text::path(&aside.path)))?;
    }
    output.line(&format!(
        "restored: {}: {}, from {}",
        text::path(&restored.path),
        held(&restored.contents),
        text::path(file)
    ))?;
    if restored.contents.needs_upgrade {
        output.line("its schema is not up to date: it is upgraded when it is opened next")?;
    }
    Ok(())
}

/// As scripts need it.
fn raw(path: &Path) -> String {
    path.display().to_string()
}

/// A name that is no file's may be meant as a session's.
fn missing(file: &Path) -> Failure {
    let name = text::path(file);
    let advice = if name.starts_with("session-") {
        format!(
            "to return the session to a checkpoint, name that too: \"membrane restore {name} CHECKPOINT\""
        )
    } else {
        "name a backup, or a session and one of its checkpoints".to_owned()
    };
    Failure::not_found(format!("there is no file {name}; {advice}"))
}

fn describe(document: &mut Value, contents: &Contents) {
    document["kind"] = json!(match contents.make {
        Make::Keep => "membrane",
        Make::Kgents => "kgents",
    });
    document["sessions"] = json!(contents.sessions);
    document["turns"] = json!(contents.turns);
    document["needs_upgrade"] = json!(contents.needs_upgrade);
}

fn held(contents: &Contents) -> String {
    let kind = match contents.make {
        Make::Keep => "",
        Make::Kgents => " of kgents'",
    };
    format!("{}{kind}, {}", text::count(contents.sessions, "session"), text::count(contents.turns, "turn"))
}
