//! The steps of the schema: whose tables they are, and which of them are there.

use std::sync::Arc;

use membrane_postgres::migrations::MIGRATIONS;
use membrane_postgres::{OpenError, PostgresStore};
use membrane_store::conformance::fixture::Fixture;
use membrane_store::{EventPage, Store};
use membrane_testservers::Database;

use crate::keep::{database, open, options, refusal};

#[tokio::test]
async fn the_steps_of_a_database_are_told_without_changing_it() {
    let database = database();
    let status = PostgresStore::migration_status(&options(database.url())).await.unwrap();
    assert_eq!(status.len(), MIGRATIONS.len());
    assert!(status.iter().all(|step| step.applied_at.is_none()), "{status:?}");
    assert_eq!(database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(), "0");
    open(database.url()).await;
    let status = PostgresStore::migration_status(&options(database.url())).await.unwrap();
    assert!(
        status.iter().all(|step| step.applied_at.as_ref().is_some_and(|at| at.ends_with('Z'))),
        "{status:?}"
    );
}

#[tokio::test]
async fn rows_and_columns_of_others_in_schema_version_stay() {
    for kind in ["TEXT", "TIMESTAMPTZ", "TIMESTAMP"] {
        let database = database();
        database
            .execute(&format!(
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at {kind}); \
                 INSERT INTO schema_version VALUES (1, '2025-01-02 03:04:05'), (2, '2025-01-02 03:04:05')"
            ))
            .unwrap();
        open(database.url()).await;
        let rows = database
            .execute("SELECT version, checksum IS NULL FROM schema_version ORDER BY version")
            .unwrap();
        assert!(rows.starts_with("1|t\n2|t\n1001|f\n1002|f\n"), "{rows}");
        open(database.url()).await;
    }
}

#[tokio::test]
async fn a_table_of_another_make_is_refused_by_its_name() {
    let odd_versions = [
        "CREATE TABLE schema_version (version TEXT, applied_at TEXT)",
        "CREATE TABLE schema_version (id INT)",
        "CREATE TABLE schema_version (version INT, applied_at TEXT, who TEXT NOT NULL)",
    ];
    for make in odd_versions {
        let database = database();
        database.execute(make).unwrap();
        let (error, _) = refusal(options(database.url())).await;
        assert!(
            matches!(&error, OpenError::ForeignTables { table, .. } if table == "schema_version"),
            "{error:?}"
        );
    }
    for (make, name) in [
        ("CREATE TABLE turns (id INT)", "turns"),
        ("CREATE VIEW segments AS SELECT 1", "segments"),
        ("CREATE SEQUENCE membrane_numbers", "membrane_numbers"),
        ("CREATE FUNCTION membrane_time(INT) RETURNS INT LANGUAGE SQL AS 'SELECT 1'", "membrane_time"),
    ] {
        let database = database();
        database.execute(make).unwrap();
        let (error, text) = refusal(options(database.url())).await;
        assert!(matches!(&error, OpenError::ForeignTables { table, .. } if table == name), "{error:?}");
        assert!(text.contains("another database or schema"), "{text}");
        let left = database.execute("SELECT count(*) FROM pg_class WHERE relname = 'histories'").unwrap();
        assert_eq!(left, "0");
    }
    let database = database();
    database.execute("CREATE VIEW chat_turns AS SELECT 1").unwrap();
    let (error, text) = refusal(options(database.url())).await;
    assert!(matches!(&error, OpenError::NotV1 { name, .. } if *name == "chat_turns"), "{error:?}");
    assert!(text.contains("it is a view"), "{text}");
    let database = crate::keep::database();
    database.execute("CREATE TABLE accounts (id INT)").unwrap();
    open(database.url()).await;
}

#[tokio::test]
async fn a_keep_that_is_newer_or_was_edited_is_refused() {
    let database = database();
    open(database.url()).await;
    database.execute("UPDATE schema_version SET checksum = 'edited' WHERE version = 1002").unwrap();
    let (error, _) = refusal(options(database.url())).await;
    assert!(matches!(error, OpenError::ChecksumMismatch { version: 1002, .. }), "{error:?}");
    database.execute("DELETE FROM schema_version WHERE version = 1002").unwrap();
    database.execute("INSERT INTO schema_version (version, checksum) VALUES (9999, 'x')").unwrap();
    let (error, _) = refusal(options(database.url())).await;
    assert!(matches!(error, OpenError::TooNew { found: 9999, .. }), "{error:?}");
}

