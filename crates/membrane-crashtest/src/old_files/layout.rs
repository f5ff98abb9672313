//! How a V1 file is laid out: pages, journal, encoding, types, keys, indexes; and writing it.
//!
//! Not here: what is in it ([`super::v1`]).

use std::path::Path;

use rusqlite::{Connection, params_from_iter};

use super::table::{Table, quote};
use super::texts::Temper;
use super::v1::OldFile;
use crate::campaign::Failure;
use crate::seed::Choices;

/// A layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent oddities of a file")]
pub struct Layout {
    /// Bytes of a page.
    pub page_size: u32,
    /// As `PRAGMA encoding` takes it.
    pub encoding: &'static str,
    /// As `PRAGMA auto_vacuum` takes it.
    pub auto_vacuum: &'static str,
    /// As `PRAGMA journal_mode` takes it.
    pub journal_mode: &'static str,
    /// Whether columns have neither types nor `NOT NULL`.
    pub is_loose: bool,
    /// Whether `UNIQUE (session_id, turn_number)` is there.
    pub has_unique_turns: bool,
    /// Whether the tables whose keys are texts are `WITHOUT ROWID`.
    pub is_without_rowid: bool,
    /// Whether `chat_crystals` is there.
    pub has_crystals: bool,
    /// Whether `chat_checkpoints` is there.
    pub has_checkpoints: bool,
    /// Which indexes are there.
    pub indexes: Indexes,
    /// Whether pages of deleted rows are left in the file.
    pub has_free_pages: bool,
    /// A column that nobody knows, and its table.
    pub extra_column: Option<(&'static str, &'static str)>,
}

/// The indexes: their names are known, what is in them was never published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// None of them.
    None,
    /// One column each.
    Narrow,
    /// Several columns each, and one more.
    Wide,
}

impl Indexes {
    fn sql(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Narrow => {
                "CREATE INDEX idx_chat_sessions_project ON chat_sessions (project_id);
                 CREATE INDEX idx_chat_sessions_parent ON chat_sessions (parent_id);
                 CREATE INDEX idx_chat_sessions_active ON chat_sessions (last_active);
                 CREATE INDEX idx_chat_turns_session ON chat_turns (session_id);"
            }
            Self::Wide => {
                "CREATE INDEX idx_chat_sessions_project ON chat_sessions (project_id, last_active);
                 CREATE INDEX idx_chat_sessions_parent ON chat_sessions (parent_id, fork_point);
                 CREATE INDEX idx_chat_sessions_active ON chat_sessions (last_active DESC);
                 CREATE INDEX idx_chat_turns_session ON chat_turns (session_id, turn_number);
                 CREATE INDEX idx_chat_sessions_state ON chat_sessions (state) WHERE state <> 'idle';"
            }
        }
    }
}

impl Layout {
    /// The layout that kgents' guide describes.
    pub const USUAL: Self = Self {
        page_size: 4096,
        encoding: "UTF-8",
        auto_vacuum: "NONE",
        journal_mode: "WAL",
        is_loose: false,
        has_unique_turns: true,
        is_without_rowid: false,
        has_crystals: true,
        has_checkpoints: true,
        indexes: Indexes::Narrow,
        has_free_pages: false,
        extra_column: None,
    };

