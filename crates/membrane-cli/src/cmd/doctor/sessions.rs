//! `--session ID`: where a session is that was saved and not found.

use super::run::{Check, Look};
use crate::config::{self, Database, Flags};
use crate::text::quoted;
use crate::wiring::{self, SessionTrace};

const NAME: &str = "session";

/// Looks for it here, as `here` found it, and then everywhere else.
pub(super) async fn look(
    id: &str,
    here: Option<SessionTrace>,
    used: Option<&Database>,
    flags: Flags<'_>,
    found: &mut Look,
) {
    let shown = crate::text::printable(id);
    match here {
        Some(SessionTrace::Here(turns)) => {
            return found.add(Check::ok(NAME, format!("{shown} is in this database, with {turns} turns")));
        }
        Some(SessionTrace::Deleted(at)) => {
            let what = format!("{shown} was in this database and was deleted at {at}");
            return found.add(Check::problem(NAME, what, only_from_before(used)));
        }
        Some(SessionTrace::Similar(similar)) => {
            let names: Vec<String> = similar.iter().map(|id| quoted(id)).collect();
            let what =
                format!("{shown} is not here, but {} differs by case or blanks alone", names.join(", "));
            return found.add(Check::problem(NAME, what, format!("membrane show {}", names[0])));
        }
        Some(SessionTrace::InUniverse) => {
            let what = format!("{shown} is in this file, which has kgents' Universe layout");
            let path = used.map_or_else(String::new, name_of);
            let remedy = format!("membrane --database-url KEEP import kgents {path}");
            return found.add(Check::problem(NAME, what, remedy));
        }
        _ => {}
    }
    let mut looked = Vec::new();
    for candidate in config::candidates(flags) {
        let Ok(other) = candidate.database else { continue };
        if used.is_some_and(|used| is_same(used, &other)) {
            continue;
        }
        let name = name_of(&other);
        let (trace, is_there) = match &other {
            Database::Sqlite(path) => (wiring::trace_session(path, id), path.exists()),
            Database::Postgres(url) => (wiring::trace_postgres_session(url, id).await, true),
            Database::Memory => continue,
        };
        let remedy = match trace {
            SessionTrace::Here(_) => format!("membrane --database-url {name} show {}", quoted(id)),
            SessionTrace::InUniverse => format!("membrane import kgents {name}"),
            SessionTrace::Deleted(at) => {
                let what = format!("{shown} was in {name} ({}) and was deleted at {at}", candidate.place);
                return found.add(Check::problem(NAME, what, only_from_before(Some(&other))));
            }
            SessionTrace::Unreadable(why) => {
                looked.push(format!("{name} cannot be looked into: {why}"));
                continue;
            }
            _ => {
                if is_there {
                    looked.push(name);
                }
                continue;
            }
        };
        let what = format!("{shown} is not in this database but in {name} ({})", candidate.place);
        return found.add(Check::problem(NAME, what, remedy));
    }
    let looked = if looked.is_empty() { String::new() } else { format!(", nor in {}", looked.join(", ")) };
    let what = if here_unreadable(found) {
        format!("this database cannot be looked into for {shown}{looked}")
    } else {
        format!(
            "{shown} is not in this database{looked}; if it was deleted, nothing tells, for none of its family lives"
        )
    };
    found.add(Check::problem(NAME, what, "compare the id with those that are there: membrane sessions"));
}

/// Whether both are one database.
fn is_same(one: &Database, other: &Database) -> bool {
    match (one, other) {
        (Database::Sqlite(one), Database::Sqlite(other)) => {
            one == other
                || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        _ => one == other,
    }
}

/// As it is typed, but for a password.
fn name_of(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => quoted(&path.display().to_string()),
        other => quoted(&other.shown()),
    }
}

/// How what was deleted comes back.
fn only_from_before(database: Option<&Database>) -> &'static str {
    match database {
        Some(Database::Postgres(_)) => {
            "only a dump from before has it; bring that back beside this one with pg_restore"
        }
        _ => "only a backup from before has it: membrane restore FILE",
    }
}

/// Whether nothing could be said of the database itself.
fn here_unreadable(found: &Look) -> bool {
    !found.has("sessions")
}
