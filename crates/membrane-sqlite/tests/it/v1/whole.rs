//! What a sound file becomes.

use membrane_core::ids::SessionId;
use membrane_core::turn::Linearity;
use membrane_store::Store;
use rusqlite::Connection;

use super::{DDL, Old, started};
use crate::keep::Keep;

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_file_shows_what_it_showed_and_leaves_a_copy_of_itself() {
    let old = Old::new();
    old.session("session-a", 3);
    old.set("session-a", "project_id", "p");
    old.set("session-a", "metadata_json", r#"{"b": 1, "a": [null]}"#);
    old.set("session-a", "evidence_json", r#"{"prior_alpha": 3, "prior_beta": 2}"#);
    old.run("UPDATE chat_turns SET user_linearity = 'required' WHERE turn_number = 1", []);
    let before = old.keep.files().remove("keep.db").unwrap();
    let new = old.upgrade().await;
    assert_eq!(new.said("session-a").await, ["u0/a0", "u1/a1", "u2/a2"]);
    let thread = new.thread("session-a").await;
    let session = &thread.session;
    assert_eq!(session.project_id.as_deref(), Some("p"));
    assert_eq!(session.metadata.as_str(), r#"{"b": 1, "a": [null]}"#);
    assert_eq!(session.created_at.to_string(), "2025-12-24T10:00:00.000000Z");
    assert_eq!(session.last_active.to_string(), "2025-12-24T11:00:00.000001Z");
    let evidence = session.evidence();
    assert!((evidence.alpha - 3.0).abs() < 1e-9 && (evidence.beta - 2.0).abs() < 1e-9, "the old total");
    assert_eq!(thread.turns[1].turn.user.linearity, Linearity::Required);
    assert_eq!(thread.turns[1].turn.started_at.to_string(), "2025-12-24T10:00:01.500000Z");
    assert!(new.upgrade.report.oddities.is_empty(), "{:?}", new.upgrade.report.findings);
    // The copy is what the file was, and opens as such.
    assert!(new.backup().to_string_lossy().contains("keep.db.kgents-v1-"));
    let copy = std::fs::read(new.backup()).unwrap();
    assert_eq!(copy.len(), before.len());
    let copy = Connection::open(new.backup()).unwrap();
    let turns: i64 = copy.query_row("SELECT count(*) FROM chat_turns", [], |row| row.get(0)).unwrap();
    assert_eq!(turns, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_it_again_finds_a_keep() {
    let old = Old::new();
    old.session("s", 2);
    let new = old.upgrade().await;
    let (keep, store) = (new.keep, new.store);
    store.close().await.unwrap();
    let again = membrane_sqlite::SqliteStore::open(keep.options()).await.unwrap();
    assert!(again.upgrade().is_none());
    assert_eq!(again.stats().await.unwrap().turns_shown, 2);
    let names = keep.files().into_keys().filter(|name| name.ends_with(".backup")).count();
    assert_eq!(names, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_readers_see_the_same_turns() {
    let old = Old::new();
    old.session("a", 3);
    old.session("b", 1);
    let query = "SELECT session_id, turn_number, user_message, assistant_response FROM chat_turns \
                 ORDER BY session_id, turn_number";
    let read = |conn: &Connection| -> Vec<(String, i64, String, String)> {
        let mut statement = conn.prepare(query).unwrap();
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let before = read(&old.plain);
    let new = old.upgrade().await;
    assert_eq!(read(&new.keep.plain()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_shares_its_parents_turns_as_far_as_they_are_the_same() {
    let old = Old::new();
    // The child comes first in the file.
    old.session("child", 4);
    old.session("parent", 5);
    old.set("child", "parent_id", "parent");
    old.set("child", "fork_point", 3);
    old.run(
        "UPDATE chat_turns SET user_message = 'other' WHERE session_id = 'child' AND turn_number = 3",
        [],
    );
    old.set("child", "evidence_json", r#"{"prior_alpha": 4, "prior_beta": 1}"#);
    old.set("parent", "evidence_json", r#"{"prior_alpha": 6, "prior_beta": 1}"#);
    let new = old.upgrade().await;
    assert_eq!(new.said("child").await, ["u0/a0", "u1/a1", "u2/a2", "other/a3"]);
    assert_eq!(new.said("parent").await.len(), 5);
    let stats = new.store.stats().await.unwrap();
    assert_eq!((stats.turns_shown, stats.turns_stored), (9, 6));
    let (child, parent) = (new.thread("child").await.session, new.thread("parent").await.session);
    assert_eq!(child.family, parent.id);
    assert!((child.evidence().alpha - 4.0).abs() < 1e-9);
    assert_eq!((child.parent_id, child.fork_point), (Some(parent.id), Some(3)));
    assert_eq!(new.upgrade.report.turns_shared, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_sees_its_turns_and_those_that_only_it_has_are_kept() {
    let old = Old::new();
    old.session("s", 3);
    let turn = |n: u32, user: &str| {
        let at = started(n);
        format!(
            r#"{{"id":"turn-{user}","turn_number":{n},"user_message":"{user}","assistant_response":"a{n}",
                "linearity_tag":"preserved","in_context":true,"trailing":false,"derived_from":[],
                "started_at":"{at}","completed_at":null,"tools_used":[],"metadata":{{}}}}"#
        )
    };
    let context =
        |turns: &[String]| format!(r#"{{"id":"ctx-1","turns":[{}],"metadata":{{}}}}"#, turns.join(","));
    for (id, context) in [
        ("c-prefix", context(&[turn(0, "u0"), turn(1, "u1")])),
        ("c-own", context(&[turn(0, "u0"), turn(1, "gone"), turn(2, "gone too")])),
        ("c-count", "{}".to_owned()),
    ] {
        old.run(
            "INSERT INTO chat_checkpoints VALUES (?1, 's', 2, ?2, '{}', '2025-12-24T10:30:00')",
            (id, context),
        );
    }
    let new = old.upgrade().await;
    let session = SessionId::from_stored("s");
    assert_eq!(new.said("s").await, ["u0/a0", "u1/a1", "u2/a2"]);
    let checkpoints = new.store.list_checkpoints(&session).await.unwrap();
    assert_eq!(checkpoints.len(), 3);
    for checkpoint in checkpoints {
        let turns = new.store.load_turns(checkpoint.cut, 0..99).await.unwrap();
        let said: Vec<&str> = turns.iter().map(|kept| kept.turn.user.content.as_str()).collect();
        let expected: &[&str] = match checkpoint.id.as_str() {
            "c-own" => &["u0", "gone", "gone too"],
            _ => &["u0", "u1"],
        };
        assert_eq!(said, expected, "{}", checkpoint.id);
        assert_eq!(checkpoint.created_at.to_string(), "2025-12-24T10:30:00.000000Z");
    }
    let session = new.thread("s").await.session;
    assert_eq!(session.last_active.to_string(), "2025-12-24T11:00:00.000001Z");
    assert_eq!(new.count(membrane_store::kgents::Oddity::OnlyInCheckpoint), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn crystals_flags_and_tables_of_others_stay() {
    let keep = Keep::new();
    let plain = keep.plain();
    plain
        .execute_batch(&format!(
            "{DDL};
             CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT);
             INSERT INTO schema_version VALUES (1, '2025-01-01 00:00:00'), (2, '2025-01-02 00:00:00');
             CREATE TABLE marks (id TEXT PRIMARY KEY, session TEXT REFERENCES chat_sessions(id));
             CREATE VIEW busy AS SELECT session_id, count(*) AS n FROM chat_turns GROUP BY session_id"
        ))
        .unwrap();
    let old = Old { keep, plain };
    old.session("s", 2);
    old.set("s", "is_merged", 1);
    old.set("s", "merged_into", "gone");
    old.run("INSERT INTO marks VALUES ('m', 's')", []);
    old.run(
        "INSERT INTO chat_crystals VALUES ('s', 't', 'all of it', NULL, '[\"x\"]', '{\"prior_alpha\": 3}', 2, \
         '2025-12-24T12:00:00')",
        [],
    );
    let new = old.upgrade().await;
    let crystal = new.store.find_crystal(&SessionId::from_stored("s")).await.unwrap().unwrap();
    assert_eq!(
        (crystal.title.as_str(), crystal.summary.as_str(), crystal.final_turn_count),
        ("t", "all of it", 2)
    );
    assert_eq!((crystal.key_decisions.len(), crystal.artifacts), (0, vec!["x".to_owned()]));
    let session = new.thread("s").await.session;
    assert_eq!((session.is_merged, session.merged_into), (true, Some(SessionId::from_stored("gone"))));
    let plain = new.keep.plain();
    let one = |sql: &str| -> i64 { plain.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(one("SELECT count(*) FROM marks JOIN chat_sessions s ON s.id = marks.session"), 1);
    assert_eq!(one("SELECT n FROM busy WHERE session_id = 's'"), 2);
    assert_eq!(
        one("SELECT count(*) FROM schema_version WHERE version < 1000 AND applied_at LIKE '2025-%'"),
        2
    );
    assert_eq!(one("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_many_turns_and_every_text_comes_over() {
    let old = Old::new();
    old.session("long", 3000);
    let odd = ["", "\0", "a\0b", "🙂 العربية", &"x".repeat(1 << 20)];
    old.session("odd", 0);
    for (number, text) in odd.iter().enumerate() {
        old.run(
            "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, started_at, \
             completed_at) VALUES ('odd', ?1, ?2, ?2, '2025-12-24 10:00:00+02:00', '2025-12-24T10:00:00Z')",
            (i64::try_from(number).unwrap(), text),
        );
    }
    let new = old.upgrade().await;
    assert_eq!(new.said("long").await.len(), 3000);
    let said = new.said("odd").await;
    assert_eq!(said, odd.map(|text| format!("{text}/{text}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_turns_ended_at_other_times_shares_them_all_the_same() {
    let old = Old::new();
    old.session("parent", 3);
    old.session("child", 3);
    old.set("child", "parent_id", "parent");
    old.run("UPDATE chat_turns SET completed_at = '2025-12-24T12:00:00' WHERE session_id = 'child'", []);
    let new = old.upgrade().await;
    assert_eq!(new.store.stats().await.unwrap().turns_stored, 3);
    let kept = new.kept(Some("child")).await;
    assert_eq!(kept.len(), 3);
    assert_eq!(
        (kept[0].source.as_str(), kept[0].value.as_str()),
        ("chat_turns.completed_at", "2025-12-24T12:00:00")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_without_a_table_of_sessions_are_kept() {
    let keep = Keep::new();
    let plain = keep.plain();
    plain
        .execute_batch(
            "CREATE TABLE chat_turns (session_id TEXT, user_message TEXT, assistant_response TEXT);
             INSERT INTO chat_turns VALUES ('s', 'u', 'a')",
        )
        .unwrap();
    let new = Old { keep, plain }.upgrade().await;
    assert_eq!(new.kept(None).await.len(), 1);
}
