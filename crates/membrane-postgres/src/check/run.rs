//! Runs all checks on one connection.

use membrane_store::StoreError;
use tokio_postgres::Error;

use super::queries::{QUERIES, Query};
use super::report::Report;
use super::rows;
use crate::db::Db;
use crate::error::Doing;

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
