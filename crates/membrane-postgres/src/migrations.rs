//! The schema, as numbered files that are applied in order at start, each once, under an advisory lock.
//!
//! Recorded in `schema_version` with a checksum, with the numbers of the SQLite backend's steps. Numbers of ours start
//! at 1001: rows 1 and 2 of a kgents database are not ours and stay as they are. An applied file is never edited; a
//! change is a new file.

use membrane_core::time::{Clock, SystemClock};
use membrane_store::kgents::columns::TABLES;
use sha2::{Digest, Sha256};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::connect::Connector;
use crate::db::Db;
use crate::error::{OpenError, message, store_error};
use crate::rights;
use crate::v1;
use crate::value::values;

/// The lowest number of ours.
pub(crate) const FIRST: i64 = 1001;

/// Whoever brings the schema up to date holds this lock: "memb", 1.
pub(crate) const LOCK: &str = "SELECT pg_advisory_xact_lock(1835363682, 1)";

/// One step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number; they are applied in this order.
    pub version: i64,
    /// What it is called.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1001, name: "keep", sql: include_str!("migrations/1001_keep.sql") },
    Migration { version: 1002, name: "old rows", sql: include_str!("migrations/1002_old_rows.sql") },
    Migration { version: 1003, name: "events", sql: include_str!("migrations/1003_events.sql") },
    Migration { version: 1004, name: "instances", sql: include_str!("migrations/1004_instances.sql") },
    Migration { version: 1005, name: "leaders", sql: include_str!("migrations/1005_leaders.sql") },
    Migration { version: 1006, name: "slots", sql: include_str!("migrations/1006_slots.sql") },
    Migration { version: 1007, name: "rows", sql: include_str!("migrations/1007_rows.sql") },
    Migration { version: 1008, name: "told events", sql: include_str!("migrations/1008_told_events.sql") },
    Migration { version: 1009, name: "one for each", sql: include_str!("migrations/1009_one_for_each.sql") },
    Migration { version: 1010, name: "shared runs", sql: include_str!("migrations/1010_shared_runs.sql") },
    Migration { version: 1011, name: "lean rows", sql: include_str!("migrations/1011_lean_rows.sql") },
];

/// Whether a step is in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number.
    pub version: i64,
    /// What it is called.
    pub name: &'static str,
    /// When it was applied; `None` if it was not.
    pub applied_at: Option<String>,
}

/// The whole schema as SQL.
pub fn sql() -> String {
    let parts: Vec<_> =
        MIGRATIONS.iter().map(|step| format!("-- {} {}\n\n{}", step.version, step.name, step.sql)).collect();
    parts.join("\n")
}

impl Migration {
    /// SHA-256 of the statements, the first 16 hex digits: tells an edited file from the released one.
    pub fn checksum(&self) -> String {
        let digest = Sha256::digest(self.sql.as_bytes());
        let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }
}

/// A row of ours in `schema_version`.
struct Applied {
    version: i64,
    checksum: String,
    when: String,
}

/// What the steps were tried on, for what goes wrong.
struct Place<'a> {
    db: Db<'a>,
    connector: &'a Connector,
}

