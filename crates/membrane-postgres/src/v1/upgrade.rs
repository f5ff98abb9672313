//! V1's tables become a keep where they are, in one transaction: until its end, and whatever ends it before, the database is
//! what it was.
//!
//! The old tables are not copied but moved, as they are, into a schema of their own: nothing is written to them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use membrane_core::time::{Clock, SystemClock};
use membrane_store::kgents::{self, LoadError, LoadOptions, Report, SourceError, UpgradeOptions};
use membrane_store::{StoreError, transfer};
use tokio::runtime::Handle;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::others::{self, ForeignKey};
use super::shape::{self, Found, Shape};
use super::sink::{Line, UpgradeSink};
use super::source::V1Source;
use crate::connect::Connector;
use crate::db::Db;
use crate::error::{OpenError, message, store_error};
use crate::migrations;
use crate::open;
use crate::options::PostgresOptions;
use crate::pool::{Conn, Pool};
use crate::rights;
use crate::transfer::{PATIENT, for_copy};
use crate::value::values;

const UPGRADING: &str = "upgrade kgents' tables";

/// After how many turns the log is told how far an upgrade is.
const TELL_EVERY: u64 = 100_000;

/// What became of V1's tables.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The schema where they are kept as they were.
    pub schema: String,
    /// What was in them, and what of it was odd.
    pub report: Report,
    /// What of others was in the way, and was overridden.
    pub forced: Option<String>,
}

/// Upgrades the tables, on a connection of its own; `None` if another process has done it meanwhile. If it is dropped, the
/// upgrade is taken back, unless it was just ending.
pub(crate) async fn upgrade(options: &PostgresOptions) -> Result<Option<Upgrade>, OpenError> {
    let pool = Pool::new(&for_copy(options))?;
    let conn = open::connect(&pool).await?;
    let (alive, runtime) = (Arc::new(()), Handle::current());
    let weak = Arc::downgrade(&alive);
    let work = Work {
        conn,
        connector: pool.connector().clone(),
        runtime,
        alive: weak,
        options: options.upgrade.clone(),
        timeout: options.timeout,
    };
    let upgraded = tokio::task::spawn_blocking(move || work.run()).await;
    drop(alive);
    pool.close();
    match upgraded {
        Ok(upgraded) => upgraded,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down.
            Err(_) => Err(StoreError::Closed.into()),
        },
    }
}

/// An upgrade, on a thread that may wait.
struct Work {
    conn: Conn,
    connector: Connector,
    runtime: Handle,
    alive: Weak<()>,
    options: UpgradeOptions,
    timeout: Duration,
}

impl Work {
    fn run(self) -> Result<Option<Upgrade>, OpenError> {
        let begin =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {PATIENT}; {}", migrations::LOCK);
        self.batch("begin the upgrade of kgents' tables", &begin)?;
        let done = self.upgrade();
        let is_done = matches!(done, Ok(Some(_))) && self.alive.strong_count() > 0;
        let ended = self.batch(UPGRADING, if is_done { "COMMIT" } else { "ROLLBACK" });
        let done = done?;
        ended?;
        Ok(done)
    }

