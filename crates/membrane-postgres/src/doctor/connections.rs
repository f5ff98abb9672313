//! Connections: how many there may be, how many there are, how many servers will want; which servers live, and which leads.

use std::collections::HashSet;

use membrane_core::role::Role;
use membrane_store::StoreError;
use membrane_store::doctor::Check;
use tokio_postgres::Error;

use super::examine::{ask, lock_key, span_of};
use crate::db::Db;
use crate::error::Doing;
use crate::instances::read_keys;
use crate::options::PostgresOptions;
use crate::read::leaders;
use crate::value::unescape;

const DOING: &str = "look at the connections";

pub(super) async fn look(db: Db<'_>, options: &PostgresOptions) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "connections";
    let sql = "SELECT current_setting('max_connections')::int8, \
               (SELECT coalesce(sum(setting::int8), 0)::int8 FROM pg_settings \
                   WHERE name IN ('superuser_reserved_connections', 'reserved_connections')), \
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
               (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'membrane' AND pid <> pg_backend_pid()), \
               (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = current_user), \
               (SELECT datconnlimit::int8 FROM pg_database WHERE datname = current_database())";
    let row = ask(db, sql, DOING).await?;
    let number = |column: usize| row.try_get::<_, i64>(column).doing(DOING);
    let (max, reserved, used, ours) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let mut limit = max - reserved;
    let mut by = "max_connections";
    for (column, name) in [(4, "the user's CONNECTION LIMIT"), (5, "the database's CONNECTION LIMIT")] {
        let other = number(column)?;
        if other >= 0 && other < limit {
            (limit, by) = (other, name);
        }
    }
    let pool = i64::try_from(options.pool_size).unwrap_or(i64::MAX);
    let found = format!(
        "{used} of {max} are used, {ours} of them by membrane; a server of ours holds up to {} (pool_size {pool}, and one \
         that says that it lives), so that there is room for {} servers",
        pool + 1,
        limit / (pool + 1),
    );
    Ok(vec![if used * 10 >= (max - reserved) * 9 {
        let remedy = "raise max_connections (and restart the server), or lower chat.postgres.pool_size; who has them: \
                      SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2";
        Check::problem(NAME, found, remedy)
    } else if limit < pool + 1 {
        let what = format!("{found}: {by} allows {limit}");
        Check::note(NAME, what).with_remedy("lower chat.postgres.pool_size, or raise that limit")
    } else {
        Check::ok(NAME, found)
    }])
}

/// Servers that hold the database, and those that are gone.
pub(super) async fn servers(db: Db<'_>, options: &PostgresOptions) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "servers";
    let sql = "SELECT id, current_schema()::text, incarnation IS NOT NULL, \
               extract(epoch FROM clock_timestamp() - held_since)::float8 FROM instances ORDER BY held_since";
    let rows = db.query(sql, &[]).await.doing(DOING)?;
    let rows: Vec<(String, String, bool, f64)> = rows
        .iter()
        .map(|row| {
            let id = unescape(row.try_get(0)?).into_owned();
            Ok((id, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
        })
        .collect::<Result<_, Error>>()
        .doing(DOING)?;
    let key = |row: &(String, String, bool, f64)| lock_key(&row.1, &row.0);
    let locked: HashSet<i64> = read_keys(db, rows.iter().map(key).collect()).await?;
    let (mut alive, mut unsure, mut gone) = (Vec::new(), Vec::new(), 0);
    for row in &rows {
        let since = span_of(row.3);
        if locked.contains(&key(row)) {
            alive.push(format!("{} for {since}", row.0));
        } else if row.2 {
            gone += 1;
        } else {
            unsure.push(format!("{}, renewed {since} ago", row.0));
        }
    }
    let mut checks = vec![match alive.len() {
        0 => Check::ok(NAME, "no server is known to live"),
        1 => Check::ok(NAME, format!("one server lives: {}", alive.join(", "))),
        many => Check::ok(NAME, format!("{many} servers live: {}", alive.join(", "))),
    }];
    if gone > 0 {
        let found = format!("rows of {gone} that have died, or lost their connection");
        checks.push(
            Check::note(NAME, found)
                .with_remedy("nothing: the next server closes their turns and removes them"),
        );
    }
    if !unsure.is_empty() {
        let found =
            format!("behind a pooler, so that only leases tell whether they live: {}", unsure.join("; "));
        let remedy = if options.direct_url.is_some() {
            "start them with chat.postgres.direct_url"
        } else {
            "set chat.postgres.direct_url"
        };
        checks.push(Check::note(NAME, found).with_remedy(remedy));
    }
    Ok(checks)
}

/// Which server does the work that one does for all.
pub(super) async fn leader(db: Db<'_>) -> Result<Vec<Check>, StoreError> {
    let role = Role::Sweeper;
    let found = match leaders::find(db, role).await? {
        Some(leader) => format!("{leader} is the {role}: it forgets what has had its time"),
        None => format!("nobody is the {role} for now; a server that lives becomes it by itself"),
    };
    Ok(vec![Check::ok("leader", found)])
}
