//! Opening a keep: is this a server, a database and a user that will do?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use membrane_store::events::EventBell;
use tokio::sync::RwLock;

use crate::commit::Commits;
use crate::connect::Connector;
use crate::counts::Counts;
use crate::db::Db;
use crate::error::{Doing, OpenError};
use crate::herald::Herald;
use crate::instances::Instances;
use crate::listener::Listener;
use crate::migrations::{self, MigrationStatus};
use crate::options::PostgresOptions;
use crate::pool::{Conn, Pool};
use crate::ready::Readiness;
use crate::refusal::{connect_error, open_error};
use crate::rights;
use crate::store::Shared;
use crate::telemetry::Meters;
use crate::transfer::{PATIENT, mark};
use crate::v1;
use crate::wakeup::Channel;

/// The oldest PostgreSQL that will do. Before, an array of a type of the schema's had to come with the type's number.
pub(crate) const OLDEST: u32 = 14;

/// What no other database has, however it is reached.
pub(crate) const WHICH: &str = "SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' ' || oid \
     FROM pg_database WHERE datname = current_database()";

/// Connects, and brings the schema up to date.
pub(crate) async fn open(options: PostgresOptions) -> Result<Shared, OpenError> {
    let direct = Connector::direct(&options)?;
    let pool = Arc::new(Pool::new(&options)?);
    let conn = connect(&pool).await?;
    let db = conn.db()?;
    // A server may stand still after it has taken a connection; once it has answered, bringing it up to date may take long.
    let looked = tokio::time::timeout(options.timeout, look(db, pool.connector())).await;
    let schema = looked.map_err(|_| silent(pool.connector(), options.timeout))??;
    if let (Some(direct), true) = (&direct, options.direct_url.is_some()) {
        let looked = tokio::time::timeout(options.timeout, refuse_other_way(db, direct)).await;
        looked.map_err(|_| silent(direct, options.timeout))??;
    }
    mark::refuse_unfinished(db, pool.connector()).await?;
    let mut upgrade = None;
    if holds_old_tables(&conn, pool.connector()).await? {
        upgrade = v1::upgrade(&options).await?;
    }
    migrations::migrate(db, pool.connector()).await?;
    rights::refuse_missing(db, pool.connector(), &schema).await?;
    let counts = conn.at_leisure(Counts::start(db)).await?;
    // Given back.
    drop(conn);
    let channel = Channel::of(&schema);
    let herald = Herald::on(channel.clone());
    let listener = Listener::on(channel, direct.clone());
    let instances = Instances::new(Arc::clone(&pool), direct, schema, &options);
    let commits = Commits::new(&options);
    Ok(Shared {
        pool,
        options,
        counts,
        instances,
        meters: Meters::new(),
        commits,
        readiness: Readiness::default(),
        bell: EventBell::default(),
        herald,
        listener,
        is_ringing: AtomicBool::new(false),
        bytes: AtomicU64::new(0),
        is_closed: AtomicBool::new(false),
        calls: Arc::new(RwLock::new(())),
        upgrade,
    })
}

/// Whether kgents' tables are there. Waits for another instance that is just upgrading them, however long that takes.
async fn holds_old_tables(conn: &Conn, connector: &Connector) -> Result<bool, OpenError> {
    let db = conn.db()?;
    let doing = "look for old tables";
    let looked = conn.at_leisure(async {
        db.batch(&format!("BEGIN READ ONLY; {PATIENT}")).await.doing(doing)?;
        let found = migrations::is_old(db, connector).await;
        db.batch("COMMIT").await.doing(doing)?;
        Ok(found)
    });
    looked.await?
}

/// Which steps of the schema a database holds.
pub(crate) async fn migration_status(options: &PostgresOptions) -> Result<Vec<MigrationStatus>, OpenError> {
    let pool = Pool::new(options)?;
    let conn = connect(&pool).await?;
    let status =
        tokio::time::timeout(options.timeout, migrations::status(conn.db()?, pool.connector())).await;
    pool.close();
    status.map_err(|_| silent(pool.connector(), options.timeout))?
}

