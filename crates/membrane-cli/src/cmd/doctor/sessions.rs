//! `--session ID`: where a session is that was saved and not found.

use std::path::Path;

use super::run::{Check, Look};
use crate::config::{self, Database, Flags};
use crate::text::quoted;
use crate::wiring::{self, SessionTrace};

const NAME: &str = "session";

/// Looks for it here, as `here` found it, and then everywhere else.
pub(super) fn look(id: &str, here: Option<SessionTrace>, path: &Path, flags: Flags<'_>, found: &mut Look) {
    let shown = crate::text::printable(id);
    match here {
        Some(SessionTrace::Here(turns)) => {
            return found.add(Check::ok(NAME, format!("{shown} is in this database, with {turns} turns")));
        }
        Some(SessionTrace::Deleted(at)) => {
            let what = format!("{shown} was in this database and was deleted at {at}");
            let remedy = "only a backup from before has it: membrane restore FILE";
            return found.add(Check::problem(NAME, what, remedy));
        }
        Some(SessionTrace::Similar(similar)) => {
            let names: Vec<String> = similar.iter().map(|id| quoted(id)).collect();
            let what =
                format!("{shown} is not here, but {} differs by case or blanks alone", names.join(", "));
            return found.add(Check::problem(NAME, what, format!("membrane show {}", names[0])));
        }
        Some(SessionTrace::InUniverse) => {
            let what = format!("{shown} is in this file, which has kgents' Universe layout");
            let remedy =
                format!("membrane --database-url KEEP import kgents {}", quoted(&path.display().to_string()));
            return found.add(Check::problem(NAME, what, remedy));
        }
        _ => {}
    }
    let real = path.canonicalize().ok();
    let mut looked = Vec::new();
    for candidate in config::candidates(flags) {
        let Ok(Database::Sqlite(other)) = candidate.database else { continue };
        if other == path || other.canonicalize().ok().is_some_and(|other| Some(other) == real) {
            continue;
        }
        let name = quoted(&other.display().to_string());
        let remedy = match wiring::trace_session(&other, id) {
            SessionTrace::Here(_) => format!("membrane --database-url {name} show {}", quoted(id)),
            SessionTrace::InUniverse => format!("membrane import kgents {name}"),
            SessionTrace::Deleted(at) => {
                let what = format!("{shown} was in {name} ({}) and was deleted at {at}", candidate.place);
                return found.add(Check::problem(
                    NAME,
                    what,
                    "only a backup from before has it: membrane restore FILE",
                ));
            }
            SessionTrace::Unreadable(why) => {
                looked.push(format!("{name} cannot be looked into: {why}"));
                continue;
            }
            _ => {
                if other.exists() {
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

/// Whether nothing could be said of the database itself.
fn here_unreadable(found: &Look) -> bool {
    !found.has("sessions")
}
