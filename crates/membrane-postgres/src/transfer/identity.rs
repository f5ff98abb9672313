//! Which database it is, whatever it is called: a host, a user and parameters can be spelled in many ways.

use membrane_store::StoreError;

use crate::db::Db;
use crate::error::Doing;

/// A place for a keep, as its server knows it: the same for each way of reaching it, and for a standby of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What tells one cluster and its copies from all others.
    system: String,
    /// The database's number in it.
    database: i64,
    /// The schema that is worked in.
    schema: Option<String>,
}

/// Asks the server.
pub(super) async fn ask(db: Db<'_>) -> Result<Identity, StoreError> {
    let doing = "ask which database this is";
    let sql = "SELECT system_identifier::text, \
               (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), current_schema()::text \
               FROM pg_control_system()";
    let row = db.find(sql, &[]).await.doing(doing)?;
    let Some(row) = row else {
        return Err(StoreError::Backend { doing, source: "the server tells nothing of itself".into() });
    };
    Ok(Identity {
        system: row.try_get(0).doing(doing)?,
        database: row.try_get(1).doing(doing)?,
        schema: row.try_get(2).doing(doing)?,
    })
}
