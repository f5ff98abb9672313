//! What cannot be repaired is named, and nothing more is lost by trying.

use membrane_core::ids::SessionId;
use membrane_sqlite::check::{CheckError, Theme, check_file};
use membrane_sqlite::repair::{RepairError, Repaired, repair_file};
use rusqlite::Connection;

use super::repaired::{options, repair};
use crate::keep::{Keep, value};

/// A keep with a session of five turns, and with a fork of three of them.
async fn five_turns() -> (Keep, SessionId, SessionId) {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(5).await;
    let fork = f.fork(&id, 3).await;
    f.store.close().await.unwrap();
    (keep, id, fork)
}

fn rows(conn: &Connection) -> i64 {
    value(conn, "SELECT (SELECT count(*) FROM turns) + (SELECT count(*) FROM slices) + (SELECT count(*) FROM turn_signals)
        + (SELECT count(*) FROM chat_sessions) + (SELECT count(*) FROM runs) + (SELECT count(*) FROM run_pieces)
        + (SELECT count(*) FROM chat_crystals) + (SELECT count(*) FROM chat_checkpoints)", [])
}

#[track_caller]
fn names(repaired: &Repaired, words: &[&str]) {
    let is_named = repaired.lost.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(is_named && !repaired.after.is_clean(), "{words:?}: {repaired:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_gone_from_the_middle_is_named_and_the_others_can_be_read() {
    let (keep, id, fork) = five_turns().await;
    let conn = keep.plain();
    conn.execute_batch("DELETE FROM turns WHERE position = 1; UPDATE chat_sessions SET sum_chars = 1")
        .unwrap();
    let before = rows(&conn);
    drop(conn);
    let repaired = repair(&keep);
    names(&repaired, &[id.as_str(), "1 of its 5 turns are gone: number 1"]);
    names(&repaired, &[fork.as_str(), "1 of its 3 turns are gone: number 1"]);
    assert_eq!(rows(&keep.plain()), before);
    let f = keep.open().await;
    assert_eq!(f.said(&id).await.len(), 4, "it can be read as far as it is there");
    assert_eq!(f.get(&id).await.turn_count(), 5, "what is gone is not counted away");
    let numbers: Vec<u64> = f.kept(&id).await.iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, [0, 2, 3, 4]);
    assert!(f.get(&id).await.totals.chars > 1, "what can be derived is");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_that_are_gone_from_the_end_are_named() {
    let (keep, id, _) = five_turns().await;
    keep.plain().execute_batch("DELETE FROM turns WHERE position >= 3").unwrap();
    let repaired = repair(&keep);
    names(&repaired, &[id.as_str(), "2 of its 5 turns are gone: number 3, 4"]);
    let f = keep.open().await;
    assert_eq!((f.said(&id).await.len(), f.get(&id).await.turn_count()), (3, 5));
    f.append(&id, 1).await;
    assert_eq!(f.said(&id).await.len(), 4, "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_history_is_gone_is_named_and_its_turns_stay() {
    let (keep, id, _) = five_turns().await;
    keep.plain()
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM slices; DELETE FROM histories")
        .unwrap();
    for prune in [false, true] {
        let repaired = repair_file(&keep.path(), options(prune)).unwrap();
        names(&repaired, &[id.as_str(), "its history", "is gone", "5 turns"]);
        assert_eq!(value::<i64>(&keep.plain(), "SELECT count(*) FROM turns", []), 5, "prune: {prune}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_that_are_gone_are_named() {
    let (keep, id, _) = five_turns().await;
    keep.plain().execute_batch("DELETE FROM slices").unwrap();
    let repaired = repair(&keep);
    names(&repaired, &[id.as_str(), "slices of its history", "5 turns"]);
    assert_eq!(value::<i64>(&keep.plain(), "SELECT count(*) FROM turns", []), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_is_named() {
    for table in ["turn_signals", "turns", "chat_crystals", "segments"] {
        let (keep, ..) = five_turns().await;
        keep.plain().execute_batch(&format!("PRAGMA foreign_keys = OFF; DROP TABLE {table}")).unwrap();
        let before = keep.files();
        let repaired = repair_file(&keep.path(), options(false));
        match repaired {
            Ok(repaired) => {
                names(&repaired, &[table, "gone, with all that was in it"]);
                assert!(repaired.done.is_empty() || repaired.copy.is_some(), "{repaired:#?}");
            }
            Err(error) => {
                assert!(matches!(error, RepairError::Store(_)), "{table}: {error:?}");
                assert!(before == keep.files());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_read_are_named_and_stay() {
    for (sql, words) in [
        ("UPDATE turns SET tools_json = '[{' WHERE position = 2", ["turn 1:2", "cannot be read"]),
        ("UPDATE turns SET user_message = x'ff' WHERE position = 2", ["turn 1:2", "cannot be read"]),
        ("UPDATE turns SET status = 'odd' WHERE position = 2", ["turn 1:2", "cannot be read"]),
        ("UPDATE chat_sessions SET created_at = 'once'", ["session session-", "cannot be read"]),
        ("UPDATE chat_sessions SET metadata_json = '{'", ["session session-", "cannot be read"]),
    ] {
        let (keep, ..) = five_turns().await;
        keep.plain().execute_batch(sql).unwrap();
        let before: Vec<String> = crate::keep::column(
            &keep.plain(),
            "SELECT hex(user_message) || coalesce(tools_json, '') || status FROM turns
             UNION ALL SELECT created_at || metadata_json FROM chat_sessions",
            [],
        );
        let repaired = repair(&keep);
        names(&repaired, &words);
        let after: Vec<String> = crate::keep::column(
            &keep.plain(),
            "SELECT hex(user_message) || coalesce(tools_json, '') || status FROM turns
             UNION ALL SELECT created_at || metadata_json FROM chat_sessions",
            [],
        );
        assert_eq!(before, after, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_reaches_stays_until_it_is_pruned() {
    for (sql, theme, table) in [
        ("INSERT INTO segments (id, family_id, sealed_at) VALUES (77, 'x', 1);
          INSERT INTO turns SELECT 4711, 77, 0, 'turn-x', status, user_linearity, assistant_linearity, observes, order_at,
            started_at, completed_at, own_tool_calls, own_tokens, own_chars, own_code_blocks, sum_succeeded, sum_failed,
            sum_tool_calls, sum_tokens, sum_chars, sum_code_blocks, facts, tools_json, extra_json, user_message,
            assistant_response FROM turns WHERE position = 0", Theme::Reach, "turns"),
        ("INSERT INTO turn_signals (segment_id, position, kind, created_at) VALUES (1, 99, 'negative', 5)", Theme::Signals, "turn_signals"),
        ("INSERT INTO chat_crystals VALUES ('gone', 't', 's', '[]', '[]', '{}', 1, '2026-01-01T00:00:00.000000Z')", Theme::Crystals, "chat_crystals"),
        ("INSERT INTO runs VALUES ('run-1', 'gone', 'turn-1', 'words', NULL, 'preserved', NULL, 'running', 'me', 1, NULL, '2026-01-01T00:00:00.000000Z', 1, 0)", Theme::Runs, "runs"),
        ("INSERT INTO run_pieces VALUES ('run-1', 0, '{\"text\":\"a\"}')", Theme::Runs, "run_pieces"),
    ] {
        let (keep, ..) = five_turns().await;
        let conn = keep.plain();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        let clean: i64 = value(&conn, &format!("SELECT count(*) FROM {table}"), []);
        conn.execute_batch(sql).unwrap();
        drop(conn);
        assert!(check_file(&keep.path()).unwrap().0.count(theme) > 0, "{sql}");
        let before = keep.files();
        let repaired = repair(&keep);
        assert!(repaired.left.iter().any(|line| line.contains("--prune")), "{repaired:#?}");
        assert!(repaired.copy.is_none() && before == keep.files(), "nothing is changed");
        let pruned = repair_file(&keep.path(), options(true)).unwrap();
        assert!(pruned.after.is_clean() && pruned.copy.is_some(), "{pruned:#?}");
        assert_eq!(value::<i64>(&keep.plain(), &format!("SELECT count(*) FROM {table}"), []), clean);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_index_is_put_in_order() {
    let (keep, id, _) = five_turns().await;
    let conn = keep.plain();
    // The index loses its rows, and the schema is told that nothing has happened.
    conn.execute_batch(
        "PRAGMA writable_schema = ON;
         CREATE INDEX other ON turns (segment_id, position) WHERE position < 2;
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other')
            WHERE name = 'idx_chat_turns_session';
         DELETE FROM sqlite_schema WHERE name = 'other';
         PRAGMA writable_schema = RESET;",
    )
    .unwrap();
    drop(conn);
    assert!(check_file(&keep.path()).unwrap().0.count(Theme::File) > 0);
    let repaired = repair(&keep);
    assert!(repaired.done.iter().any(|line| line.contains("indexes")), "{repaired:#?}");
    let f = keep.open().await;
    assert_eq!(f.said(&id).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_keep_is_refused_with_what_to_do() {
    let keep = Keep::new();
    keep.plain().execute_batch("CREATE TABLE data (id TEXT)").unwrap();
    let before = keep.files();
    let refused = check_file(&keep.path());
    assert!(matches!(&refused, Err(CheckError::NoKeep { .. })), "{refused:?}");
    let error = repair_file(&keep.path(), options(false)).unwrap_err().to_string();
    assert!(error.contains("membrane doctor") && error.contains("membrane migrate"), "{error}");
    assert!(before == keep.files());
}
