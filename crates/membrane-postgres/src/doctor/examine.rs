//! All checks of a database, each as far as it can go.

use std::time::Duration;

use membrane_core::time::Clock;
use membrane_store::StoreError;
use membrane_store::doctor::{Check, SessionTrace};
use tokio_postgres::Row;

use super::{connections, content, durability, locks, pooler, reach, schema, server, session, upkeep};
use crate::db::Db;
use crate::error::{Doing, whole};
use crate::instances;
use crate::options::PostgresOptions;
use crate::pool::Pool;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// How the database is reached.
    pub options: &'a PostgresOptions,
    /// Whether every row is read.
    pub deep: bool,
    /// A session that was not found.
    pub session: Option<&'a str>,
    /// The time here.
    pub clock: &'a dyn Clock,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// In the order of looking.
    pub checks: Vec<Check>,
    /// Whether somebody holds up others.
    pub is_locked: bool,
    /// What the database knows of the session, if one was asked for and it could be looked into.
    pub session: Option<SessionTrace>,
}

/// Examines a database, which is only read.
pub async fn examine(question: &Question<'_>) -> Examination {
    // One connection: a server that has few left keeps them.
    let options = PostgresOptions { pool_size: 1, ..question.options.clone() };
    let mut found = Examination::default();
    let Some(pool) = reach::look(&options, &mut found.checks).await else { return found };
    let looked = look_inside(&pool, question, &mut found).await;
    if let Err(error) = looked {
        found.checks.push(unanswered("database", &error));
    }
    found.checks.extend(pooler::look(&options).await);
    pool.close();
    found
}

/// Looks for a session in a database, which is only read.
pub async fn trace_session(options: &PostgresOptions, id: &str) -> SessionTrace {
    let options = PostgresOptions { pool_size: 1, ..options.clone() };
    let mut checks = Vec::new();
    let Some(pool) = reach::look(&options, &mut checks).await else {
        let problem = checks.pop().map_or_else(String::new, |check| check.found);
        return SessionTrace::Unreadable(problem);
    };
    let traced = trace(&pool, id).await;
    pool.close();
    traced.unwrap_or_else(|error| SessionTrace::Unreadable(whole(&error)))
}

async fn trace(pool: &Pool, id: &str) -> Result<SessionTrace, StoreError> {
    let conn = pool.get().await?;
    conn.within(async { session::trace(conn.db()?, id).await }).await
}

/// A theme: what it looked at may fail and leaves the others alone.
macro_rules! theme {
    ($pool:ident, $found:ident, $name:literal, |$db:ident| $work:expr) => {{
        let conn = $pool.get().await?;
        let looked = conn
            .within(async {
                let $db = conn.db()?;
                $work.await
            })
            .await;
        match looked {
            Ok(checks) => $found.checks.extend(checks),
            Err(error) => $found.checks.push(unanswered($name, &error)),
        }
    }};
}

async fn look_inside(
    pool: &Pool,
    question: &Question<'_>,
    found: &mut Examination,
) -> Result<(), StoreError> {
    let options = question.options;
    theme!(pool, found, "server", |db| server::look(db, pool.connector()));
    theme!(pool, found, "clock", |db| server::clock(db, question.clock));
    theme!(pool, found, "replicas", |db| server::replicas(db));
    theme!(pool, found, "durability", |db| durability::look(db));
    let conn = pool.get().await?;
    let state = conn.within(async { Ok(schema::look(conn.db()?, pool.connector()).await) }).await;
    drop(conn);
    let (has_keep, lacks_steps) = match state {
        Ok(state) => {
            found.checks.extend(state.checks);
            (state.has_keep, state.lacks_steps)
        }
        Err(error) => {
            found.checks.push(unanswered("schema", &error));
            (false, true)
        }
    };
    if has_keep {
        theme!(pool, found, "rights", |db| schema::rights(db, pool.connector()));
        theme!(pool, found, "sessions", |db| content::sessions(db, question.clock.now()));
    }
    if has_keep && !lacks_steps {
        theme!(pool, found, "servers", |db| connections::servers(db, options));
        theme!(pool, found, "leader", |db| connections::leader(db));
    }
    let conn = pool.get().await?;
    match conn.within(async { locks::look(conn.db()?).await }).await {
        Ok(locks) => {
            found.checks.extend(locks.checks);
            found.is_locked = locks.is_blocking;
        }
        Err(error) => found.checks.push(unanswered("locks", &error)),
    }
    drop(conn);
    theme!(pool, found, "connections", |db| connections::look(db, options));
    theme!(pool, found, "space", |db| upkeep::space(db));
    theme!(pool, found, "autovacuum", |db| upkeep::autovacuum(db));
    if has_keep && question.deep {
        let conn = pool.get().await?;
        found.checks.push(conn.at_leisure(async { Ok(content::keep(conn.db()?).await) }).await?);
    }
    if has_keep && let Some(id) = question.session {
        let traced = trace(pool, id).await;
        found.session = Some(traced.unwrap_or_else(|error| SessionTrace::Unreadable(whole(&error))));
    }
    Ok(())
}

fn unanswered(name: &'static str, error: &StoreError) -> Check {
    let remedy = "see locks and connections; if the server is overloaded, look at its log";
    Check::problem(name, format!("it cannot be looked at: {}", whole(error)), remedy)
}

/// One row of a question that always has one.
pub(super) async fn ask(db: Db<'_>, sql: &str, doing: &'static str) -> Result<Row, StoreError> {
    let row = db.find(sql, &[]).await.doing(doing)?;
    row.ok_or_else(|| StoreError::inconsistent("pg_catalog", doing, "there is no row"))
}

/// A span of time for people.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A span from PostgreSQL's seconds.
pub(super) fn span_of(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

/// How the locks of instances are named in this database: see [`instances`].
pub(super) fn lock_key(schema: &str, id: &str) -> i64 {
    instances::key(schema, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
        assert_eq!(span_of(-1.0), "0 ms");
    }
}
