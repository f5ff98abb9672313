//! What tells one keep's data from another's.

use membrane_store::StoreError;

use crate::db::Db;
use crate::error::Doing;
use crate::migrations::FIRST;
use crate::rows::{self, get};
use crate::value::values;

/// The database's number in its cluster, and when the keep was made in it. Nothing repairs turns here.
const FIND: &str = "SELECT d.oid::BIGINT, coalesce(v.applied_at::TEXT, '') FROM pg_database d, schema_version v \
     WHERE d.datname = current_database() AND v.version = $1";

pub(crate) async fn find(db: Db<'_>) -> Result<String, StoreError> {
    let found = db.find(FIND, &values![FIRST]).await.doing("read the keep's name")?;
    let row = found.ok_or_else(|| StoreError::inconsistent("schema_version", FIRST, "it is not there"))?;
    let (database, made) =
        rows::read("schema_version", &row, |row| Ok((get::<i64>(row, 0)?, get::<String>(row, 1)?)))?;
    Ok(format!("postgres-{database}-{made}"))
}
