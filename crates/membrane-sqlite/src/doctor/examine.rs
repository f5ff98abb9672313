//! All checks of a file, each as far as it can go.

use std::path::Path;

use membrane_core::time::Timestamp;
use rusqlite::Connection;

use super::open::{self, How, Refused, Stamp};
use super::session::{self, SessionTrace};
use super::verdict::Check;
use super::{beside, content, file, permissions, schema, space};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The database file.
    pub path: &'a Path,
    /// Whether everything in it is read.
    pub deep: bool,
    /// A session that was not found.
    pub session: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// In the order of looking.
    pub checks: Vec<Check>,
    /// Whether another process holds the database for longer than was waited: what is not in `checks` could not be looked
    /// at.
    pub is_locked: bool,
    /// What the file knows of the session, if one was asked for and it could be looked into.
    pub session: Option<SessionTrace>,
}

/// Examines a file. No byte of it, or of what lies beside it, changes.
pub fn examine(question: &Question<'_>) -> Examination {
    let path = question.path;
    let mut found = Examination::default();
    let (check, kind) = file::look(path);
    found.checks.push(check);
    found.checks.extend(space::look(path));
    if path.exists() {
        found.checks.push(permissions::look(path));
    }
    let beside = beside::look(path);
    found.checks.extend(beside.checks);
    let file::Kind::Database { is_wal } = kind else { return found };
    if beside.has_hot_journal {
        return found;
    }
    let before = Stamp::of(path);
    match open::open(path, is_wal) {
        Ok((conn, how)) => {
            let mut inside = look_inside(&conn, question);
            drop(conn);
            if how == How::Still && Stamp::of(path) != before {
                // Somebody began to write while it was read as if nobody could: once more, together with them.
                match open::open(path, is_wal) {
                    Ok((conn, _)) => inside = look_inside(&conn, question),
                    Err(error) => refused(error, &mut found),
                }
            }
            found.checks.append(&mut inside.checks);
            found.session = inside.session;
            if how == How::Shared {
                match open::is_held(path) {
                    Ok(is_held) => found.is_locked |= is_held,
                    Err(error) => refused(error, &mut found),
                }
            }
        }
        Err(error) => refused(error, &mut found),
    }
    found
}

fn refused(error: Refused, found: &mut Examination) {
    match error {
        Refused::Locked => found.is_locked = true,
        Refused::Failed(error) => {
            let what = format!("it cannot be opened: {error}");
            let remedy = "see permissions and space above; if both are fine, bring back a backup: membrane restore FILE";
            found.checks.push(Check::problem("database", what, remedy));
        }
    }
}

fn look_inside(conn: &Connection, question: &Question<'_>) -> Examination {
    let mut found = Examination::default();
    let (checks, has_keep) = schema::look(conn, &question.path.display().to_string());
    found.checks.extend(checks);
    found.checks.push(content::pages(conn, question.deep));
    if has_keep {
        found.checks.extend(content::sessions(conn, question.now));
        if question.deep {
            found.checks.push(content::keep(conn));
        }
    }
    if let Some(id) = question.session {
        let trace = session::trace(conn, id);
        found.session = Some(trace.unwrap_or_else(|error| SessionTrace::Unreadable(error.to_string())));
    }
    found
}
