//! Files that are not ours: refused with the reason, and left byte for byte as they were.
//!
//! Foreign tables that are no hindrance are in `migrations`.

use membrane_sqlite::{OpenError, SqliteStore};
use rusqlite::Connection;

use crate::keep::{Keep, refused};

/// Tables of some other program that have our names.
const FOREIGN: &str = "CREATE TABLE segments (id TEXT PRIMARY KEY, project_id TEXT,
        parent_id TEXT REFERENCES segments(id), fork_point INTEGER, branch_name TEXT NOT NULL DEFAULT 'main',
        state TEXT NOT NULL DEFAULT 'idle', turn_count INTEGER NOT NULL DEFAULT 0,
        context_size INTEGER NOT NULL DEFAULT 0, evidence_json TEXT NOT NULL DEFAULT '{}',
        metadata_json TEXT NOT NULL DEFAULT '{}', is_merged INTEGER NOT NULL DEFAULT 0, merged_into TEXT,
        created_at TEXT NOT NULL, last_active TEXT NOT NULL);
    CREATE TABLE turns (id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL REFERENCES segments(id) ON DELETE CASCADE, turn_number INTEGER NOT NULL,
        user_message TEXT NOT NULL, assistant_response TEXT NOT NULL, UNIQUE(session_id, turn_number));
    CREATE INDEX my_segments_project ON segments (project_id);
    INSERT INTO segments (id, turn_count, created_at, last_active)
        VALUES ('session-1', 1, '2025-12-24T01:02:03', '2025-12-24T01:02:03');
    INSERT INTO turns (session_id, turn_number, user_message, assistant_response)
        VALUES ('session-1', 0, 'hello', 'hi');";

