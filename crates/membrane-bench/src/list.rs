//! The newest 50 of 100,000 sessions and their number, filtered and not, beside a floor that answers both.

use std::path::Path;
use std::time::Duration;

use membrane::core::ids::SessionId;
use membrane::core::page::{PageRequest, SessionFilter};
use membrane::core::session::NewSession;
use membrane::core::time::{Clock, SystemClock};
use membrane::store::change::Origin;
use membrane::store::{Change, Store, Write};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, floor};

const N_SESSIONS: u64 = 100_000;
const REPEATS: usize = 200;

/// One session in 20 is in this project, one in 50 on this branch.
const PROJECT: &str = "project-a";
const BRANCH: &str = "branch-a";

/// Measures the three lists, in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let store = SqliteStore::open(SqliteOptions::at(folder.join("list.db"))).await?;
    let mut conn = floor::open(&folder.join("list-floor.db"))?;
    floor::index_lists(&conn)?;
    fill(&store, &mut conn).await?;
    let page = PageRequest::first(50);
    let project = SessionFilter { project_id: Some(PROJECT.to_owned()), ..SessionFilter::default() };
    let branch = SessionFilter { branch_name: Some(BRANCH.to_owned()), ..SessionFilter::default() };
    let main = SessionFilter { branch_name: Some("main".to_owned()), ..SessionFilter::default() };
    for (name, filter, column) in [
        ("all", SessionFilter::default(), None),
        ("of a project", project, Some(("project_id", PROJECT))),
        ("of a branch", branch, Some(("branch_name", BRANCH))),
        ("of branch main", main, Some(("branch_name", "main"))),
    ] {
        let (mut floor_times, mut times) = (Samples::default(), Samples::default());
        for _ in 0..REPEATS {
            let (sessions, total) = floor_times.time_blocking(|| floor::list(&conn, column))?;
            let found = times.time(store.list_sessions(&filter, &page)).await?;
            if found.sessions.len() != sessions.len() || i64::try_from(found.total)? != total {
                return Err(format!("{name}: {} sessions, the floor has {total}", found.total).into());
            }
        }
        report.note(format!("newest 50 {name}, floor: {floor_times}"));
        report.note(format!("newest 50 {name}, membrane: {times}"));
        let ratio = times.p50_ms() / floor_times.p50_ms();
        report.at_most(&format!("list {name}, membrane's p50 over the floor's"), ratio, 2.0);
    }
    Ok(())
}

async fn fill(store: &SqliteStore, conn: &mut rusqlite::Connection) -> Result<(), Failure> {
    let start = SystemClock.now();
    let numbers: Vec<u64> = (0..N_SESSIONS).collect();
    for chunk in numbers.chunks(1000) {
        let mut change = Change::at(start);
        let tx = conn.transaction()?;
        for number in chunk {
            let id = SessionId::parse(&format!("session-{number:032x}"))?;
            let at = start.plus(Duration::from_micros(*number));
            let project = (number % 20 == 0).then_some(PROJECT);
            let branch = if number % 50 == 0 { BRANCH } else { "main" };
            floor::create_on_branch(&tx, id.as_str(), project, branch, &at.to_string())?;
            let session = NewSession {
                project_id: project.map(str::to_owned),
                branch_name: branch.to_owned(),
                ..NewSession::root(id)
            };
            let origin = Origin::Empty { legacy: Vec::new() };
            change = change.write(Write::CreateSession { session, origin, created_at: Some(at) });
        }
        tx.commit()?;
        store.commit(change).await?;
    }
    Ok(())
}
