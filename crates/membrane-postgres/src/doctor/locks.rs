//! Who holds up whom: transactions that others wait for, and those that are left open.

use membrane_store::StoreError;
use membrane_store::doctor::Check;
use tokio_postgres::Row;

use super::examine::span_of;
use crate::db::Db;
use crate::error::Doing;

const NAME: &str = "locks";
const DOING: &str = "look at the locks";

/// A transaction that is open for so long keeps old rows from being cleared away, and maybe locks.
const LONG_SECONDS: f64 = 60.0;

pub(super) struct Locks {
    pub(super) checks: Vec<Check>,
    /// Whether somebody waits.
    pub(super) is_blocking: bool,
}

/// Those whom others wait for, though they wait for nobody themselves.
const BLOCKERS: &str = "WITH waits AS ( \
        SELECT waiting.pid AS waiter, blocker.pid AS blocker, \
            extract(epoch FROM clock_timestamp() - coalesce(waiting.query_start, clock_timestamp()))::float8 AS waited \
        FROM pg_stat_activity AS waiting CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocker (pid) \
        WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock') \
    SELECT w.blocker, coalesce(nullif(a.application_name, ''), 'a program without a name'), \
        coalesce(a.usename::text, 'nobody'), coalesce(host(a.client_addr), 'this machine'), \
        coalesce(a.state, 'in a state hidden from this user'), \
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8, count(DISTINCT w.waiter), max(w.waited), \
        coalesce((SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks AS l \
            WHERE l.pid = w.blocker AND l.granted AND l.locktype = 'relation' \
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
            AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'RowExclusiveLock')), '') \
    FROM waits AS w LEFT JOIN pg_stat_activity AS a ON a.pid = w.blocker \
    WHERE NOT EXISTS (SELECT 1 FROM waits AS other WHERE other.waiter = w.blocker) \
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 7 DESC";

/// Transactions that have been open for long and that nobody waits for yet.
const OPEN: &str = "SELECT pid, coalesce(nullif(application_name, ''), 'a program without a name'), \
        coalesce(usename::text, 'nobody'), coalesce(host(client_addr), 'this machine'), \
        coalesce(state, 'in a state hidden from this user'), \
        extract(epoch FROM clock_timestamp() - xact_start)::float8 \
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
        AND xact_start < clock_timestamp() - make_interval(secs => $1) AND backend_type = 'client backend' \
        AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS waiting \
            WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock' \
            AND pg_stat_activity.pid = ANY (pg_blocking_pids(waiting.pid))) ORDER BY xact_start";

pub(super) async fn look(db: Db<'_>) -> Result<Locks, StoreError> {
    let mut checks = Vec::new();
    for row in &db.query(BLOCKERS, &[]).await.doing(DOING)? {
        let pid: i32 = row.try_get(0).doing(DOING)?;
        let n_waiters: i64 = row.try_get(6).doing(DOING)?;
        let tables: String = row.try_get(8).doing(DOING)?;
        let on = if tables.is_empty() { String::new() } else { format!(", with locks on {tables}") };
        let waited = span_of(row.try_get(7).doing(DOING)?);
        let found = format!("{}{on}: {n_waiters} wait for it, the longest for {waited}", who(row)?);
        checks.push(Check::problem(
            NAME,
            found,
            format!("wait for it, or end it: SELECT pg_terminate_backend({pid})"),
        ));
    }
    let is_blocking = !checks.is_empty();
    for row in &db.query(OPEN, &crate::value::values![LONG_SECONDS]).await.doing(DOING)? {
        let pid: i32 = row.try_get(0).doing(DOING)?;
        let found = format!("{} is open; rows that it might still see cannot be cleared away", who(row)?);
        checks.push(
            Check::note(NAME, found)
                .with_remedy(format!("if nobody needs it: SELECT pg_terminate_backend({pid})")),
        );
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "nobody waits for a lock, and no transaction is left open"));
    }
    Ok(Locks { checks, is_blocking })
}

fn who(row: &Row) -> Result<String, StoreError> {
    let text = |column: usize| row.try_get::<_, String>(column).doing(DOING);
    let pid: i32 = row.try_get(0).doing(DOING)?;
    let age: Option<f64> = row.try_get(5).doing(DOING)?;
    let age = age.map_or_else(String::new, |age| format!(", its transaction {} old", span_of(age)));
    Ok(format!("process {pid} ({}, user {}, from {}) is {}{age}", text(1)?, text(2)?, text(3)?, text(4)?))
}
