//! Whether the configuration can be read, and which database it names.

use super::run::{Check, Look};
use crate::config::{self, Candidate, Database, Flags, Settings};

const NAME: &str = "configuration";

/// The settings, if all can be read, and the database, if any is named.
pub(super) fn look(flags: Flags<'_>, found: &mut Look) -> (Option<Settings>, Option<Database>) {
    let candidates = config::candidates(flags);
    match config::load(flags) {
        Ok((settings, report)) => {
            let origin = report.entries.iter().find(|entry| entry.key == "database");
            let origin = origin.map_or_else(String::new, |entry| entry.origin.to_string());
            let shown = settings.database.shown();
            found.add(Check::ok(NAME, format!("the database is {shown} (from: {origin})")));
            others(&settings.database, &candidates, found);
            let database = settings.database.clone();
            (Some(settings), Some(database))
        }
        Err(failure) => {
            let remedy = "correct it there; \"membrane config --keys\" lists what can be set";
            found.add(Check::problem(NAME, failure.to_string(), remedy));
            // Its other parts may be fine: the first place that names a database.
            let first = candidates.into_iter().next().and_then(|first| first.database.ok());
            (None, first)
        }
    }
}

/// Other databases that are there and are not used.
fn others(used: &Database, candidates: &[Candidate], found: &mut Look) {
    let used_path = if let Database::Sqlite(path) = used { path.canonicalize().ok() } else { None };
    for candidate in candidates {
        let is_other = match &candidate.database {
            Ok(Database::Sqlite(path)) => path.canonicalize().is_ok_and(|real| Some(real) != used_path),
            Ok(other @ Database::Postgres(_)) => other != used,
            Ok(Database::Memory) | Err(_) => false,
        };
        if let (Ok(other), true) = (&candidate.database, is_other) {
            let (shown, place) = (other.shown(), &candidate.place);
            found.add(Check::note(NAME, format!("there is also {shown} ({place}), which is not used")));
        }
    }
}
