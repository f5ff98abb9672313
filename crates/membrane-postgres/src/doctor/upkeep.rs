//! What a server does by itself, if it may: clearing away, and counting transactions; and the room that is taken.

use membrane_store::StoreError;
use membrane_store::doctor::{Check, size};

use super::examine::ask;
use crate::db::Db;
use crate::error::Doing;
use crate::migrations;
use crate::value::values;

/// From here on the server warns, and soon takes no more writes.
const DANGEROUS_AGE: i64 = 1_500_000_000;

/// How large it is. What is free is for the server's machine to say.
pub(super) async fn space(db: Db<'_>) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "space";
    let doing = "measure the database";
    let sql = "SELECT pg_database_size(current_database()), t.spcname::text FROM pg_database AS d \
               JOIN pg_tablespace AS t ON t.oid = d.dattablespace WHERE d.datname = current_database()";
    let row = ask(db, sql, doing).await?;
    let bytes: i64 = row.try_get(0).doing(doing)?;
    let place: String = row.try_get(1).doing(doing)?;
    let taken = size(u64::try_from(bytes).unwrap_or(0));
    Ok(vec![Check::ok(
        NAME,
        format!(
            "the database takes {taken} in tablespace {place}; what is free there is for the server's machine to say"
        ),
    )])
}

/// Autovacuum, and how far transaction numbers are from their end.
pub(super) async fn autovacuum(db: Db<'_>) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "autovacuum";
    let doing = "look at the server's upkeep";
    let sql = "SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on', \
               (SELECT age(datfrozenxid)::int8 FROM pg_database WHERE datname = current_database()), \
               current_setting('autovacuum_freeze_max_age')::int8";
    let row = ask(db, sql, doing).await?;
    let is_on: bool = row.try_get(0).doing(doing)?;
    let (age, freeze): (i64, i64) = (row.try_get(1).doing(doing)?, row.try_get(2).doing(doing)?);
    let mut checks = Vec::new();
    if !is_on {
        let remedy =
            "ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()";
        checks.push(Check::problem(NAME, "it is off: tables grow with every change and become slow", remedy));
    }
    let millions = age / 1_000_000;
    if age > DANGEROUS_AGE {
        let found = format!(
            "the oldest transaction is {millions} million ago: at about 2,100 million the server takes no more writes"
        );
        checks.push(Check::problem(
            NAME,
            found,
            "end old transactions (see locks), then: VACUUM (FREEZE, VERBOSE)",
        ));
    } else if age > freeze.saturating_mul(2) {
        let found =
            format!("the oldest transaction is {millions} million ago, and autovacuum has not caught up");
        checks.push(
            Check::note(NAME, found)
                .with_remedy("see whether something holds it up (locks): VACUUM (FREEZE)"),
        );
    }
    let sql = "SELECT relname::text, n_dead_tup::int8, n_live_tup::int8 FROM pg_stat_user_tables \
               WHERE schemaname = current_schema()::text AND relname = ANY ($1) AND relname <> 'told_events' \
               AND n_dead_tup > 10000 AND n_dead_tup > 2 * n_live_tup ORDER BY n_dead_tup DESC LIMIT 1";
    if let Some(row) = db.find(sql, &values![migrations::tables()]).await.doing(doing)? {
        let table: String = row.try_get(0).doing(doing)?;
        let (dead, live): (i64, i64) = (row.try_get(1).doing(doing)?, row.try_get(2).doing(doing)?);
        let found = format!("table {table} holds {dead} dead rows and {live} live ones");
        checks.push(
            Check::note(NAME, found)
                .with_remedy(format!("VACUUM {table}, and see locks for what is left open")),
        );
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            NAME,
            format!("on; the oldest transaction is {millions} million of 2,100 million ago"),
        ));
    }
    Ok(checks)
}
