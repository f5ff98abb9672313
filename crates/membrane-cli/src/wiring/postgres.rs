//! A PostgreSQL database, as the settings name it.

use std::sync::Arc;

use membrane::{StoreStats, SystemClock};
use membrane_postgres::doctor::{self, Examination, Question};
use membrane_postgres::transfer::{PostgresSink, PostgresSource};
use membrane_postgres::{OpenError, Pooler, PostgresOptions, PostgresStore, SslMode};

use super::{Kept, MigrationStatus, Missing, Opened, SessionTrace, Upgrade, UpgradeOptions};
use crate::config::{self, PostgresSettings, PostgresUrl, RootCert};
use crate::failure::{Exit, Failure};

/// Opens the database, and brings its schema up to date.
pub(super) async fn open(
    url: &PostgresUrl,
    settings: &PostgresSettings,
    missing: Missing,
    old_tables: UpgradeOptions,
) -> Result<Opened, Failure> {
    let options = PostgresOptions { upgrade: old_tables, ..options(url, settings) };
    if missing == Missing::Refuse {
        refuse_vacant(url, &options).await?;
    }
    let store = PostgresStore::open(options).await.map_err(open_failure)?;
    let upgrade = store.upgrade().map(|upgrade| Upgrade {
        backup: Kept::Schema(upgrade.schema.clone()),
        report: upgrade.report.clone(),
        forced: upgrade.forced.clone(),
    });
    Ok(Opened { store: Arc::new(store), upgrade })
}

async fn refuse_vacant(url: &PostgresUrl, options: &PostgresOptions) -> Result<(), Failure> {
    if !PostgresStore::is_vacant(options).await.map_err(open_failure)? {
        return Ok(());
    }
    Err(Failure::not_found(format!(
        "there is no keep in {url} yet; make one with \"membrane serve\" or \"membrane migrate\", or name another \
         database with --database-url"
    )))
}

/// Checks a database as it is, and says how much it holds.
pub(crate) async fn check(
    url: &PostgresUrl,
    settings: &PostgresSettings,
) -> Result<(Vec<String>, StoreStats), Failure> {
    let options = options(url, settings);
    refuse_vacant(url, &options).await?;
    PostgresStore::check_database(&options).await.map_err(open_failure)
}

/// Which steps of the schema the database holds. Changes nothing.
pub(super) async fn migration_status(
    url: &PostgresUrl,
    settings: &PostgresSettings,
) -> Result<Vec<MigrationStatus>, Failure> {
    let steps = PostgresStore::migration_status(&options(url, settings)).await.map_err(open_failure)?;
    let step = |step: membrane_postgres::migrations::MigrationStatus| MigrationStatus {
        version: step.version,
        name: step.name,
        applied_at: step.applied_at,
    };
    Ok(steps.into_iter().map(step).collect())
}

/// Opens a keep to be copied.
pub(super) async fn open_copy_source(
    url: &PostgresUrl,
    settings: &PostgresSettings,
) -> Result<PostgresSource, Failure> {
    PostgresSource::open(&copy_options(url, settings)).await.map_err(open_failure)
}

/// Opens a database to be copied into.
pub(super) async fn open_copy_target(
    url: &PostgresUrl,
    settings: &PostgresSettings,
) -> Result<PostgresSink, Failure> {
    PostgresSink::open(&copy_options(url, settings)).await.map_err(open_failure)
}

/// The way past a pooler that the settings name leads to one database, and not to both of a copy.
fn copy_options(url: &PostgresUrl, settings: &PostgresSettings) -> PostgresOptions {
    PostgresOptions { direct_url: None, ..options(url, settings) }
}

/// Looks at everything that can be told of a database. Changes nothing.
pub(crate) async fn examine(
    url: &PostgresUrl,
    settings: Option<&PostgresSettings>,
    deep: bool,
    session: Option<&str>,
) -> Examination {
    let options = settings.map_or_else(|| bare(url), |settings| options(url, settings));
    doctor::examine(&Question { options: &options, deep, session, clock: &SystemClock }).await
}

/// Looks for a session. Changes nothing.
pub(crate) async fn trace_session(url: &PostgresUrl, id: &str) -> SessionTrace {
    doctor::trace_session(&bare(url), id).await
}

fn options(url: &PostgresUrl, settings: &PostgresSettings) -> PostgresOptions {
    PostgresOptions {
        pooler: match settings.pooler {
            config::Pooler::None | config::Pooler::Session => Pooler::None,
            config::Pooler::Transaction => Pooler::Transaction,
        },
        direct_url: settings.direct_url.as_ref().map(PostgresUrl::for_driver),
        pool_size: settings.pool_size,
        connect_timeout: settings.connect_timeout,
        timeout: settings.timeout,
        queue_len: settings.queue_len,
        max_batch: settings.max_batch,
        ..bare(url)
    }
}

/// What the URL alone says.
fn bare(url: &PostgresUrl) -> PostgresOptions {
    PostgresOptions {
        ssl_mode: match url.ssl_mode() {
            config::SslMode::Disable => SslMode::Disable,
            // Without encryption, the server refuses whom it wants to be encrypted; that is then tried.
            config::SslMode::Allow | config::SslMode::Prefer => SslMode::Prefer,
            config::SslMode::Require => SslMode::Require,
            config::SslMode::VerifyCa => SslMode::VerifyCa,
            config::SslMode::VerifyFull => SslMode::VerifyFull,
        },
        ssl_root_cert: match url.ssl_root_cert() {
            Some(RootCert::File(path)) => Some(path.clone()),
            Some(RootCert::System) | None => None,
        },
        ..PostgresOptions::at(url.for_driver())
    }
}

fn open_failure(error: OpenError) -> Failure {
    let (exit, code) = match error {
        OpenError::Store(error) => return error.into(),
        OpenError::Settings { .. } => (Exit::Usage, "invalid_argument"),
        OpenError::Unreachable { .. }
        | OpenError::NotReady { .. }
        | OpenError::TooManyConnections { .. }
        | OpenError::OldTablesInUse { .. } => (Exit::Unavailable, "unavailable"),
        OpenError::OldSchema { .. } => (Exit::Failure, "no_keep"),
        OpenError::NoDatabase { .. } => (Exit::NotFound, "not_found"),
        OpenError::UnfinishedCopy { .. } => (Exit::Conflict, "unfinished_copy"),
        OpenError::OldTables { .. } => (Exit::Conflict, "already_there"),
        _ => (Exit::Failure, "failed"),
    };
    Failure::caused(exit, code, &error)
}