#[tokio::test]
async fn what_another_program_tells_wrongly_is_nobodys_event_and_stops_nobody() {
    let database = database();
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let id = f.create().await;
    let before = f.store.event_bounds().await.unwrap().newest;
    let told = |kinds: &str, sessions: &str, versions: &str| {
        let sql = format!(
            "INSERT INTO told_events (kinds, session_ids, versions, at) \
             VALUES ('{kinds}', '{sessions}', '{versions}', 0)"
        );
        database.execute(&sql).unwrap();
    };
    for (kinds, sessions, versions) in [
        ("{turn.added}", "{}", "{1}"),
        ("{turn.added}", "{}", "{1,2}"),
        ("{turn.added,turn.added}", "{NULL}", "{1}"),
        ("{}", "{}", "{}"),
        ("{}", "{a}", "{1}"),
        ("{NULL}", "{a}", "{1}"),
        ("{turn.added}", "{NULL}", "{1}"),
        ("{turn.added}", "{a}", "{NULL}"),
    ] {
        told(kinds, sessions, versions);
    }
    // Of the others there is what can be told.
    for (kinds, sessions, versions) in [
        ("{turn.added}", "{a,b}", "{1}"),
        ("{turn.added}", "{a}", "{1,2}"),
        ("[0:0]={turn.added}", "{a,b}", "{1,2}"),
        ("{{turn.added}}", "{{a}}", "{1}"),
    ] {
        told(kinds, sessions, versions);
    }
    f.append(&id, 1).await;
    told("{turn.added}", "{a,b}", "{1,2}");
    let EventPage::Events(events) = f.store.list_events(before, 100).await.unwrap() else { panic!() };
    let told: Vec<_> = events.iter().map(|event| (event.session.as_str(), event.version)).collect();
    assert_eq!(told, [("a", 1), ("a", 1), ("a", 1), ("a", 1), (id.as_str(), 2), ("a", 1), ("b", 2)]);
    assert_eq!(database.execute("SELECT count(*) FROM told_events").unwrap(), "0");
}

#[tokio::test]
async fn what_is_gone_is_named_with_where_to_look() {
    let database = database();
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let id = f.session(1).await;
    database.execute("ALTER TABLE turns RENAME TO away").unwrap();
    let error = f.store.load_thread(&id, 0..1).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains("membrane doctor"), "{cause}");
    let missing = std::error::Error::source(cause).and_then(std::error::Error::source).unwrap();
    assert!(missing.to_string().contains("\"turns\""), "{missing}");
}

#[tokio::test]
async fn a_slot_that_another_program_left_behind_is_found() {
    let database = database();
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let id = f.session(1).await;
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
    database.execute("UPDATE chat_sessions SET last_active = '2031-01-01T00:00:00.000000Z'").unwrap();
    let found = f.store.check().await.unwrap();
    assert_eq!(found, [format!("session {id}: active_slot is not the beginning of last_active")]);
}

#[tokio::test]
async fn no_index_of_sessions_holds_what_every_append_changes() {
    let database = database();
    let store = open(database.url()).await;
    let f = Fixture::new(Arc::new(store));
    let id = f.session(1).await;
    let columns = "SELECT jsonb_object_keys(to_jsonb(s)) AS name FROM chat_sessions s";
    let indexed = "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
                   AND a.attnum = ANY(i.indkey) WHERE i.indrelid = 'chat_sessions'::regclass";
    let row = |database: &Database| {
        database.execute("SELECT to_jsonb(s) - 'active_slot' FROM chat_sessions s").unwrap()
    };
    let before = row(&database);
    f.say(&id, "one more").await;
    let after = row(&database);
    let changed = database
        .execute(&format!(
            "SELECT name FROM ({columns}) AS c WHERE name <> 'active_slot' \
                 AND '{}'::jsonb -> name IS DISTINCT FROM '{}'::jsonb -> name ORDER BY name",
            before.trim().replace('\'', "''"),
            after.trim().replace('\'', "''"),
        ))
        .unwrap();
    let names: Vec<&str> = changed.lines().collect();
    assert!(names.contains(&"last_active") && names.contains(&"version"), "{changed}");
    let both = database
        .execute(&format!(
            "SELECT count(*) FROM ({indexed}) AS i WHERE attname = ANY('{{{}}}')",
            names.join(",")
        ))
        .unwrap();
    assert_eq!(both.trim(), "0", "an append would write to every index");
}

#[tokio::test]
async fn what_contradicts_itself_is_found_a_line_each() {
    let database = database();
    let store = open(database.url()).await;
    database
        .execute(
            "INSERT INTO histories VALUES (1, 'f'); INSERT INTO segments VALUES (1, 'f', 'gone', 0, FALSE); \
             INSERT INTO slices VALUES (1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0); \
             INSERT INTO turns VALUES (1, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, TRUE, 't', 'complete', 'x', 'x', \
                 NULL, NULL, 'a', 'b'); \
             INSERT INTO flipped_turns VALUES (1, 7); INSERT INTO turn_signals (segment_id, position, kind, created_at) \
                 VALUES (1, 9, 'negative', 0); \
             INSERT INTO deleted_sessions VALUES ('d', 'f', NULL, NULL, 'then'); \
             INSERT INTO chat_sessions (id, created_at, last_active, active_slot, family_id, version, history_id, turn_count) \
                 VALUES ('s', 'now', 'now', 'then', 'g', 1, 1, 5)",
        )
        .unwrap();
    let lines = store.check().await.unwrap();
    for line in [
        "session s: it cannot be read:",
        "session s: active_slot is not the beginning of last_active",
        "turn 1:0: it cannot be read:",
        "session s: turn_count is not the number of turns that its history shows",
        "history 1: its slices leave a gap or overlap",
        "session s: evidence_json is not what its turns and signals say",
        "turn 1:0: its place in time does not follow",
        "signal 1: its turn is gone",
        "turn 1:7: it counts as turned by signals, and neither it nor a signal is there",
        "segment 1: its owner is gone",
        "segment 1: it is sealed before its last turn",
        "turn 1:0: no session and no checkpoint reaches it",
        "tombstone d: its family is gone",
    ] {
        assert_eq!(lines.iter().filter(|found| found.starts_with(line)).count(), 1, "{line}: {lines:#?}");
    }
}