    fn upgrade(&self) -> Result<Option<Upgrade>, OpenError> {
        let server = || self.connector.server();
        // Another one may have been here before the lock was ours.
        if !self.wait(async |db| Ok(migrations::is_old(db, &self.connector).await))?? {
            return Ok(None);
        }
        let Found::V1(found) = self.wait(async |db| shape::find(db).await)? else { return Ok(None) };
        self.lock(&found)?;
        // As it is now that nobody can change it any more.
        let Found::V1(shape) = self.wait(async |db| shape::find(db).await)? else { return Ok(None) };
        let hindrances = self.wait(async |db| others::find_hindrances(db).await)?;
        let forced = (!hindrances.is_empty()).then(|| hindrances.join("; and "));
        if let (Some(reason), false) = (&forced, self.options.force) {
            return Err(OpenError::UpgradeBlocked { server: server(), reason: reason.clone() });
        }
        let keys = self.wait(async |db| others::foreign_keys(db).await)?;
        for key in &keys {
            self.batch("let go of the old tables", &key.drop_sql())?;
        }
        let schema = self.move_tables(&shape)?;
        self.wait(async |db| Ok(migrations::apply_missing(db, &self.connector).await))??;
        let report = self.load(&shape, &schema)?;
        for key in &keys {
            self.batch("refer to the new tables", &key.add_sql())
                .map_err(|error| self.explain_key(key, error))?;
        }
        let tables = transfer::TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", ");
        self.batch(UPGRADING, &format!("ANALYZE {tables}"))?;
        Ok(Some(Upgrade { schema, report, forced }))
    }

    /// Keeps everybody else off the old tables, but does not wait for ever for those who are at them.
    fn lock(&self, shape: &Shape) -> Result<(), OpenError> {
        let tables = shape.tables().collect::<Vec<_>>().join(", ");
        let millis = self.timeout.as_millis();
        let sql = format!(
            "SET LOCAL lock_timeout = {millis}; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = 0"
        );
        self.run_batch(&sql)?.map_err(|error| match error.code() {
            Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                OpenError::OldTablesInUse { server: self.connector.server() }
            }
            _ => self.failed("lock kgents' tables", error),
        })
    }

    /// Moves the tables, with their indexes and sequences, into a schema of their own, and gives its name.
    fn move_tables(&self, shape: &Shape) -> Result<String, OpenError> {
        let now = SystemClock.now().to_string();
        let stamp: String =
            now.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect::<String>().to_ascii_lowercase();
        let mut number = 1;
        let schema = loop {
            let suffix = if number == 1 { String::new() } else { format!("_{number}") };
            let name = format!("membrane_v1_backup_{stamp}z{suffix}");
            let taken = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
            let taken = self.query("look for a free name", taken, &name)?;
            if !taken {
                break name;
            }
            number += 1;
        };
        self.batch("make a schema for kgents' tables", &format!("CREATE SCHEMA {schema}"))?;
        for table in shape.tables() {
            self.batch("move kgents' tables", &format!("ALTER TABLE {table} SET SCHEMA {schema}"))?;
        }
        Ok(schema)
    }

    fn load(&self, shape: &Shape, schema: &str) -> Result<Report, OpenError> {
        let line = Line { conn: &self.conn, runtime: &self.runtime, alive: &self.alive };
        let mut source = V1Source::prepare(line, shape, schema)?;
        let mut sink = UpgradeSink::new(line);
        let load = LoadOptions { naive_zone: self.options.naive_zone.clone(), now: SystemClock.now() };
        let mut told = 0;
        let mut watch = |report: &Report| {
            if report.turns_written >= told + TELL_EVERY {
                told = report.turns_written;
                tracing::info!(turns = told, sessions = report.sessions_created, "upgrading");
            }
        };
        let report =
            kgents::load(&mut source, &mut sink, &load, &mut watch).map_err(|error| self.explain(error))?;
        source.clear()?;
        if !report.is_complete() {
            // Never seen; to lose rows in silence would be worse than to refuse.
            let problem = format!("the rows that were read and skipped are not all: {:?}", report.tables);
            return Err(StoreError::inconsistent("(tables)", self.connector.server(), problem).into());
        }
        Ok(report)
    }

    fn wait<T>(&self, work: impl AsyncFnOnce(Db<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.conn.db()?;
        self.runtime.block_on(self.conn.at_leisure(work(db)))
    }

    fn run_batch(&self, sql: &str) -> Result<Result<(), Error>, StoreError> {
        self.wait(async |db| Ok(db.batch(sql).await))
    }

    fn batch(&self, doing: &'static str, sql: &str) -> Result<(), OpenError> {
        self.run_batch(sql)?.map_err(|error| self.failed(doing, error))
    }

    /// Whether there is a row.
    fn query(&self, doing: &'static str, sql: &str, value: &str) -> Result<bool, OpenError> {
        let found = self.wait(async |db| Ok(db.find(sql, &values![value]).await))?;
        Ok(found.map_err(|error| self.failed(doing, error))?.is_some())
    }

    fn failed(&self, doing: &'static str, error: Error) -> OpenError {
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return OpenError::NotAllowed {
                server: self.connector.server(),
                remedy: rights::remedy(&message(&error), &self.connector.user()),
                user: self.connector.user(),
                doing,
                problem: message(&error),
            };
        }
        store_error(doing, error).into()
    }

    /// A keep's table has other keys than the old one had.
    fn explain_key(&self, key: &ForeignKey, error: OpenError) -> OpenError {
        match error {
            OpenError::Store(StoreError::Backend { source, .. }) => OpenError::UpgradeBlocked {
                server: self.connector.server(),
                reason: format!("the foreign key {} cannot refer to the new table: {source}", key.shown()),
            },
            error => error,
        }
    }

    /// A full disk and a lost connection are what they are everywhere.
    fn explain(&self, error: LoadError) -> OpenError {
        let is_plain = |error: &StoreError| {
            matches!(error, StoreError::StorageFull | StoreError::Unavailable { .. } | StoreError::Closed)
        };
        match error {
            LoadError::Sink { source, .. } if is_plain(&source) => source.into(),
            LoadError::Source(SourceError::Read(source)) => match source.downcast::<StoreError>() {
                Ok(source) if is_plain(&source) => (*source).into(),
                Ok(source) => self.not_taken_in(LoadError::Source(SourceError::Read(source))),
                Err(source) => self.not_taken_in(LoadError::Source(SourceError::Read(source))),
            },
            error => self.not_taken_in(error),
        }
    }

    fn not_taken_in(&self, source: LoadError) -> OpenError {
        OpenError::Upgrade { server: self.connector.server(), source }
    }
}
