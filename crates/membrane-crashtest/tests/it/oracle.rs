//! The judge of upgraded files notices what it must: whatever is taken away or changed by hand.
//!
//! Not here: what an upgrade does (`old_files`).

use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::old_files::campaign::{Asked, Upgrader};
use membrane_crashtest::old_files::cell::Cell;
use membrane_crashtest::old_files::oracle::{Account, Before, judge};
use membrane_crashtest::old_files::table::Contents;
use membrane_crashtest::old_files::texts::Temper;
use membrane_crashtest::old_files::v1::{self, OldFile};
use rusqlite::Connection;

use crate::upgrader::Opening;

/// Changes to an upgraded file, each of which loses something.
const LOSSES: [&str; 16] = [
    "UPDATE turns SET user_message = user_message || ' ' WHERE number = (SELECT min(number) FROM turns)",
    "UPDATE turns SET assistant_response = '' WHERE number = (SELECT max(number) FROM turns WHERE assistant_response <> '')",
    "DELETE FROM turns WHERE number = (SELECT max(number) FROM turns)",
    "UPDATE turns SET started_at = started_at + 1 WHERE number = (SELECT min(number) FROM turns)",
    "UPDATE chat_sessions SET turn_count = turn_count - 1 WHERE turn_count > 0",
    "UPDATE chat_sessions SET parent_id = NULL WHERE parent_id IS NOT NULL",
    "UPDATE chat_sessions SET fork_point = NULL WHERE fork_point IS NOT NULL",
    "UPDATE chat_sessions SET branch_name = 'another'",
    "UPDATE chat_sessions SET metadata_json = '{\"other\": 1}'",
    "UPDATE chat_sessions SET created_at = '2020-01-01T00:00:00.000000Z'",
    "UPDATE chat_checkpoints SET turn_count = turn_count - 1 WHERE turn_count > 0",
    "DELETE FROM chat_checkpoints",
    "UPDATE chat_crystals SET summary = 'another'",
    "DELETE FROM legacy_rows",
    "UPDATE witness_marks SET body = x'00'",
    "DELETE FROM schema_version WHERE version = 2",
];

/// A file with something of everything.
fn rich_file() -> Option<OldFile> {
    let is_rich = |file: &OldFile| {
        let has = |name: &str, n: usize| {
            file.tables.iter().any(|table| table.name == name && table.rows.len() >= n)
        };
        let has_foreign = |name| file.foreign.iter().any(|foreign| foreign.name == name);
        let has_orphan = file.tables.iter().any(|table| {
            let is_orphan =
                |row| table.cell(row, "session_id").as_text().is_some_and(|id| id.contains("gone"));
            table.name == "chat_turns" && table.rows.iter().any(is_orphan)
        });
        let has_fork = file.tables.iter().any(|table| {
            let is_fork = |row| {
                table.cell(row, "parent_id").as_text().is_some_and(|id| id.starts_with("session-"))
                    && matches!(table.cell(row, "fork_point"), Cell::Int(1..100))
            };
            table.name == "chat_sessions" && table.rows.iter().any(is_fork)
        });
        file.temper == Temper::Lively
            && has("chat_checkpoints", 3)
            && has("chat_crystals", 1)
            && has_foreign("witness_marks")
            && has_foreign("schema_version")
            && has_orphan
            && has_fork
    };
    (0..5000).map(|number| v1::invent(1, number)).find(is_rich)
}

fn problems(
    file: &OldFile,
    contents: &Contents,
    account: &Account,
    conn: &Connection,
) -> Result<Vec<String>, Failure> {
    judge(&Before { contents, zone: file.zone, foreign: &file.foreign }, account, conn)
}

#[test]
fn every_loss_is_noticed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE);
    let file = rich_file().unwrap();
    file.write(&path).unwrap();
    let contents = Contents::read(&Connection::open(&path).unwrap()).unwrap();
    let asked = Asked { zone: file.zone, is_forced: true };
    let account = Opening::new().unwrap().upgrade(&path, asked).unwrap().account.unwrap();
    let conn = Connection::open(&path).unwrap();
    assert_eq!(problems(&file, &contents, &account, &conn).unwrap(), Vec::<String>::new());
    for loss in LOSSES {
        conn.execute_batch("BEGIN").unwrap();
        let n_changed = conn.execute(loss, []).unwrap();
        assert!(n_changed > 0, "{loss} changes nothing in this file");
        assert_ne!(problems(&file, &contents, &account, &conn).unwrap(), Vec::<String>::new(), "{loss}");
        conn.execute_batch("ROLLBACK").unwrap();
    }
    let mut wrong = account.clone();
    for count in wrong.tables.values_mut() {
        count.skipped += 1;
    }
    assert_ne!(problems(&file, &contents, &wrong, &conn).unwrap(), Vec::<String>::new());
}
