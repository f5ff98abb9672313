//! Whether what is acknowledged is on the disk: settings that give that away.

use membrane_store::StoreError;
use membrane_store::doctor::Check;

use super::examine::ask;
use crate::db::Db;
use crate::error::Doing;

const NAME: &str = "durability";

pub(super) async fn look(db: Db<'_>) -> Result<Vec<Check>, StoreError> {
    let doing = "look at the settings of durability";
    let sql = "SELECT current_setting('fsync'), current_setting('full_page_writes'), \
               current_setting('synchronous_commit'), current_setting('synchronous_standby_names') <> '', \
               coalesce((SELECT source || coalesce(' ' || sourcefile, '') FROM pg_settings \
                   WHERE name = 'synchronous_commit'), '')";
    let row = ask(db, sql, doing).await?;
    let text = |column: usize| row.try_get::<_, String>(column).doing(doing);
    let (fsync, pages, commit) = (text(0)?, text(1)?, text(2)?);
    let has_standbys: bool = row.try_get(3).doing(doing)?;
    let mut checks = Vec::new();
    if fsync == "off" {
        let remedy = "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()";
        let found = "fsync is off: a power failure loses what was acknowledged, or the whole database";
        checks.push(Check::problem(NAME, found, remedy));
    }
    if pages == "off" {
        let remedy = "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()";
        let found = "full_page_writes is off: a power failure may leave pages half written";
        checks.push(Check::problem(NAME, found, remedy));
    }
    match commit.as_str() {
        "off" => {
            let found = format!(
                "synchronous_commit is off (set by: {}): what was acknowledged in the last moments may be lost",
                text(4)?
            );
            let remedy = "ALTER SYSTEM, ALTER DATABASE … or ALTER ROLE …: SET synchronous_commit = on";
            checks.push(Check::problem(NAME, found, remedy));
        }
        "local" if has_standbys => {
            let found = "synchronous_commit is local: standbys that should have every commit may lack some";
            checks.push(Check::note(NAME, found).with_remedy("SET synchronous_commit = on"));
        }
        _ => {}
    }
    if checks.is_empty() {
        let found = format!(
            "what is acknowledged is on the disk (fsync, full_page_writes, synchronous_commit = {commit})"
        );
        checks.push(Check::ok(NAME, found));
    }
    Ok(checks)
}
