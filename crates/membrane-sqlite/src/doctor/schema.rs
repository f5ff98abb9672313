//! Whose file it is, and whether its schema is the one that its migrations make.

use rusqlite::Connection;

use super::verdict::Check;
use crate::check::SchemaState;
use crate::migrations::MIGRATIONS;

const NAME: &str = "schema";

/// Looks at the schema; says whether a keep is in it that can be looked into.
pub(super) fn look(conn: &Connection, path: &str) -> (Vec<Check>, bool) {
    let state = match SchemaState::read(conn) {
        Ok(state) => state,
        Err(error) => {
            let remedy = "bring back a backup: membrane restore FILE";
            return (vec![Check::problem(NAME, format!("it cannot be read: {error}"), remedy)], false);
        }
    };
    if state.applied.is_empty() {
        return (vec![foreign(&state, path)], false);
    }
    let mut checks = vec![version(&state)];
    let lines = state.findings();
    if lines.is_empty() {
        checks.push(Check::ok("tables", "tables, views, triggers and indexes are all there"));
    } else {
        let lost = !state.missing_columns.is_empty()
            || state.missing.iter().any(|object| object.kind == "table" && object.name != "flipped_turns");
        let remedy = if lost {
            "what was in a table is gone with it; bring back a backup: membrane restore FILE"
        } else {
            "stop the server, then: membrane check --repair"
        };
        checks.push(Check::problem("tables", lines.join("; "), remedy));
    }
    if !state.foreign.is_empty() {
        let names: Vec<&str> = state.foreign.iter().map(|object| object.name.as_str()).collect();
        checks.push(Check::note(
            "tables",
            format!("tables of others beside Membrane's, left alone: {}", names.join(", ")),
        ));
    }
    (checks, true)
}

fn version(state: &SchemaState) -> Check {
    let known = MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0);
    let newest = state.applied.iter().map(|applied| applied.version).max().unwrap_or(0);
    if newest > known {
        let found = format!("version {newest} was written by a newer membrane; this one knows up to {known}");
        return Check::problem(
            NAME,
            found,
            "use that one, or bring back a backup from before: membrane restore FILE",
        );
    }
    for applied in &state.applied {
        let step = MIGRATIONS.iter().find(|step| step.version == applied.version);
        if let Some(step) = step.filter(|step| step.checksum() != applied.checksum) {
            let found = format!(
                "migration {} was applied with checksum {}, this binary has {}: a build that was never released wrote it",
                applied.version,
                applied.checksum,
                step.checksum()
            );
            let remedy = "use the build that wrote it, or bring back a backup: membrane restore FILE";
            return Check::problem(NAME, found, remedy);
        }
    }
    let missing: Vec<String> = MIGRATIONS
        .iter()
        .filter(|step| state.applied.iter().all(|applied| applied.version != step.version))
        .map(|step| step.version.to_string())
        .collect();
    if missing.is_empty() {
        return Check::ok(NAME, format!("version {newest}, the newest that this binary knows"));
    }
    let found =
        format!("version {newest}; {} will be applied by the next command that opens it", missing.join(", "));
    Check::note(NAME, found).with_remedy("do it apart, after a backup: membrane migrate")
}

/// A database that holds no keep: empty, kgents' own, or another's.
fn foreign(state: &SchemaState, path: &str) -> Check {
    let has = |name: &str| {
        state.foreign.iter().any(|object| object.kind == "table" && object.name.eq_ignore_ascii_case(name))
    };
    // Nothing was applied, so that every table counts as foreign.
    if has("chat_sessions") && has("chat_turns") {
        let found = "a file of kgents' first layout (chat_sessions, chat_turns): the next \"membrane serve\" or \
                     \"membrane migrate\" upgrades it, after a backup beside it";
        return Check::note(NAME, found).with_remedy("upgrade it now: membrane migrate");
    }
    if has("data") {
        let found = "a file of kgents' Universe layout (table data): it is not upgraded but read into a keep";
        return Check::problem(NAME, found, format!("membrane --database-url KEEP import kgents {path}"));
    }
    if state.foreign.is_empty() {
        return Check::problem(
            NAME,
            "a database without any table: no keep was made in it",
            "membrane migrate",
        );
    }
    let names: Vec<&str> = state.foreign.iter().take(10).map(|object| object.name.as_str()).collect();
    let found = format!("no keep, and tables of another make: {}", names.join(", "));
    Check::problem(NAME, found, "name another file with --database-url")
}
