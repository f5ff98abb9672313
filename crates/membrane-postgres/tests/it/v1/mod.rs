//! kgents' V1 tables in a database: a keep comes in their place, or they stay as they are.
//!
//! That what comes out is what SQLite's upgrade of the same rows gives is tried on random rows by `membrane-crashtest`.

mod safe;
mod types;
mod whole;

use std::fmt::Write;

use membrane_core::ids::SessionId;
use membrane_postgres::v1::Upgrade;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_store::kgents::Oddity;
use membrane_store::{OldRow, Store, Thread};
use membrane_testservers::Database;

use crate::keep::{database, options, refusal};

/// The tables as kgents' guide publishes them, and the indexes that it names.
pub(crate) const DDL: &str = "
    CREATE TABLE chat_sessions (
        id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT REFERENCES chat_sessions(id), fork_point INTEGER,
        branch_name TEXT NOT NULL DEFAULT 'main', state TEXT NOT NULL DEFAULT 'idle',
        turn_count INTEGER NOT NULL DEFAULT 0, context_size INTEGER NOT NULL DEFAULT 0,
        evidence_json TEXT NOT NULL DEFAULT '{}', metadata_json TEXT NOT NULL DEFAULT '{}',
        is_merged INTEGER NOT NULL DEFAULT 0, merged_into TEXT, created_at TEXT NOT NULL, last_active TEXT NOT NULL);
    CREATE TABLE chat_turns (
        id SERIAL PRIMARY KEY,
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

const TABLES: [&str; 4] = ["chat_sessions", "chat_turns", "chat_crystals", "chat_checkpoints"];

/// A database with V1's tables.
struct Old {
    database: Database,
}

impl Old {
    fn new() -> Self {
        Self::made_by(DDL)
    }

    fn made_by(ddl: &str) -> Self {
        let old = Self { database: database() };
        old.run(ddl);
        old
    }

    fn run(&self, sql: &str) -> String {
        self.database.execute(sql).unwrap()
    }

    /// A session with turns `u0`/`a0`, `u1`/`a1`, … that begin a second apart.
    fn session(&self, id: &str, n_turns: u32) {
        self.run(&format!(
            "INSERT INTO chat_sessions (id, turn_count, created_at, last_active) \
             VALUES ('{id}', {n_turns}, '2025-12-24T10:00:00', '2025-12-24T11:00:00.000001')"
        ));
        self.turns(id, n_turns);
    }

    fn turns(&self, id: &str, n_turns: u32) {
        self.run(&format!(
            "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, started_at, completed_at) \
             SELECT '{id}', n, 'u' || n, 'a' || n, at, at FROM (SELECT n, to_char(timestamp '2025-12-24 10:00:00.5' \
                 + n * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS at \
                 FROM generate_series(0, {n_turns} - 1) AS n) AS numbered ORDER BY n"
        ));
    }

    fn options(&self) -> PostgresOptions {
        let mut options = options(self.database.url());
        options.upgrade.naive_zone = jiff::tz::TimeZone::UTC;
        options
    }

    /// All that stands in the old tables, wherever these are.
    fn contents(&self, schema: &str) -> String {
        let mut all = String::new();
        for table in TABLES {
            let sql = format!(
                "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {schema}.{table} t"
            );
            let there = self.run(&format!("SELECT to_regclass('{schema}.{table}') IS NOT NULL"));
            let contents = if there == "t" { self.run(&sql) } else { "none".to_owned() };
            writeln!(all, "{table} {contents}").unwrap();
        }
        all
    }

    /// Everything in the database, by name.
    fn names(&self) -> String {
        self.run(
            "SELECT string_agg(n.nspname || '.' || c.relname || ' ' || c.relkind::text, ', ' ORDER BY n.nspname, c.relname) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_|^information_schema'",
        )
    }

    /// Opens the database, which upgrades it.
    async fn upgrade(self) -> Upgraded {
        let options = self.options();
        self.upgrade_with(options).await
    }

    async fn upgrade_with(self, options: PostgresOptions) -> Upgraded {
        let before = self.contents("public");
        let store = PostgresStore::open(options).await.unwrap();
        let upgrade = store.upgrade().unwrap().clone();
        assert!(upgrade.report.is_complete(), "{:?}", upgrade.report.tables);
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        assert_eq!(self.contents(&upgrade.schema), before, "what is kept is what was there");
        let left = format!(
            "SELECT count(*) FROM pg_class WHERE relname LIKE 'order\\_%' AND relnamespace = '{}'::regnamespace",
            upgrade.schema
        );
        assert_eq!(self.run(&left), "0", "nothing else is there");
        Upgraded { old: self, store, upgrade }
    }

    /// Opens the database, which must be refused and stay as it is.
    async fn refused(&self) -> (membrane_postgres::OpenError, String) {
        let before = (self.contents("public"), self.names());
        let (error, text) = refusal(self.options()).await;
        assert_eq!((self.contents("public"), self.names()), before, "{text}: something changed");
        (error, text)
    }
}

/// A database that was upgraded.
struct Upgraded {
    old: Old,
    store: PostgresStore,
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
}