    /// A layout of the usual tables with other pages and indexes; with other tables, too, unless the temper is calm.
    pub fn choose(choices: &mut Choices, temper: Temper) -> Self {
        let one_of = |choices: &mut Choices, words: &[&'static str]| -> &'static str {
            words.get(choices.below(words.len())).copied().unwrap_or("")
        };
        let indexes = match choices.below(4) {
            0 => Indexes::None,
            1 => Indexes::Wide,
            _ => Indexes::Narrow,
        };
        let calm = Self {
            page_size: if choices.one_in(3) { 512 << choices.below(8) } else { 4096 },
            auto_vacuum: one_of(choices, &["NONE", "NONE", "NONE", "FULL", "INCREMENTAL"]),
            journal_mode: one_of(choices, &["WAL", "DELETE"]),
            encoding: one_of(choices, &["UTF-8", "UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]),
            has_free_pages: choices.one_in(3),
            has_crystals: !choices.one_in(12),
            has_checkpoints: !choices.one_in(12),
            indexes,
            ..Self::USUAL
        };
        if temper == Temper::Calm {
            return calm;
        }
        let is_loose = choices.one_in(4);
        let tables = ["chat_sessions", "chat_turns", "chat_crystals", "chat_checkpoints"];
        let extra = ("notes_of_ours", one_of(choices, &tables));
        Self {
            is_loose,
            has_unique_turns: !choices.one_in(3),
            is_without_rowid: choices.one_in(24),
            extra_column: choices.one_in(12).then_some(extra),
            ..calm
        }
    }

    /// Whether a table has no rowid.
    pub fn is_without_rowid(&self, table: &str) -> bool {
        self.is_without_rowid && table != "chat_turns"
    }

    fn create(&self, table: &Table) -> String {
        let columns: Vec<_> = table.columns.iter().map(|column| self.column(&table.name, column)).collect();
        let unique = if table.name == "chat_turns" && self.has_unique_turns {
            ", UNIQUE (session_id, turn_number)"
        } else {
            ""
        };
        let tail = if self.is_without_rowid(&table.name) { " WITHOUT ROWID" } else { "" };
        format!("CREATE TABLE {} (\n    {}{unique}\n){tail}", table.name, columns.join(",\n    "))
    }

    fn column(&self, table: &str, column: &str) -> String {
        let key = match (table, column) {
            ("chat_turns", "id") => return "id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned(),
            ("chat_sessions" | "chat_checkpoints", "id") => " PRIMARY KEY",
            ("chat_crystals", "session_id") => " PRIMARY KEY REFERENCES chat_sessions (id) ON DELETE CASCADE",
            (_, "session_id") => " REFERENCES chat_sessions (id) ON DELETE CASCADE",
            (_, "parent_id") => " REFERENCES chat_sessions (id)",
            _ => "",
        };
        if self.is_loose {
            return format!("{column}{key}");
        }
        let of_type = match column {
            "fork_point" | "turn_count" | "context_size" | "is_merged" | "turn_number"
            | "final_turn_count" => "INTEGER",
            "confidence" => "REAL",
            _ => "TEXT",
        };
        let is_optional = key.contains("PRIMARY KEY")
            || matches!(
                column,
                "project_id"
                    | "parent_id"
                    | "fork_point"
                    | "merged_into"
                    | "tools_json"
                    | "evidence_delta_json"
                    | "confidence"
                    | "key_decisions_json"
                    | "artifacts_json"
                    | "final_evidence_json"
                    | "notes_of_ours"
            );
        let default = match column {
            "branch_name" => " DEFAULT 'main'",
            "state" => " DEFAULT 'idle'",
            "user_linearity" | "assistant_linearity" => " DEFAULT 'preserved'",
            _ => "",
        };
        let needed = if is_optional { "" } else { " NOT NULL" };
        format!("{column} {of_type}{needed}{default}{key}")
    }

    /// An empty file of this layout.
    pub fn open_new(&self, path: &Path) -> Result<Connection, Failure> {
        let conn = Connection::open(path)?;
        conn.execute_batch(&format!(
            "PRAGMA page_size = {}; PRAGMA encoding = '{}'; PRAGMA auto_vacuum = {}; PRAGMA foreign_keys = OFF;",
            self.page_size, self.encoding, self.auto_vacuum
        ))?;
        let mode: String =
            conn.query_row(&format!("PRAGMA journal_mode = {}", self.journal_mode), [], |row| row.get(0))?;
        if mode.eq_ignore_ascii_case(self.journal_mode) {
            Ok(conn)
        } else {
            Err(format!("the journal is {mode} and not {}", self.journal_mode).into())
        }
    }

    /// The statements that make the indexes.
    pub fn index_sql(&self) -> &'static str {
        self.indexes.sql()
    }
}

impl OldFile {
    /// Writes the file; the same file gives the same bytes.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let conn = self.layout.open_new(path)?;
        // One transaction, and no syncs: it is a file for a test.
        conn.execute_batch("PRAGMA synchronous = OFF; BEGIN")?;
        if self.layout.has_free_pages {
            conn.execute_batch(
                "CREATE TABLE gone (x); INSERT INTO gone SELECT zeroblob(20000) FROM (VALUES (1), (2), (3))",
            )?;
        }
        for table in &self.tables {
            conn.execute_batch(&self.layout.create(table))?;
        }
        conn.execute_batch(self.layout.index_sql())?;
        for foreign in &self.foreign {
            if foreign.table.is_some() {
                conn.execute_batch(&foreign.sql)?;
            }
        }
        let tables =
            self.tables.iter().chain(self.foreign.iter().filter_map(|foreign| foreign.table.as_ref()));
        for table in tables {
            insert(&conn, table)?;
        }
        // Views and triggers last: no trigger is to fire here.
        for foreign in &self.foreign {
            if foreign.table.is_none() {
                conn.execute_batch(&foreign.sql)?;
            }
        }
        if self.layout.has_free_pages {
            conn.execute_batch("DROP TABLE gone")?;
        }
        conn.execute_batch("COMMIT")?;
        conn.close().map_err(|(_, error)| error.into())
    }
}

fn insert(conn: &Connection, table: &Table) -> Result<(), Failure> {
    let columns: Vec<_> = table.columns.iter().map(|column| quote(column)).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO {} ({}) VALUES ({places})", quote(&table.name), columns.join(", "));
    let mut statement = conn.prepare(&sql)?;
    for row in &table.rows {
        statement.execute(params_from_iter(&row.cells))?;
    }
    Ok(())
}
