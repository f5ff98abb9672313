//! What is odd in a file: nothing lost, everything said.

use membrane_store::Store;
use membrane_store::kgents::Oddity;

use super::Old;

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_sessions_that_are_not_there_are_kept_word_for_word() {
    let old = Old::new();
    old.session("s", 1);
    old.plain.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    old.turns("gone", 0, 2);
    old.run("INSERT INTO chat_checkpoints VALUES ('c', 'gone', 1, '{\"turns\": []}', '{}', 'x')", []);
    old.run("INSERT INTO chat_crystals VALUES ('gone', 't', 's', NULL, NULL, NULL, 1, 'x')", []);
    let new = old.upgrade().await;
    assert_eq!(new.count(Oddity::Orphan), 4);
    let kept = new.kept(None).await;
    assert_eq!(kept.len(), 4);
    assert!(kept[0].value.contains(r#""user_message":"u0""#), "{kept:?}");
    assert_eq!((kept[0].source.as_str(), kept[0].session.as_deref()), ("chat_turns", Some("gone")));
    let turns = new.upgrade.report.tables["chat_turns"];
    assert_eq!((turns.total, turns.read, turns.skipped), (3, 1, 2));
    assert_eq!(new.store.stats().await.unwrap().sessions, 1, "nobody is raised from the dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_circular_parents_are_said_and_their_ids_stay() {
    let old = Old::new();
    old.plain.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for (id, parent) in [("a", "b"), ("b", "a"), ("self", "self"), ("lost", "nowhere")] {
        old.session(id, 2);
        old.set(id, "parent_id", parent);
    }
    let new = old.upgrade().await;
    for (id, parent) in [("a", "b"), ("b", "a"), ("self", "self"), ("lost", "nowhere")] {
        let session = new.thread(id).await.session;
        assert_eq!(session.parent_id.unwrap().as_str(), parent);
        assert_eq!(new.said(id).await, ["u0/a0", "u1/a1"]);
    }
    assert_eq!(new.count(Oddity::DanglingParent), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_states_and_numbers_that_lie_are_put_right() {
    let old = Old::new();
    old.session("s", 3);
    old.set("s", "turn_count", 99);
    old.set("s", "state", "processing");
    old.set("s", "fork_point", -1);
    old.run("UPDATE chat_turns SET turn_number = turn_number + 5", []);
    let new = old.upgrade().await;
    let session = new.thread("s").await.session;
    assert_eq!((session.turn_count(), session.fork_point), (3, None));
    assert_eq!(new.said("s").await, ["u0/a0", "u1/a1", "u2/a2"]);
    assert_eq!(new.count(Oddity::WrongCount), 2);
    assert_eq!(new.count(Oddity::Unfinished), 1);
    assert_eq!(new.count(Oddity::WrongNumber), 1);
    let kept = new.kept(Some("s")).await;
    let kept: Vec<(&str, &str)> = kept.iter().map(|row| (row.source.as_str(), row.value.as_str())).collect();
    assert_eq!(kept, [("chat_sessions.state", "processing"), ("chat_sessions.fork_point", "-1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_make_no_sense_are_kept_beside_what_is_read_of_them() {
    let old = Old::new();
    old.session("s", 2);
    for (column, value) in [
        ("evidence_json", "{\"prior_alpha\": NaN}"),
        ("metadata_json", "[1]"),
        ("created_at", "yesterday"),
        ("state", "asleep"),
    ] {
        old.set("s", column, value);
    }
    old.run(
        "UPDATE chat_turns SET user_message = CAST(x'6162ff' AS TEXT), assistant_response = x'00ff', \
         tools_json = '[\"read\", {\"name\": \"x\", \"odd\": 1}, 7', user_linearity = 'sometimes', \
         evidence_delta_json = 'no', confidence = 'high', started_at = 17 WHERE turn_number = 0",
        [],
    );
    old.run("UPDATE chat_turns SET tools_json = '[\"read\", {\"name\": \"x\", \"odd\": 1}]' WHERE turn_number = 1", []);
    let new = old.upgrade().await;
    assert_eq!(new.said("s").await, ["ab\u{fffd}/\u{0}\u{fffd}", "u1/a1"]);
    let thread = new.thread("s").await;
    let tools: Vec<&str> = thread.turns[1].turn.tools().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["read", "x"]);
    let kept = new.kept(Some("s")).await;
    let sources: Vec<&str> = kept.iter().map(|row| row.source.as_str()).collect();
    for column in [
        "chat_sessions.metadata_json",
        "chat_sessions.created_at",
        "chat_turns.user_message",
        "chat_turns.assistant_response",
        "chat_turns.tools_json",
        "chat_turns.user_linearity",
        "chat_turns.evidence_delta_json",
        "chat_turns.started_at",
        "chat_turns.confidence",
    ] {
        assert!(sources.contains(&column), "{column} in {sources:?}");
    }
    let hex = kept.iter().find(|row| row.source == "chat_turns.assistant_response").unwrap();
    assert_eq!(hex.value, r#"{"hex":"00ff"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_some_of_its_tables_and_columns_is_upgraded_too() {
    let keep = crate::keep::Keep::new();
    let plain = keep.plain();
    plain
        .execute_batch(
            "CREATE TABLE chat_sessions (id TEXT, mood TEXT);
             CREATE TABLE chat_turns (session_id TEXT, user_message TEXT, assistant_response TEXT);
             INSERT INTO chat_sessions VALUES ('s', 'good'), ('s', 'bad'), (NULL, 'none'), ('', NULL);
             INSERT INTO chat_turns VALUES ('s', 'u', NULL), (NULL, 'x', 'y')",
        )
        .unwrap();
    let new = Old { keep, plain }.upgrade().await;
    assert_eq!(new.said("s").await, ["u/"]);
    assert_eq!(new.count(Oddity::Duplicate), 1);
    assert_eq!(new.count(Oddity::NoId), 2);
    assert_eq!(new.kept(Some("s")).await.len(), 3, "the mood, the second s, and the answer that was NULL");
    assert_eq!(new.kept(None).await.len(), 3);
}
