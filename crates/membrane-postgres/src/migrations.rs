//! The schema, as numbered files that are applied in order at start, each once, under an advisory lock.
//!
//! Recorded in `schema_version` with a checksum, with the numbers of the SQLite backend's steps. Numbers of ours start
//! at 1001: rows 1 and 2 of a kgents database are not ours and stay as they are. An applied file is never edited; a
//! change is a new file.

use sha2::{Digest, Sha256};

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
];

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
