//! What a V1 file holds: sessions with forks and merges, their turns, checkpoints and crystals, and whatever
//! else years leave behind.
//!
//! Not here: how it is laid out on disk ([`super::layout`]).

mod author;

use super::foreign::Foreign;
use super::layout::Layout;
use super::table::Table;
use super::texts::{Source, Temper};
use super::times::Zone;
use crate::seed::Choices;

/// The columns of `chat_sessions`.
pub const SESSION_COLUMNS: [&str; 14] = [
    "id",
    "project_id",
    "parent_id",
    "fork_point",
    "branch_name",
    "state",
    "turn_count",
    "context_size",
    "evidence_json",
    "metadata_json",
    "is_merged",
    "merged_into",
    "created_at",
    "last_active",
];
/// The columns of `chat_turns`.
pub const TURN_COLUMNS: [&str; 12] = [
    "id",
    "session_id",
    "turn_number",
    "user_message",
    "assistant_response",
    "user_linearity",
    "assistant_linearity",
    "tools_json",
    "evidence_delta_json",
    "confidence",
    "started_at",
    "completed_at",
];
/// The columns of `chat_crystals`.
pub const CRYSTAL_COLUMNS: [&str; 8] = [
    "session_id",
    "title",
    "summary",
    "key_decisions_json",
    "artifacts_json",
    "final_evidence_json",
    "final_turn_count",
    "created_at",
];
/// The columns of `chat_checkpoints`.
pub const CHECKPOINT_COLUMNS: [&str; 6] =
    ["id", "session_id", "turn_count", "context_json", "evidence_json", "created_at"];

/// A V1 file before it is written.
#[derive(Debug, Clone)]
pub struct OldFile {
    /// How it is laid out.
    pub layout: Layout,
    /// How much in it is odd.
    pub temper: Temper,
    /// The zone of its times without one.
    pub zone: Zone,
    /// The chat's tables that are there.
    pub tables: Vec<Table>,
    /// Whatever else is in the file.
    pub foreign: Vec<Foreign>,
}

/// The `number`-th file of a campaign.
pub fn invent(seed: u64, number: u64) -> OldFile {
    let mut choices = Choices::of_item(seed, number);
    let temper = match choices.below(3) {
        0 => Temper::Calm,
        1 => Temper::Lively,
        _ => Temper::Wild,
    };
    let layout = Layout::choose(&mut choices, temper);
    let zone = if choices.one_in(6) { Zone::Winter } else { Zone::Utc };
    let source = Source {
        choices,
        temper,
        is_loose: layout.is_loose,
        is_utf16: layout.encoding.starts_with("UTF-16"),
    };
    author::Author::new(source, layout).write(zone)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;
    use crate::old_files::table::Contents;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |seed, number| {
            let path = folder.path().join("file.db");
            let _ = fs::remove_file(&path);
            invent(seed, number).write(&path).unwrap();
            fs::read(path).unwrap()
        };
        for number in 0..8 {
            assert_eq!(bytes(7, number), bytes(7, number), "file {number}");
        }
        assert_ne!(bytes(7, 1), bytes(8, 1));
    }

    #[test]
    fn plain_sqlite_reads_from_a_file_what_was_invented() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..60 {
            let path = folder.path().join(format!("{number}.db"));
            let file = invent(3, number);
            file.write(&path).unwrap();
            let conn = Connection::open(&path).unwrap();
            let contents = Contents::read(&conn).unwrap();
            assert!(contents.is_whole());
            let others = file.foreign.iter().filter_map(|foreign| foreign.table.as_ref());
            for table in file.tables.iter().chain(others) {
                let read = contents.table(&table.name).unwrap();
                assert_eq!(read.columns, table.columns);
                assert_eq!(read.rows.len(), table.rows.len(), "file {number}, {}", table.name);
                for (read, meant) in read.rows.iter().zip(&table.rows) {
                    assert_eq!(read, meant, "file {number}, {}", table.name);
                }
            }
            let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(verdict, "ok");
        }
    }
}
