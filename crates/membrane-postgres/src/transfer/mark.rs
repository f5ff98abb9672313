//! The mark of an unfinished copy: one row in a table that only such a database has.

use membrane_store::StoreError;
use membrane_store::transfer::{MARK_TABLE, Mark};

use crate::connect::Connector;
use crate::db::Db;
use crate::error::{Doing, OpenError};
use crate::value::{unescape, values};

const LOOKING: &str = "look for an unfinished copy";

/// Leaves the mark of a first try.
pub(super) async fn make(db: Db<'_>, mark: &Mark) -> Result<i64, StoreError> {
    let doing = "mark the copy as unfinished";
    db.batch(&format!(
        "CREATE TABLE {MARK_TABLE} (source TEXT NOT NULL, started_at TEXT NOT NULL, attempt BIGINT NOT NULL)"
    ))
    .await
    .doing(doing)?;
    let sql = format!("INSERT INTO {MARK_TABLE} (source, started_at, attempt) VALUES ($1, $2, 1)");
    db.execute(&sql, &values![&mark.source, mark.started_at.to_string()]).await.doing(doing)?;
    Ok(1)
}

async fn is_there(db: Db<'_>) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relname = $1 AND relkind = 'r' \
               AND relnamespace = quote_ident(current_schema())::regnamespace)";
    let row = db.find(sql, &values![MARK_TABLE]).await.doing(LOOKING)?;
    row.map_or(Ok(false), |row| row.try_get(0).doing(LOOKING))
}

/// What is being copied into the database; `None` for one without the mark.
pub(crate) async fn find_source(db: Db<'_>) -> Result<Option<String>, StoreError> {
    if !is_there(db).await? {
        return Ok(None);
    }
    let row = db.find(&format!("SELECT source FROM {MARK_TABLE}"), &[]).await.doing(LOOKING)?;
    // A table without its row was left by nobody of ours, and is no keep's either.
    let unknown = "an unknown database".to_owned();
    let source = row.map_or(Ok(unknown), |row| row.try_get(0).map(|source| unescape(source).into_owned()));
    source.map(Some).doing(LOOKING)
}

/// Refuses to open a copy that was interrupted.
pub(crate) async fn refuse_unfinished(db: Db<'_>, connector: &Connector) -> Result<(), OpenError> {
    match find_source(db).await? {
        None => Ok(()),
        Some(source_name) => Err(OpenError::UnfinishedCopy { server: connector.server(), source_name }),
    }
}

/// Begins the next try, and says which it is. Earlier ones find that they are not the newest any more.
pub(super) async fn take_over(db: Db<'_>) -> Result<i64, StoreError> {
    let doing = "go on with the copy";
    let sql = format!("UPDATE {MARK_TABLE} SET attempt = attempt + 1 RETURNING attempt");
    let row = db.find(&sql, &[]).await.doing(doing)?;
    row.map_or(Ok(0), |row| row.try_get(0).doing(doing))
}

/// Whether this try is the newest; it stays so until the transaction ends.
pub(super) async fn is_newest(db: Db<'_>, attempt: i64) -> Result<bool, StoreError> {
    if !is_there(db).await? {
        return Ok(false);
    }
    let sql = format!("SELECT attempt FROM {MARK_TABLE} FOR UPDATE");
    let row = db.find(&sql, &[]).await.doing(LOOKING)?;
    row.map_or(Ok(false), |row| row.try_get::<_, i64>(0).map(|newest| newest == attempt).doing(LOOKING))
}

/// Removes the mark.
pub(super) async fn remove(db: Db<'_>) -> Result<(), StoreError> {
    db.batch(&format!("DROP TABLE {MARK_TABLE}")).await.doing("finish the copy")
}
