//! Everything that was there is there.

use membrane_core::ids::SessionId;
use membrane_store::Store;
use membrane_store::kgents::{Oddity, TableCount};

use super::Old;
use crate::keep::open;

#[tokio::test]
async fn sessions_forks_checkpoints_and_crystals_become_a_keep() {
    let old = Old::new();
    old.session("root", 5);
    old.session("fork", 3);
    old.session("child-first", 0);
    old.run(
        "UPDATE chat_sessions SET parent_id = 'root', fork_point = 3, branch_name = 'what-if' WHERE id = 'fork';
         UPDATE chat_sessions SET parent_id = 'fork' WHERE id = 'child-first';
         UPDATE chat_turns SET user_message = 'another' WHERE session_id = 'fork' AND turn_number = 2;
         INSERT INTO chat_crystals VALUES ('root', 't', 's', '[\"d\"]', NULL, '{}', 5, '2025-12-24T12:00:00');
         INSERT INTO chat_checkpoints VALUES ('c1', 'root', 2, '{}', '{}', '2025-12-24T12:00:00'),
             ('c2', 'root', 1, '{\"turns\": [{\"turn_number\": 0, \"user_message\": {\"content\": \"only here\"},
              \"assistant_response\": {\"content\": \"x\"}, \"started_at\": \"2025-12-24T09:00:00\"}]}', '{}',
              '2025-12-24T12:00:01')",
    );
    let new = old.upgrade().await;
    assert_eq!(new.said("root").await, ["u0/a0", "u1/a1", "u2/a2", "u3/a3", "u4/a4"]);
    assert_eq!(new.said("fork").await, ["u0/a0", "u1/a1", "another/a2"]);
    let (root, fork) = (new.thread("root").await, new.thread("fork").await);
    assert_eq!(fork.turns[1].at, root.turns[1].at, "what is the same is shared");
    assert_ne!(fork.turns[2].at, root.turns[2].at);
    assert_eq!(fork.session.parent_id, Some(SessionId::from_stored("root")));
    assert_eq!((fork.session.fork_point, fork.session.branch_name.as_str()), (Some(3), "what-if"));
    assert_eq!(root.session.created_at.to_string(), "2025-12-24T10:00:00.000000Z");
    assert_eq!(root.session.last_active.to_string(), "2025-12-24T11:00:00.000001Z");
    assert_eq!(root.turns[1].turn.started_at.to_string(), "2025-12-24T10:00:01.500000Z");
    let id = SessionId::from_stored("root");
    let checkpoints = new.store.list_checkpoints(&id).await.unwrap();
    assert_eq!(checkpoints.len(), 2);
    let crystal = new.store.find_crystal(&id).await.unwrap().unwrap();
    assert_eq!((crystal.title.as_str(), crystal.key_decisions), ("t", vec!["d".to_owned()]));
    let report = &new.upgrade.report;
    assert_eq!((report.turns_shared, report.sessions_created), (2, 3));
    assert_eq!(report.tables["chat_turns"], TableCount { total: 8, read: 8, skipped: 0 });
    assert_eq!(report.tables["chat_checkpoints"].read, 2);
    assert!(new.upgrade.schema.starts_with("membrane_v1_backup_2"), "{}", new.upgrade.schema);
    assert_eq!(new.upgrade.forced, None);

    // Once is enough, and the keep goes on.
    let again = open(new.old.database.url()).await;
    assert!(again.upgrade().is_none());
    assert_eq!(again.stats().await.unwrap().sessions, 3);
    let sql = "SELECT count(*) FROM chat_turns WHERE session_id = 'fork'";
    assert_eq!(new.old.run(sql), "3", "SQL readers find the columns of old");
}

