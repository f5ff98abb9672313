//! Making the schema, and finding it made.
//!
//! Files that must be refused are in `foreign_files`.

use membrane_sqlite::SqliteStore;
use membrane_sqlite::migrations::MIGRATIONS;
use rusqlite::Connection;

use crate::keep::{Keep, column, value};

const OURS: &str =
    "SELECT version || ' ' || name || ' ' || checksum FROM schema_version WHERE version > 1000";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_gets_every_step_once_and_keeps_it_at_reopening() {
    let keep = Keep::new();
    for round in 0..3 {
        let f = keep.open().await;
        assert_eq!(f.store.stats().await.unwrap().sessions, round);
        f.session(1).await;
        let expected: Vec<_> = MIGRATIONS
            .iter()
            .map(|step| format!("{} {} {}", step.version, step.name, step.checksum()))
            .collect();
        assert_eq!(column::<String>(&keep.plain(), OURS, []), expected);
        f.store.close().await.unwrap();
        assert_eq!(keep.files().len(), 1, "a closed keep is one file");
        // Ids come from a counter that starts anew; the next session must not find its id taken.
        keep.plain().execute("UPDATE chat_sessions SET id = 'old ' || number", []).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_becomes_a_keep() {
    let keep = Keep::new();
    std::fs::write(keep.path(), b"").unwrap();
    let f = keep.open().await;
    f.session(1).await;
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_stores_may_open_one_new_file_at_once() {
    for n_stores in [2, 10] {
        let keep = Keep::new();
        let opened =
            (0..n_stores).map(|_| tokio::spawn(SqliteStore::open(keep.options()))).collect::<Vec<_>>();
        let mut stores = Vec::new();
        for store in opened {
            stores.push(store.await.unwrap().unwrap());
        }
        assert_eq!(column::<String>(&keep.plain(), OURS, []).len(), MIGRATIONS.len());
        for store in stores {
            membrane_store::Store::close(&store).await.unwrap();
        }
        assert_eq!(keep.files().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_keep_in_the_file_stays_as_it_is() {
    let keep = Keep::new();
    let versions =
        "SELECT group_concat(version || '|' || applied_at, ';') FROM schema_version WHERE version < 1000";
    let plain = keep.plain();
    plain
        .execute_batch(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT DEFAULT (datetime('now')));
             INSERT INTO schema_version VALUES (1, '2025-12-24 01:02:03'), (2, '2025-12-25 01:02:03');
             CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB, note TEXT);
             CREATE INDEX idx_created ON data (note);
             INSERT INTO data VALUES ('a', x'00ff', 'n'), ('b', NULL, NULL);",
        )
        .unwrap();
    let read = |conn: &Connection| -> (String, String, Vec<String>) {
        (
            value(conn, "SELECT group_concat(id || hex(content) || coalesce(note, ''), ';') FROM data", []),
            value(conn, versions, []),
            column(conn, "SELECT sql FROM sqlite_schema WHERE tbl_name = 'data' AND sql IS NOT NULL", []),
        )
    };
    let before = read(&plain);
    drop(plain);
    for _ in 0..2 {
        let f = keep.open().await;
        assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
        assert_eq!(read(&keep.plain()), before);
        f.store.close().await.unwrap();
    }
    assert_eq!(
        column::<i64>(&keep.plain(), "SELECT version FROM schema_version ORDER BY version", []),
        [1, 2, 1001, 1002, 1003, 1004, 1005, 1006]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_what_is_applied_and_changes_nothing() {
    let keep = Keep::new();
    let status = || SqliteStore::migration_status(&keep.path()).unwrap();
    assert!(status().iter().all(|step| step.applied_at.is_none()));
    assert!(keep.files().is_empty(), "asking for a missing file does not make it");
    keep.open().await.store.close().await.unwrap();
    let before = keep.files();
    assert!(status().iter().all(|step| step.applied_at.as_deref().is_some_and(|at| at.ends_with('Z'))));
    assert_eq!(keep.files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_may_hold_spaces_and_any_letters_and_folders_that_are_not_there_yet() {
    let keep = Keep::new();
    let path = keep.folder().join("my files/Gespräche 🙂/a?b#c%20'd\".db");
    let options = membrane_sqlite::SqliteOptions::at(&path);
    let f = keep.open_with(options).await;
    f.session(2).await;
    f.store.close().await.unwrap();
    assert!(path.is_file());
    assert_eq!(
        value::<i64>(&Connection::open(&path).unwrap(), "SELECT sum(turn_count) FROM chat_sessions", []),
        2
    );
}
