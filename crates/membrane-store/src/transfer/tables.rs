//! What a keep consists of, table by table. Parents stand before the rows that refer to them.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Int,
    /// 0 or 1; a boolean in PostgreSQL.
    Flag,
    /// Milliseconds since 1970; a time in PostgreSQL.
    Millis,
    /// A real number.
    Real,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may hold nothing.
    pub is_nullable: bool,
}

/// A table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// All columns that are copied, the key's first.
    pub columns: &'static [Column],
    /// How many of them are the key.
    pub key_len: usize,
    /// Whether rows of other tables refer to its rows and do not go with them. Such a row is changed where it stands; of
    /// all others one that differs is removed and written anew, so that no other unique column is in the way.
    pub is_referenced: bool,
    /// Whether rows of other tables go with its rows.
    pub has_dependents: bool,
}

impl Table {
    /// The columns of the key.
    pub fn key(&self) -> &'static [Column] {
        self.columns.get(..self.key_len).unwrap_or(self.columns)
    }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_nullable: false }
}

const fn int(name: &'static str) -> Column {
    column(name, Kind::Int)
}

const fn flag(name: &'static str) -> Column {
    column(name, Kind::Flag)
}

const fn real(name: &'static str) -> Column {
    column(name, Kind::Real)
}

const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

const fn bytes(name: &'static str) -> Column {
    column(name, Kind::Bytes)
}

const fn maybe(column: Column) -> Column {
    Column { is_nullable: true, ..column }
}

const fn plain(name: &'static str, key_len: usize, columns: &'static [Column]) -> Table {
    Table { name, columns, key_len, is_referenced: false, has_dependents: false }
}

const fn referenced(name: &'static str, columns: &'static [Column]) -> Table {
    Table { is_referenced: true, ..plain(name, 1, columns) }
}

const fn parent(name: &'static str, key_len: usize, columns: &'static [Column]) -> Table {
    Table { has_dependents: true, ..plain(name, key_len, columns) }
}

/// All tables of a keep but its events, how its last runs came, and what is said of the schema itself.
pub static TABLES: [Table; 16] = [
    referenced(
        "segments",
        &[int("id"), text("family_id"), maybe(text("owner_id")), maybe(int("sealed_at")), flag("has_gaps")],
    ),
    referenced("histories", &[int("id"), text("family_id")]),
    plain(
        "slices",
        2,
        &[
            int("history_id"),
            int("start"),
            maybe(int("stop")),
            int("segment_id"),
            int("segment_offset"),
            int("base_succeeded"),
            int("base_failed"),
            int("base_tool_calls"),
            int("base_tokens"),
            int("base_chars"),
            int("base_code_blocks"),
        ],
    ),
    plain("legacy_sets", 2, &[int("history_id"), text("origin_id"), real("alpha"), real("beta")]),
    plain(
        "turns",
        2,
        &[
            int("segment_id"),
            int("position"),
            text("id"),
            text("status"),
            text("user_linearity"),
            text("assistant_linearity"),
            maybe(flag("observes")),
            int("order_at"),
            int("started_at"),
            int("completed_at"),
            int("own_tool_calls"),
            int("own_tokens"),
            int("own_chars"),
            int("own_code_blocks"),
            int("sum_succeeded"),
            int("sum_failed"),
            int("sum_tool_calls"),
            int("sum_tokens"),
            int("sum_chars"),
            int("sum_code_blocks"),
            maybe(text("tools_json")),
            maybe(text("extra_json")),
            text("user_message"),
            text("assistant_response"),
        ],
    ),
    plain(
        "turn_signals",
        1,
        &[
            int("number"),
            int("segment_id"),
            int("position"),
            text("kind"),
            maybe(text("comment")),
            int("created_at"),
        ],
    ),
    plain("flipped_turns", 2, &[int("segment_id"), int("position")]),
    parent(
        "chat_sessions",
        1,
        &[
            text("id"),
            int("number"),
            maybe(text("project_id")),
            maybe(text("parent_id")),
            maybe(int("fork_point")),
            text("branch_name"),
            text("state"),
            int("turn_count"),
            int("context_size"),
            text("evidence_json"),
            text("metadata_json"),
            flag("is_merged"),
            maybe(text("merged_into")),
            text("created_at"),
            text("last_active"),
            text("family_id"),
            maybe(text("title")),
            text("tags_json"),
            flag("pinned"),
            flag("archived"),
            flag("trailing"),
            int("version"),
            int("history_id"),
            maybe(int("head_segment_id")),
            maybe(int("head_position")),
            maybe(int("last_order_at")),
            int("flipped"),
            real("legacy_alpha"),
            real("legacy_beta"),
            int("sum_succeeded"),
            int("sum_failed"),
            int("sum_tool_calls"),
            int("sum_chars"),
            int("sum_code_blocks"),
        ],
    ),
    plain(
        "deleted_sessions",
        1,
        &[
            text("id"),
            text("family_id"),
            maybe(text("parent_id")),
            maybe(int("fork_point")),
            text("deleted_at"),
        ],
    ),
    plain(
        "chat_checkpoints",
        1,
        &[
            text("id"),
            int("number"),
            text("session_id"),
            int("turn_count"),
            text("context_json"),
            text("evidence_json"),
            text("created_at"),
            maybe(text("name")),
            text("kind"),
            int("history_id"),
        ],
    ),
    plain(
        "chat_crystals",
        1,
        &[
            text("session_id"),
            text("title"),
            text("summary"),
            maybe(text("key_decisions_json")),
            maybe(text("artifacts_json")),
            maybe(text("final_evidence_json")),
            int("final_turn_count"),
            text("created_at"),
        ],
    ),
    parent(
        "runs",
        1,
        &[
            text("id"),
            text("session_id"),
            text("turn_id"),
            text("user_message"),
            maybe(text("user_mentions_json")),
            text("user_linearity"),
            maybe(text("model")),
            text("phase"),
            text("owner_id"),
            int("lease_token"),
            maybe(column("lease_until", Kind::Millis)),
            text("started_at"),
            int("version"),
            flag("stop_requested"),
        ],
    ),
    plain("run_pieces", 2, &[text("run_id"), int("seq"), text("body_json")]),
    parent(
        "idempotency_keys",
        3,
        &[
            text("route"),
            text("session_id"),
            text("key"),
            bytes("body_hash"),
            text("result"),
            text("stamps_json"),
            int("created_at"),
        ],
    ),
    plain(
        "idempotency_key_creations",
        4,
        &[text("created_session_id"), text("route"), text("session_id"), text("key")],
    ),
    plain(
        "legacy_rows",
        1,
        &[
            int("number"),
            maybe(text("session_id")),
            text("source"),
            text("row_key"),
            text("value"),
            text("reason"),
        ],
    ),
];
