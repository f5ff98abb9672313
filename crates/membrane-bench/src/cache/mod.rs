//! What a cache before the database gains: the same reads without one, from memory, from a Redis, and from both, on
//! SQLite and on PostgreSQL.
//!
//! Two views of it: `mixed.rs` reads as many users would, with hits and misses; `lengths.rs` reads one thread again and
//! again, which is the most that a cache can gain for threads of that length. Whether the cache is right is not here:
//! its own tests say so.

mod counts;
mod lengths;
mod levels;
mod mixed;
mod plan;

use std::path::Path;
use std::sync::Arc;

use membrane::Store;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use crate::Failure;
use crate::postgres::server::Server;
use crate::report::Report;
use counts::Counts;

/// Measures both databases.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let counts = Counts::install()?;
    let sqlite: Arc<dyn Store> =
        Arc::new(SqliteStore::open(SqliteOptions::at(folder.join("cache.db"))).await?);
    measure_store("sqlite", &sqlite, &counts, report).await?;
    sqlite.close().await?;
    let server = Server::start()?;
    report.note(format!("PostgreSQL {}", server.version().await?));
    let keep = server.keep().await?;
    let postgres: Arc<dyn Store> =
        Arc::new(PostgresStore::open(PostgresOptions::at(keep.url.clone())).await?);
    measure_store("postgres", &postgres, &counts, report).await?;
    postgres.close().await?;
    keep.close().await
}

async fn measure_store(
    database: &str,
    store: &Arc<dyn Store>,
    counts: &Counts,
    report: &mut Report,
) -> Result<(), Failure> {
    lengths::measure(database, store, report).await?;
    mixed::measure(database, store, counts, report).await
}
