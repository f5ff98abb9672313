//! Membrane as the campaigns over old files use it: a file is opened, which upgrades it, checked, and closed.
//!
//! Not here: the files, and the judgement (`membrane_crashtest::old_files`).

use std::error::Error;
use std::path::Path;

use jiff::tz::TimeZone;
use membrane::Store;
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::old_files::campaign::{Asked, Upgraded, Upgrader};
use membrane_crashtest::old_files::oracle::{Account, Count};
use membrane_crashtest::old_files::times::Zone;
use membrane_sqlite::v1::UpgradeOptions;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::kgents::Report;
use tokio::runtime::Runtime;

use crate::keep::{self, PATIENCE};

/// Upgrades V1 files by opening them.
pub(crate) struct Opening {
    runtime: Runtime,
}

impl Opening {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { runtime: keep::runtime()? })
    }
}

impl Upgrader for Opening {
    fn upgrade(&self, file: &Path, asked: Asked) -> Result<Upgraded, String> {
        self.runtime.block_on(async {
            let options = options(file, asked).map_err(|error| with_causes(&error))?;
            let store = SqliteStore::open(options).await.map_err(|error| with_causes(&error))?;
            let upgrade = store.upgrade().cloned();
            let unsound = store.check().await.map_err(|error| with_causes(&error));
            store.close().await.map_err(|error| with_causes(&error))?;
            Ok(Upgraded {
                account: upgrade.as_ref().map(|upgrade| {
                    let mut account = account(&upgrade.report);
                    account.findings.extend(upgrade.forced.clone());
                    account
                }),
                backup: upgrade.map(|upgrade| upgrade.backup),
                unsound: unsound.unwrap_or_else(|error| vec![error]),
            })
        })
    }
}

/// A zone as the product knows it.
pub(crate) fn time_zone(zone: Zone) -> Result<TimeZone, jiff::Error> {
    match zone {
        Zone::Utc => Ok(TimeZone::UTC),
        Zone::Winter => TimeZone::posix(zone.posix()),
    }
}

/// How a file is opened that may be old.
pub(crate) fn options(file: &Path, asked: Asked) -> Result<SqliteOptions, jiff::Error> {
    Ok(SqliteOptions {
        upgrade: UpgradeOptions { naive_zone: time_zone(asked.zone)?, force: asked.is_forced },
        busy_timeout: PATIENCE,
        ..SqliteOptions::at(file)
    })
}

/// A report as the oracle reads it.
pub(crate) fn account(report: &Report) -> Account {
    let tables = report.tables.iter().map(|(name, count)| {
        let count = Count { total: count.total, read: count.read, skipped: count.skipped };
        ((*name).to_owned(), count)
    });
    let findings = report.findings.iter().map(|finding| format!("{}: {}", finding.place, finding.what));
    Account { tables: tables.collect(), findings: findings.collect() }
}

/// A message with its causes, as the command line shows it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