/// Brings the database up to date. Many may try at once; the first one does it.
pub(crate) async fn migrate(db: Db<'_>, connector: &Connector) -> Result<(), OpenError> {
    let place = Place { db, connector };
    // Without the lock: on most starts there is nothing to do.
    if place.inspect().await?.len() == MIGRATIONS.len() {
        return Ok(());
    }
    place.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0").await?;
    let migrated = place.apply_missing().await;
    // What could not be done is taken back; the connection goes, too, if even that fails.
    place.run(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    migrated
}

/// What is applied and what is not. Changes nothing.
pub(crate) async fn status(db: Db<'_>, connector: &Connector) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = Place { db, connector }.applied().await?;
    let status = |step: &Migration| MigrationStatus {
        version: step.version,
        name: step.name,
        applied_at: applied.iter().find(|row| row.version == step.version).map(|row| row.when.clone()),
    };
    Ok(MIGRATIONS.iter().map(status).collect())
}

/// Refuses a database that is not ours to write to. Only reads.
pub(crate) async fn inspect(db: Db<'_>, connector: &Connector) -> Result<(), OpenError> {
    Place { db, connector }.inspect().await.map(|_| ())
}

/// Whether kgents' V1 tables stand where a keep would be made.
///
/// # Errors
/// Those of [`inspect`], but for [`OpenError::OldTables`].
pub(crate) async fn is_old(db: Db<'_>, connector: &Connector) -> Result<bool, OpenError> {
    match inspect(db, connector).await {
        Ok(()) => Ok(false),
        Err(OpenError::OldTables { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether there is nothing of a keep, nor anything that would become one.
pub(crate) async fn is_vacant(db: Db<'_>, connector: &Connector) -> Result<bool, OpenError> {
    let place = Place { db, connector };
    Ok(place.applied().await?.is_empty() && !is_old(db, connector).await?)
}

/// Applies the steps that are not there yet, in the caller's transaction, under the lock.
pub(crate) async fn apply_missing(db: Db<'_>, connector: &Connector) -> Result<(), OpenError> {
    Place { db, connector }.apply_missing().await
}

impl Place<'_> {
    async fn run(&self, sql: &str) -> Result<(), OpenError> {
        self.db.batch(sql).await.map_err(|error| self.failed("create tables", error))
    }

    async fn apply_missing(&self) -> Result<(), OpenError> {
        self.run(LOCK).await?;
        // Once more under the lock: another one may have been here meanwhile.
        let applied = self.inspect().await?;
        if applied.len() == MIGRATIONS.len() {
            return Ok(());
        }
        let applied_at = self.prepare_version_table().await?;
        for step in MIGRATIONS {
            if applied.iter().any(|row| row.version == step.version) {
                continue;
            }
            self.run(step.sql).await?;
            let insert = format!(
                "INSERT INTO schema_version (version, applied_at, name, checksum) \
                 VALUES ($1, $2::{applied_at}, $3, $4)"
            );
            let values = values![step.version, SystemClock.now().to_string(), step.name, step.checksum()];
            self.db
                .execute(&insert, &values)
                .await
                .map_err(|error| self.failed("write to schema_version", error))?;
        }
        Ok(())
    }

    /// Refuses a database that is not ours to write to: another make's, a newer one, an edited one. Only reads.
    async fn inspect(&self) -> Result<Vec<Applied>, OpenError> {
        let applied = self.applied().await?;
        let server = || self.connector.server();
        for row in &applied {
            let Some(step) = MIGRATIONS.iter().find(|step| step.version == row.version) else { continue };
            if row.checksum != step.checksum() {
                return Err(OpenError::ChecksumMismatch {
                    server: server(),
                    version: row.version,
                    found: row.checksum.clone(),
                    known: step.checksum(),
                });
            }
        }
        let known = MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0);
        if let Some(found) = applied.iter().map(|row| row.version).max().filter(|found| *found > known) {
            return Err(OpenError::TooNew { server: server(), found, known });
        }
        if applied.is_empty() {
            self.refuse_foreign_tables().await?;
        }
        Ok(applied)
    }

    /// Rows of ours in `schema_version`.
    async fn applied(&self) -> Result<Vec<Applied>, OpenError> {
        let columns = self.version_columns().await?;
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let kind =
            |name: &str| columns.iter().find(|column| column.0 == name).map(|column| column.1.as_str());
        let is_number = matches!(kind("version"), Some("smallint" | "integer" | "bigint"));
        // No column of others must be filled.
        let is_free = columns.iter().all(|(name, _, must)| {
            ["version", "applied_at", "name", "checksum"].contains(&name.as_str()) || !must
        });
        if !is_number || time_type(kind("applied_at")).is_none() || !is_free {
            return Err(self.foreign("schema_version"));
        }
        // kgents' has no checksums, and no numbers as high as ours.
        let checksum = if kind("checksum").is_some() { "checksum" } else { "NULL" };
        let sql = format!(
            "SELECT version::bigint, coalesce({checksum}, 'none')::text, coalesce(applied_at::text, '') \
             FROM schema_version WHERE version >= $1 ORDER BY version"
        );
        let rows = self.db.query(&sql, &values![FIRST]).await.map_err(|error| self.failed(READING, error))?;
        rows.iter()
            .map(|row| {
                Ok(Applied { version: row.try_get(0)?, checksum: row.try_get(1)?, when: row.try_get(2)? })
            })
            .collect::<Result<_, Error>>()
            .map_err(|error| self.failed(READING, error))
    }

    /// The columns of `schema_version`: name, type, and whether it must be given. None if there is no such table where
    /// ours would be made.
    async fn version_columns(&self) -> Result<Vec<(String, String, bool)>, OpenError> {
        let sql = "SELECT a.attname::text, format_type(a.atttypid, NULL), a.attnotnull AND NOT a.atthasdef \
                   AND a.attidentity = '' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                   WHERE c.relname = 'schema_version' AND c.relnamespace = quote_ident(current_schema())::regnamespace \
                   AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = self.db.query(sql, &[]).await.map_err(|error| self.failed(READING, error))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect::<Result<_, Error>>()
            .map_err(|error| self.failed(READING, error))
    }

    /// Makes the table, or adds our columns to the one that is there; its rows stay as they are. Gives the type of
    /// `applied_at`.
    async fn prepare_version_table(&self) -> Result<&'static str, OpenError> {
        self.run(
            "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, applied_at TEXT); \
             ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS name TEXT, \
             ADD COLUMN IF NOT EXISTS checksum TEXT",
        )
        .await?;
        let columns = self.version_columns().await?;
        let kind = columns.iter().find(|column| column.0 == "applied_at").map(|column| column.1.as_str());
        time_type(kind).ok_or_else(|| self.foreign("schema_version"))
    }

    /// A new schema needs all of its names; tables of others beside them are no hindrance.
    async fn refuse_foreign_tables(&self) -> Result<(), OpenError> {
        // What goes with V1's tables when they go, their indexes for one, is in nobody's way.
        let sql = "SELECT c.relname::text FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid \
                       LEFT JOIN pg_class t ON t.oid = i.indrelid \
                   WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ANY ($1) \
                       AND NOT coalesce(t.relname, c.relname) = ANY ($2) \
                   UNION ALL SELECT proname::text FROM pg_proc \
                   WHERE pronamespace = quote_ident(current_schema())::regnamespace AND proname = ANY ($1) ORDER BY 1";
        let found = v1::find(self.db).await?;
        let old = if let v1::Found::V1(_) = found { TABLES.to_vec() } else { Vec::new() };
        let others = self.db.find(sql, &values![names(), old]).await;
        let others = others.map_err(|error| self.failed(READING, error))?;
        let other = others.map(|row| row.try_get::<_, String>(0)).transpose();
        match (found, other.map_err(|error| self.failed(READING, error))?) {
            (v1::Found::Other { name, problem }, _) => {
                Err(OpenError::NotV1 { server: self.connector.server(), name, problem })
            }
            (_, Some(table)) => Err(self.foreign(&table)),
            (v1::Found::V1(_), None) => {
                Err(OpenError::OldTables { server: self.connector.server(), table: TABLES[0].to_owned() })
            }
            (v1::Found::Nothing, None) => Ok(()),
        }
    }

    fn foreign(&self, table: &str) -> OpenError {
        OpenError::ForeignTables { server: self.connector.server(), table: table.to_owned() }
    }

    fn failed(&self, doing: &'static str, error: Error) -> OpenError {
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return OpenError::NotAllowed {
                server: self.connector.server(),
                user: self.connector.user(),
                doing,
                remedy: rights::remedy(&message(&error), &self.connector.user()),
                problem: message(&error),
            };
        }
        OpenError::Store(store_error("bring the schema up to date", error))
    }
}

const READING: &str = "read the schema's version";

/// How a time of ours is written into a column of this type; `None` if it does not fit.
fn time_type(kind: Option<&str>) -> Option<&'static str> {
    match kind? {
        "text" | "character varying" => Some("text"),
        "timestamp with time zone" => Some("text::timestamptz"),
        "timestamp without time zone" => Some("text::timestamp"),
        _ => None,
    }
}

