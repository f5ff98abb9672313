//! kgents V1 files: upgraded whole where they are, or refused and left as they were.

mod odd;
mod safe;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use membrane_core::ids::SessionId;
use membrane_sqlite::v1::{Upgrade, UpgradeOptions};
use membrane_sqlite::{OpenError, SqliteOptions, SqliteStore};
use membrane_store::kgents::Oddity;
use membrane_store::{OldRow, Store, Thread};
use rusqlite::{Connection, Params};

use crate::keep::Keep;

/// The tables as kgents' guide publishes them, and the indexes that it names.
const DDL: &str = "
    CREATE TABLE chat_sessions (
        id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT REFERENCES chat_sessions(id), fork_point INTEGER,
        branch_name TEXT NOT NULL DEFAULT 'main', state TEXT NOT NULL DEFAULT 'idle',
        turn_count INTEGER NOT NULL DEFAULT 0, context_size INTEGER NOT NULL DEFAULT 0,
        evidence_json TEXT NOT NULL DEFAULT '{}', metadata_json TEXT NOT NULL DEFAULT '{}',
        is_merged INTEGER NOT NULL DEFAULT 0, merged_into TEXT, created_at TEXT NOT NULL, last_active TEXT NOT NULL);
    CREATE TABLE chat_turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL REFERENCES chat_sessions(id) ON DELETE CASCADE, turn_number INTEGER NOT NULL,
        user_message TEXT NOT NULL, assistant_response TEXT NOT NULL,
        user_linearity TEXT NOT NULL DEFAULT 'preserved', assistant_linearity TEXT NOT NULL DEFAULT 'preserved',
        tools_json TEXT, evidence_delta_json TEXT, confidence REAL, started_at TEXT NOT NULL,
        completed_at TEXT NOT NULL, UNIQUE(session_id, turn_number));
    CREATE TABLE chat_crystals (
        session_id TEXT PRIMARY KEY REFERENCES chat_sessions(id) ON DELETE CASCADE, title TEXT NOT NULL,
        summary TEXT NOT NULL, key_decisions_json TEXT, artifacts_json TEXT, final_evidence_json TEXT,
        final_turn_count INTEGER NOT NULL, created_at TEXT NOT NULL);
    CREATE TABLE chat_checkpoints (
        id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES chat_sessions(id) ON DELETE CASCADE,
        turn_count INTEGER NOT NULL, context_json TEXT NOT NULL, evidence_json TEXT NOT NULL, created_at TEXT NOT NULL);
    CREATE INDEX idx_chat_sessions_project ON chat_sessions (project_id);
    CREATE INDEX idx_chat_sessions_parent ON chat_sessions (parent_id);
    CREATE INDEX idx_chat_sessions_active ON chat_sessions (last_active DESC);
    CREATE INDEX idx_chat_turns_session ON chat_turns (session_id, turn_number)";

/// A V1 file under construction.
struct Old {
    keep: Keep,
    plain: Connection,
}

impl Old {
    fn new() -> Self {
        let keep = Keep::new();
        let plain = keep.plain();
        plain.execute_batch(DDL).unwrap();
        plain.execute_batch("PRAGMA synchronous = OFF").unwrap();
        Self { keep, plain }
    }

    fn run(&self, sql: &str, values: impl Params) {
        self.plain.execute(sql, values).unwrap();
    }

    /// A session with turns `u0`/`a0`, `u1`/`a1`, … that begin a second apart.
    fn session(&self, id: &str, n_turns: u32) {
        self.run(
            "INSERT INTO chat_sessions (id, turn_count, created_at, last_active) \
             VALUES (?1, ?2, '2025-12-24T10:00:00', '2025-12-24T11:00:00.000001')",
            (id, n_turns),
        );
        self.turns(id, 0, n_turns);
    }

    fn turns(&self, id: &str, from: u32, to: u32) {
        self.plain.execute_batch("BEGIN").unwrap();
        for number in from..to {
            self.run(
                "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, started_at, \
                 completed_at) VALUES (?1, ?2, 'u' || ?2, 'a' || ?2, ?3, ?3)",
                (id, number, started(number)),
            );
        }
        self.plain.execute_batch("COMMIT").unwrap();
    }

    fn set(&self, id: &str, column: &str, value: impl rusqlite::ToSql) {
        self.run(&format!("UPDATE chat_sessions SET {column} = ?2 WHERE id = ?1"), (id, value));
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions {
            upgrade: UpgradeOptions { naive_zone: TimeZone::UTC, force: false },
            ..self.keep.options()
        }
    }

    /// Opens the file, which upgrades it.
    async fn upgrade(self) -> Upgraded {
        let options = self.options();
        self.upgrade_with(options).await
    }

    async fn upgrade_with(self, options: SqliteOptions) -> Upgraded {
        drop(self.plain);
        let store = SqliteStore::open(options).await.unwrap();
        let upgrade = store.upgrade().unwrap().clone();
        assert!(upgrade.report.is_complete(), "{:?}", upgrade.report.tables);
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        Upgraded { keep: self.keep, store: Arc::new(store), upgrade }
    }

    /// Opens the file, which must be refused and stay as it is.
    async fn refused(&self) -> OpenError {
        let before = self.keep.files();
        let error = SqliteStore::open(self.options()).await.expect_err("must be refused");
        assert!(before == self.keep.files(), "{error}: something changed");
        error
    }
}

/// When turn `number` began.
fn started(number: u32) -> String {
    format!("2025-12-24T10:{:02}:{:02}.5", number / 60, number % 60)
}

/// A file that was upgraded.
struct Upgraded {
    keep: Keep,
    store: Arc<SqliteStore>,
    upgrade: Upgrade,
}

impl Upgraded {
    async fn thread(&self, id: &str) -> Thread {
        self.store.load_thread(&SessionId::from_stored(id), 0..u64::MAX).await.unwrap().unwrap()
    }

    /// What was said in a session.
    async fn said(&self, id: &str) -> Vec<String> {
        let thread = self.thread(id).await;
        let line = |kept: &membrane_core::turn::KeptTurn| {
            format!("{}/{}", kept.turn.user.content, kept.turn.assistant.content)
        };
        thread.turns.iter().map(line).collect()
    }

    async fn kept(&self, id: Option<&str>) -> Vec<OldRow> {
        let id = id.map(SessionId::from_stored);
        self.store.list_old_rows(id.as_ref(), 0, 1000).await.unwrap()
    }

    fn count(&self, oddity: Oddity) -> u64 {
        self.upgrade.report.oddities.get(&oddity).copied().unwrap_or(0)
    }

    fn backup(&self) -> &PathBuf {
        &self.upgrade.backup
    }
}
