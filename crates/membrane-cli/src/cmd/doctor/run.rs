//! The order of looking, and the page that is printed.

use std::path::Path;

use membrane::{Clock, SystemClock};
use serde_json::json;

use super::processes::{self, Holders};
use super::{address, configuration, sessions};
use crate::args::Doctor;
use crate::config::{Database, Flags};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;
pub(super) use crate::wiring::Check;
use crate::wiring::{self, Question, Status};

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Look {
    checks: Vec<Check>,
    is_locked: bool,
}

impl Look {
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Whether something of this name was looked at.
    pub(super) fn has(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }

    fn count(&self, status: Status) -> u64 {
        let count = self.checks.iter().filter(|check| check.status == status).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

pub(crate) async fn doctor(flags: Flags<'_>, args: &Doctor, output: &mut Output) -> Result<(), Failure> {
    let mut found = Look::default();
    let (settings, database) = configuration::look(flags, &mut found);
    let mut holders = Holders::default();
    match &database {
        Some(Database::Sqlite(path)) => {
            let question =
                Question { path, deep: args.deep, session: args.session.as_deref(), now: SystemClock.now() };
            let examined = wiring::examine(&question);
            // While it is fresh: who held it then, holds it now.
            holders = processes::holders(path);
            found.checks.extend(examined.checks);
            found.is_locked = examined.is_locked;
            found.add(locks(path, examined.is_locked, &holders));
            if let Some(id) = &args.session {
                sessions::look(id, examined.session, database.as_ref(), flags, &mut found).await;
            }
        }
        Some(Database::Memory) => {
            found.add(Check::note("file", "memory: keeps nothing; there is no file to look at"));
        }
        Some(Database::Postgres(url)) => {
            // A configuration that cannot be read leaves the defaults, with which the database can be looked at all the same.
            let driver = settings.as_ref().map(|settings| &settings.postgres);
            let session = args.session.as_deref();
            let examined = wiring::examine_postgres(url, driver, args.deep, session).await;
            found.checks.extend(examined.checks);
            found.is_locked = examined.is_locked;
            if let Some(id) = session {
                sessions::look(id, examined.session, database.as_ref(), flags, &mut found).await;
            }
        }
        None => {}
    }
    if let Some(settings) = settings {
        address::look(settings.server.addr, &holders, &mut found);
    }
    print(&found, output)
}

/// Who has the database open.
fn locks(path: &Path, is_locked: bool, holders: &Holders) -> Check {
    const NAME: &str = "locks";
    let lsof = format!("lsof {}*", path.display());
    if is_locked {
        let blocking = holders.in_words(true);
        let who = if blocking.is_empty() { holders.in_words(false) } else { blocking };
        if who.is_empty() {
            let found = if holders.can_tell {
                "the database is locked by a process that cannot be seen from here"
            } else {
                "the database is locked; which process does it cannot be told on this system"
            };
            return Check::problem(NAME, found, format!("find it: {lsof}"));
        }
        let pids: Vec<String> = holders
            .list
            .iter()
            .filter(|holder| holder.blocks && holder.process.pid != 0)
            .map(|holder| holder.process.pid.to_string())
            .collect();
        let remedy = if pids.is_empty() {
            "wait for it, or stop it".to_owned()
        } else {
            format!("wait for it, or stop it: kill {}", pids.join(" "))
        };
        return Check::problem(NAME, format!("the database is locked: {who}"), remedy);
    }
    if !holders.can_tell {
        return Check::ok(
            NAME,
            "nobody keeps others from writing; who has it open cannot be told on this system",
        )
        .with_remedy(lsof);
    }
    let unseen = match holders.unseen {
        0 => String::new(),
        unseen => format!(" ({unseen} processes of other users cannot be looked into)"),
    };
    if holders.list.is_empty() {
        return Check::ok(NAME, format!("nobody has the database open{unseen}"));
    }
    Check::ok(NAME, format!("{}{unseen}", holders.in_words(false)))
}

fn print(found: &Look, output: &mut Output) -> Result<(), Failure> {
    let (problems, notes) = (found.count(Status::Problem), found.count(Status::Note));
    if output.is_json() {
        let checks: Vec<_> = found
            .checks
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "status": check.status.as_str(),
                    "found": check.found,
                    "remedy": check.remedy,
                })
            })
            .collect();
        output.document(&json!({"ok": problems == 0, "checks": checks}))?;
    } else {
        let width = found.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &found.checks {
            let line = text::printable(&check.found).replace('\n', " ");
            output.line(&format!("{:<7}  {:<width$}  {line}", check.status.as_str(), check.name))?;
            if let Some(remedy) = &check.remedy {
                output.line(&format!("{:>7}  {:<width$}  {}", "", "->", text::printable(remedy)))?;
            }
        }
        output.line(&summary(problems, notes))?;
    }
    if problems == 0 {
        return Ok(());
    }
    let what = summary(problems, notes);
    Err(if found.is_locked { Failure::unavailable(what) } else { Failure::failed("problems", what) })
}

fn summary(problems: u64, notes: u64) -> String {
    let problems = if problems == 0 { "no problem".to_owned() } else { text::count(problems, "problem") };
    if notes == 0 { problems } else { format!("{problems}, {}", text::count(notes, "note")) }
}