/// What the steps make, by name.
pub(crate) fn names() -> Vec<&'static str> {
    made(&["TABLE", "INDEX", "VIEW", "SEQUENCE", "FUNCTION", "UNIQUE INDEX", "TYPE"])
}

/// The tables that the steps make.
pub(crate) fn tables() -> Vec<&'static str> {
    made(&["TABLE"])
}

/// The tables that the steps make, and what gives them numbers.
pub(crate) fn tables_and_sequences() -> Vec<&'static str> {
    made(&["TABLE", "SEQUENCE"])
}

fn made(kinds: &[&str]) -> Vec<&'static str> {
    let mut made = Vec::new();
    for line in MIGRATIONS.iter().flat_map(|step| step.sql.lines()) {
        if let Some(dropped) = line.strip_prefix("DROP INDEX ") {
            let dropped: Vec<_> = dropped.split([',', ' ', ';']).collect();
            made.retain(|name| !dropped.contains(name));
        }
        let what = line.strip_prefix("CREATE ").unwrap_or_default();
        let named = kinds.iter().find_map(|kind| what.strip_prefix(kind)?.strip_prefix(' '));
        made.extend(named.and_then(|rest| rest.split([' ', '(', ';']).next()));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_the_schema_needs_are_read_from_it() {
        let names = names();
        for name in [
            "segments",
            "chat_turns",
            "membrane_numbers",
            "membrane_time",
            "idx_chat_sessions_active",
            "membrane_turn_row",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.contains(&"events_seq_idx"), "a later step drops it");
        let lines = |start| {
            sql().lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect::<Vec<_>>()
        };
        let n_made = lines("CREATE ").iter().filter(|line| !line.contains("TRIGGER")).count();
        let n_dropped: usize = lines("DROP INDEX ").iter().map(|line| line.split(',').count()).sum();
        assert_eq!(names.len(), n_made - n_dropped);
    }
}