async fn stays_as_it_is(keep: &Keep) -> OpenError {
    let before = keep.files();
    let error = keep.refused().await;
    let after = keep.files();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{error}");
    assert!(before == after, "{error}: the bytes changed");
    drop(SqliteStore::migration_status(&keep.path()));
    assert!(before == keep.files(), "asking for the status changed something");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_that_have_our_names_are_refused_in_every_journal_mode() {
    for mode in ["DELETE", "TRUNCATE", "WAL"] {
        let keep = Keep::new();
        let plain = keep.plain();
        plain.execute_batch(&format!("PRAGMA journal_mode = {mode}; {FOREIGN}")).unwrap();
        drop(plain);
        let error = stays_as_it_is(&keep).await;
        assert!(matches!(&error, OpenError::ForeignTables { table, .. } if table == "segments"), "{error:?}");
        assert!(error.to_string().contains("name another file"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_in_anothers_log_stays_there() {
    let keep = Keep::new();
    let plain = keep.plain();
    plain
        .execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {FOREIGN}"))
        .unwrap();
    // A copy made while it was open is what a crash leaves behind.
    let crashed = Keep::new();
    for (name, bytes) in keep.files().into_iter().filter(|(name, _)| !name.ends_with("-shm")) {
        std::fs::write(crashed.folder().join(name), bytes).unwrap();
    }
    let before = crashed.files();
    assert!(before["keep.db-wal"].len() > 4096, "the test needs a log with content");
    let error = crashed.refused().await;
    assert!(matches!(error, OpenError::ForeignTables { .. }), "{error:?}");
    let mut after = crashed.files();
    after.remove("keep.db-shm");
    assert!(before == after, "the log's content moved");
    // While its owner has it open, nothing is disturbed either.
    assert!(matches!(keep.refused().await, OpenError::ForeignTables { .. }));
    plain.execute("UPDATE segments SET state = 'processing'", []).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_ours_that_is_taken_is_refused_by_name() {
    let schema = Connection::open_in_memory().unwrap();
    schema.execute_batch(&membrane_sqlite::migrations::sql()).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'";
    let tables = crate::keep::column::<String>(&schema, tables, []);
    assert!(tables.len() > 12, "{tables:?}");
    for table in tables {
        let keep = Keep::new();
        let taken = table.to_uppercase();
        keep.plain().execute_batch(&format!("CREATE TABLE {taken} (x)")).unwrap();
        let error = stays_as_it_is(&keep).await;
        let named = match &error {
            OpenError::ForeignTables { table, .. } => table,
            // Of kgents' own names another make is expected.
            OpenError::NotV1 { name, .. } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(*named, taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_table_of_another_kind_is_refused() {
    for sql in [
        "CREATE TABLE schema_version (v TEXT)",
        "CREATE TABLE schema_version (version TEXT, applied_at TEXT); INSERT INTO schema_version VALUES ('v2', '')",
    ] {
        let keep = Keep::new();
        keep.plain().execute_batch(sql).unwrap();
        let error = stays_as_it_is(&keep).await;
        assert!(
            matches!(&error, OpenError::ForeignTables { table, .. } if table == "schema_version"),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_both_versions() {
    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    let sql = "INSERT INTO schema_version (version, applied_at, name, checksum) VALUES (1999, 'then', 'later', 'x')";
    keep.plain().execute_batch(sql).unwrap();
    let error = stays_as_it_is(&keep).await;
    assert!(matches!(error, OpenError::TooNew { found: 1999, known: 1006, .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("1999") && text.contains("1006") && text.contains("use a newer membrane"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_migration_is_refused_with_both_checksums() {
    for edit in ["'0123456789abcdef'", "NULL"] {
        let keep = Keep::new();
        keep.open().await.store.close().await.unwrap();
        let sql = format!("UPDATE schema_version SET checksum = {edit} WHERE version = 1001");
        keep.plain().execute_batch(&sql).unwrap();
        let error = stays_as_it_is(&keep).await;
        assert!(matches!(error, OpenError::ChecksumMismatch { version: 1001, .. }), "{error:?}");
        let known = membrane_sqlite::migrations::MIGRATIONS[0].checksum();
        assert!(error.to_string().contains(&known), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_refused_by_name() {
    let keep = Keep::new();
    std::fs::write(keep.path(), "dear diary, today I wrote a file that is no database\n".repeat(100))
        .unwrap();
    let error = stays_as_it_is(&keep).await;
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("keep.db"), "{error}");
    let status = SqliteStore::migration_status(&keep.path());
    assert!(matches!(status, Err(OpenError::NotADatabase { .. })), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_no_file_can_be_is_named() {
    let keep = Keep::new();
    let is_io = |error: &OpenError| matches!(error, OpenError::Io { .. });
    let error = refused(keep.folder()).await;
    assert!(is_io(&error), "a folder: {error:?}");
    assert!(error.to_string().contains(&keep.folder().display().to_string()), "{error}");
    std::fs::write(keep.folder().join("file"), b"").unwrap();
    let error = refused(&keep.folder().join("file/keep.db")).await;
    assert!(is_io(&error), "a file as a folder: {error:?}");
    // In these folders nobody can make a file, whatever the user may do otherwise.
    #[cfg(target_os = "linux")]
    for path in ["/proc/membrane.db", "/proc/membrane/keep.db", "/sys/membrane.db"] {
        let error = refused(std::path::Path::new(path)).await;
        assert!(is_io(&error), "{path}: {error:?}");
        assert!(error.to_string().contains("may be written to"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_may_not_write_is_refused_or_written_as_the_system_says() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    set_permissions(keep.path(), Permissions::from_mode(0o444)).unwrap();
    set_permissions(keep.folder(), Permissions::from_mode(0o555)).unwrap();
    let may_write = std::fs::OpenOptions::new().append(true).open(keep.path()).is_ok();
    let opened = SqliteStore::open(keep.options()).await;
    match &opened {
        Ok(_) => assert!(may_write, "only the system's administrator may write here"),
        Err(error) => assert!(!may_write && matches!(error, OpenError::Io { .. }), "{error:?}"),
    }
    drop(opened);
    set_permissions(keep.folder(), Permissions::from_mode(0o755)).unwrap();
}
