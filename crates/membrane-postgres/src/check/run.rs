//! Runs all checks: on one connection, or on a database that nobody needs to have opened.

use membrane_store::{StoreError, StoreStats};
use tokio_postgres::Error;

use super::queries::{QUERIES, Query};
use super::report::Report;
use super::rows;
use crate::db::Db;
use crate::error::{Doing, OpenError};
use crate::migrations;
use crate::open;
use crate::options::PostgresOptions;
use crate::pool::Pool;
use crate::read::stats;
use crate::transfer::mark;

/// Checks a database as it is, and says how much it holds.
pub(crate) async fn check_database(
    options: &PostgresOptions,
) -> Result<(Vec<String>, StoreStats), OpenError> {
    let pool = Pool::new(options)?;
    let conn = open::connect(&pool).await?;
    let (db, connector) = (conn.db()?, pool.connector());
    let inspect = async {
        mark::refuse_unfinished(db, connector).await?;
        let steps = migrations::status(db, connector).await?;
        if steps.iter().any(|step| step.applied_at.is_none()) {
            return Err(OpenError::OldSchema { server: connector.server() });
        }
        migrations::inspect(db, connector).await
    };
    let inspected = tokio::time::timeout(options.timeout, inspect).await;
    inspected.map_err(|_| open::silent(connector, options.timeout))??;
    let findings = conn.at_leisure(check(db)).await?;
    let stats = conn.at_leisure(stats::stats(db)).await?;
    pool.close();
    Ok((findings, stats))
}

/// One line per finding.
pub(crate) async fn check(db: Db<'_>) -> Result<Vec<String>, StoreError> {
    let doing = "check the keep";
    db.begin_long_snapshot().await.doing(doing)?;
    let mut report = Report::default();
    look(db, &mut report).await.doing(doing)?;
    db.batch("COMMIT").await.doing(doing)?;
    Ok(report.into_lines())
}

async fn look(db: Db<'_>, report: &mut Report) -> Result<(), Error> {
    rows::values(db, report).await?;
    rows::turns(db, report).await?;
    rows::evidence(db, report).await?;
    for Query(theme, sentence, sql) in QUERIES {
        for row in db.query(sql, &[]).await? {
            report.find(*theme, sentence.replacen("{}", &rows::name(&row), 1));
        }
    }
    Ok(())
}