#[tokio::test]
async fn odd_rows_are_kept_word_for_word_and_counted() {
    let loose = super::DDL
        .replace(" REFERENCES chat_sessions(id) ON DELETE CASCADE", "")
        .replace(" REFERENCES chat_sessions(id)", "")
        .replace(" NOT NULL", "")
        .replace(" PRIMARY KEY", "")
        .replace(", UNIQUE(session_id, turn_number)", "");
    let old = Old::made_by(&loose);
    old.session("s", 2);
    old.run(
        "INSERT INTO chat_sessions (id, parent_id, created_at, last_active) VALUES ('s', NULL, 'x', 'y'),
             (NULL, NULL, 'x', 'y'), ('', NULL, 'x', 'y'), ('a', 'b', '2025-01-01', '2025-01-01'),
             ('b', 'a', '2025-01-01', '2025-01-01'), ('self', 'self', '2025-01-01', '2025-01-01'),
             ('lost', 'nobody', '2025-01-01', '2025-01-01'), ('é\u{1}1', NULL, '2025-01-01', 'never');
         INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, tools_json, started_at)
             VALUES ('nobody', 0, 'orphan \u{1}0', 'x', NULL, '2025-01-01'), (NULL, 0, 'of nobody', 'x', NULL, NULL),
             ('s', 1, 'twice', 'x', '{not json', '2025-12-24T23:00:00'), ('s', 7, NULL, 'x', NULL, NULL),
             ('é\u{1}1', 0, 'a\u{1}0b', '\u{1}', NULL, '2025-01-01');
         INSERT INTO chat_crystals (session_id, title) VALUES ('s', 'one'), ('s', 'two'), ('nobody', 'three'), (NULL, NULL);
         INSERT INTO chat_checkpoints (id, session_id) VALUES ('c', 's'), ('c', 's'), (NULL, 's'), ('d', 'nobody')",
    );
    let new = old.upgrade().await;
    assert_eq!(new.said("s").await, ["u0/a0", "u1/a1", "twice/x", "/x"]);
    assert_eq!(new.said("é\u{1}1").await, ["a\u{1}0b/\u{1}"], "byte for byte");
    let tables = &new.upgrade.report.tables;
    let count = |table: &str| (tables[table].total, tables[table].read, tables[table].skipped);
    assert_eq!(count("chat_sessions"), (9, 6, 3));
    assert_eq!(count("chat_turns"), (7, 5, 2));
    assert_eq!(count("chat_crystals"), (4, 1, 3));
    assert_eq!(count("chat_checkpoints"), (4, 1, 3));
    assert_eq!(new.count(Oddity::NoId), 2);
    assert_eq!(new.count(Oddity::Duplicate), 1);
    assert_eq!(new.count(Oddity::BadJson), 1);
    let of_nobody = new.kept(Some("nobody")).await;
    let turn = of_nobody.iter().find(|row| row.source == "chat_turns").unwrap();
    assert_eq!(turn.row, "id 3");
    let value: serde_json::Value = serde_json::from_str(&turn.value).unwrap();
    assert_eq!(value["user_message"], "orphan \u{1}0");
    assert_eq!(of_nobody.len(), 3, "{of_nobody:?}");
    let tools = new.kept(Some("s")).await.into_iter().find(|row| row.value == "{not json").unwrap();
    assert_eq!((tools.source.as_str(), tools.row.as_str()), ("chat_turns.tools_json", "id 5"));
}

#[tokio::test]
async fn some_tables_alone_are_taken_in_too_and_others_beside_them_stay() {
    let old = Old::new();
    old.session("s", 2);
    old.run(
        "DROP TABLE chat_crystals, chat_checkpoints; CREATE TABLE notes (what text); INSERT INTO notes VALUES ('mine');
         CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT);
         INSERT INTO schema_version VALUES (1, '2025-12-24 10:00:00'), (2, '2025-12-24 10:00:00');
         ALTER TABLE chat_turns ADD COLUMN mood text; UPDATE chat_turns SET mood = 'glad' WHERE turn_number = 1;
         CREATE TABLE tags (session TEXT CONSTRAINT of_session REFERENCES chat_sessions(id) ON DELETE RESTRICT);
         INSERT INTO tags VALUES ('s')",
    );
    let new = old.upgrade().await;
    assert_eq!(new.said("s").await, ["u0/a0", "u1/a1"]);
    assert_eq!(new.old.run("SELECT what FROM notes"), "mine");
    assert_eq!(new.old.run("SELECT count(*) FROM schema_version WHERE version < 1000"), "2");
    assert_eq!(new.count(Oddity::UnknownField), 1);
    assert_eq!(new.kept(Some("s")).await[0].value, "glad");
    // A foreign key of others holds the new table, as it would hold one of that name in a file.
    let session = SessionId::from_stored("s");
    let delete = || {
        let write = membrane_store::Write::DeleteSession { session: session.clone() };
        membrane_store::Change::at(membrane_core::time::Timestamp::from_micros(0)).write(write)
    };
    let error = new.store.commit(delete()).await.unwrap_err();
    assert!(
        matches!(&error, membrane_store::StoreError::Referenced { table, .. } if table == "tags"),
        "{error:?}"
    );
    new.old.run("DELETE FROM tags");
    new.store.commit(delete()).await.unwrap();
}

#[tokio::test]
async fn ten_thousand_turns_and_messages_of_megabytes_are_taken_in() {
    let old = Old::new();
    old.session("long", 10_000);
    old.session("heavy", 12);
    old.run("UPDATE chat_turns SET user_message = repeat('é', 1 << 20), assistant_response = repeat('x', 1 << 22) WHERE session_id = 'heavy'");
    let begun = std::time::Instant::now();
    let new = old.upgrade().await;
    println!("10,000 turns and 12 of 6 MiB were upgraded and checked in {:?}", begun.elapsed());
    assert_eq!(new.upgrade.report.turns_written, 10_012);
    assert_eq!(new.said("long").await[9_999], "u9999/a9999");
    let heavy = new.thread("heavy").await;
    assert!(heavy.turns.iter().all(|kept| kept.turn.user.content == "é".repeat(1 << 20)));
}