/// Whether a database holds nothing of a keep, and nothing that would become one. Changes nothing.
pub(crate) async fn is_vacant(options: &PostgresOptions) -> Result<bool, OpenError> {
    let pool = Pool::new(options)?;
    let conn = connect(&pool).await?;
    let vacant =
        tokio::time::timeout(options.timeout, migrations::is_vacant(conn.db()?, pool.connector())).await;
    pool.close();
    vacant.map_err(|_| silent(pool.connector(), options.timeout))?
}

pub(crate) async fn connect(pool: &Pool) -> Result<Conn, OpenError> {
    match pool.get_first().await {
        Ok(conn) => Ok(conn),
        Err(error) => Err(open_error(pool.connector(), error).await),
    }
}

/// Refuses a way past the pooler that leads elsewhere: locks that tell who lives would be where nobody looks for them, and
/// others would close the turns of this process.
async fn refuse_other_way(db: Db<'_>, direct: &Connector) -> Result<(), OpenError> {
    let here =
        db.find(WHICH, &[]).await.and_then(|row| row.map(|row| row.try_get::<_, String>(0)).transpose());
    let here = here.doing("ask which database this is")?.unwrap_or_default();
    let ask = async { direct.link().await?.value(WHICH).await };
    let there = match tokio::time::timeout(direct.timeout(), ask).await {
        Ok(Ok(there)) => there,
        Ok(Err(error)) => return Err(connect_error(direct, error).await),
        Err(_) => return Err(silent(direct, direct.timeout())),
    };
    if here == there {
        return Ok(());
    }
    let problem = format!(
        "chat.postgres.direct_url leads to another database, {}; name the same one, without the pooler",
        direct.server()
    );
    Err(OpenError::Settings { problem })
}

pub(crate) fn silent(connector: &Connector, timeout: Duration) -> OpenError {
    OpenError::Unreachable {
        server: connector.server(),
        setting: connector.setting(),
        source: format!("no answer within {timeout:?}").into(),
    }
}

/// Whether a server of this `server_version_num` lacks what is needed.
pub(crate) fn is_too_old(number: i32) -> bool {
    u32::try_from(number / 10_000).unwrap_or(0) < OLDEST
}

/// Refuses a server that cannot hold a keep. Gives the schema that is worked in.
pub(crate) async fn look(db: Db<'_>, connector: &Connector) -> Result<String, OpenError> {
    let doing = "look at the server";
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
               pg_is_in_recovery(), current_setting('transaction_read_only'), \
               current_setting('server_encoding'), current_schema()::text, current_setting('search_path')";
    let row = db.find(sql, &[]).await.doing(doing)?;
    let Some(row) = row else {
        return Err(OpenError::NotReady {
            server: connector.server(),
            problem: "it tells nothing of itself".into(),
            remedy: "is it a PostgreSQL server?",
        });
    };
    let server = || connector.server();
    let number: i32 = row.try_get(0).doing(doing)?;
    if is_too_old(number) {
        let found = row.try_get(1).doing(doing)?;
        return Err(OpenError::TooOld { server: server(), found, needed: OLDEST });
    }
    if row.try_get(2).doing(doing)? {
        return Err(OpenError::ReadOnly { server: server(), problem: "it is a standby".to_owned() });
    }
    if row.try_get::<_, &str>(3).doing(doing)? == "on" {
        let problem = "default_transaction_read_only is on".to_owned();
        return Err(OpenError::ReadOnly { server: server(), problem });
    }
    let encoding: String = row.try_get(4).doing(doing)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { server: server(), encoding });
    }
    let schema: Option<String> = row.try_get(5).doing(doing)?;
    let search_path = row.try_get(6).doing(doing)?;
    schema.ok_or_else(|| OpenError::NoSchema { server: server(), search_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_their_numbers() {
        for number in [-1, 0, 90_624, 100_023, 130_022] {
            assert!(is_too_old(number), "{number}");
        }
        for number in [140_000, 150_018, 180_001] {
            assert!(!is_too_old(number), "{number}");
        }
    }
}
