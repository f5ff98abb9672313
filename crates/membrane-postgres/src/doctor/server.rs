//! The server itself: version, role, encoding, clock, and who follows it.

use membrane_core::time::Clock;
use membrane_store::StoreError;
use membrane_store::doctor::{Check, size};

use super::examine::{ask, span_of};
use crate::connect::Connector;
use crate::db::Db;
use crate::error::Doing;
use crate::open::{OLDEST, is_too_old};

const LOOKING: &str = "look at the server";

/// Version, role and encoding.
pub(super) async fn look(db: Db<'_>, connector: &Connector) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "server";
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
               pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
               current_setting('server_encoding'), \
               extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8";
    let row = ask(db, sql, LOOKING).await?;
    let text = |column: usize| row.try_get::<_, String>(column).doing(LOOKING);
    let (number, version) = (row.try_get::<_, i32>(0).doing(LOOKING)?, text(1)?);
    let up = span_of(row.try_get(5).doing(LOOKING)?);
    let mut checks = vec![if is_too_old(number) {
        let found =
            format!("{} is PostgreSQL {version}; Membrane needs {OLDEST} or newer", connector.server());
        Check::problem(NAME, found, "bring the server up to date: pg_upgrade, or pg_dump and pg_restore")
    } else {
        Check::ok(NAME, format!("PostgreSQL {version}, up for {up}"))
    }];
    if row.try_get(2).doing(LOOKING)? {
        let remedy =
            "name the primary server in the database's URL, or all servers: postgresql://…@one,two/…";
        checks.push(Check::problem(NAME, "it is a standby, which takes no writes", remedy));
    } else if row.try_get(3).doing(LOOKING)? {
        let remedy =
            "ALTER DATABASE … RESET default_transaction_read_only, or the same of the role or the system";
        checks.push(Check::problem(NAME, "it takes no writes: default_transaction_read_only is on", remedy));
    }
    let encoding = text(4)?;
    checks.push(if encoding == "UTF8" {
        Check::ok("encoding", "UTF8 holds every text")
    } else {
        let remedy =
            "make a database that does, and copy into it: createdb --encoding=UTF8 --template=template0 NAME";
        Check::problem("encoding", format!("{encoding} does not hold every text"), remedy)
    });
    Ok(checks)
}

/// How far the clocks here and there are apart. Leases are judged by the database's.
pub(super) async fn clock(db: Db<'_>, clock: &dyn Clock) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "clock";
    /// What a second query's way may take, and some.
    const TOLERANCE_MICROS: i64 = 2_000_000;
    let before = clock.now().as_micros();
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let row = ask(db, sql, "ask the server for the time").await?;
    let after = clock.now().as_micros();
    let there: i64 = row.try_get(0).doing("ask the server for the time")?;
    let apart = there - i64::midpoint(before, after);
    let unsure = (after - before) / 2;
    let seconds = apart.unsigned_abs() / 1_000_000;
    let way = if apart > 0 { "ahead of" } else { "behind" };
    Ok(vec![if apart.abs() > TOLERANCE_MICROS + unsure {
        let found = format!(
            "the server's clock is {seconds} s {way} this machine's: leases are judged by the one, times written by the other"
        );
        Check::note(NAME, found).with_remedy("set both clocks: timedatectl set-ntp true")
    } else {
        Check::ok(NAME, "the server's clock and this machine's agree")
    }])
}

/// Who follows, and how far behind.
pub(super) async fn replicas(db: Db<'_>) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "replicas";
    /// A replica that is further behind loses that much if it has to take over.
    const FAR: i64 = 16 << 20;
    let doing = "look at the replicas";
    let sql = "SELECT coalesce(nullif(application_name, ''), 'one') || coalesce(' at ' || host(client_addr), ''), \
               coalesce(state, 'hidden from this user'), coalesce(sync_state, ''), \
               CASE WHEN pg_is_in_recovery() THEN NULL \
                   ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::int8 END \
               FROM pg_stat_replication ORDER BY 1";
    let rows = db.query(sql, &[]).await.doing(doing)?;
    let mut checks = Vec::new();
    for row in &rows {
        let text = |column: usize| row.try_get::<_, String>(column).doing(doing);
        let (who, state, sync) = (text(0)?, text(1)?, text(2)?);
        let behind: Option<i64> = row.try_get(3).doing(doing)?;
        let sync = if sync.is_empty() { sync } else { format!(", {sync}") };
        checks.push(match behind {
            Some(behind) if behind > FAR => {
                let far = size(u64::try_from(behind).unwrap_or(0));
                Check::note(
                    NAME,
                    format!("{who} is {far} behind ({state}{sync}); what it lacks is lost if it takes over"),
                )
                .with_remedy("look at the replica's log, its disk and the network")
            }
            Some(behind) => {
                let far = size(u64::try_from(behind).unwrap_or(0));
                Check::ok(NAME, format!("{who} follows ({state}{sync}), {far} behind"))
            }
            None => Check::ok(NAME, format!("{who} follows ({state}{sync})")),
        });
    }
    let sql = "SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 \
               FROM pg_replication_slots WHERE NOT active AND NOT pg_is_in_recovery() AND restart_lsn IS NOT NULL";
    // On a standby there is no place to measure from.
    let slots = if rows.is_empty() && is_standby(db).await? {
        Vec::new()
    } else {
        db.query(sql, &[]).await.doing(doing)?
    };
    for slot in &slots {
        let (name, kept): (String, i64) = (slot.try_get(0).doing(doing)?, slot.try_get(1).doing(doing)?);
        let kept = size(u64::try_from(kept).unwrap_or(0));
        let found = format!("nobody uses the slot {name}, for which the server keeps {kept} of its log");
        checks.push(
            Check::note(NAME, found)
                .with_remedy(format!("start what used it, or: SELECT pg_drop_replication_slot('{name}')")),
        );
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "none: a backup is all there is if the server's disk dies"));
    }
    Ok(checks)
}

async fn is_standby(db: Db<'_>) -> Result<bool, StoreError> {
    ask(db, "SELECT pg_is_in_recovery()", LOOKING).await?.try_get(0).doing(LOOKING)
}
