//! The way back from a backup: what is refused, and what becomes of what was there.

use std::fs;
use std::path::PathBuf;

use membrane_core::ids::{InstanceId, SessionId};
use membrane_core::time::Timestamp;
use membrane_sqlite::OpenError;
use membrane_sqlite::SqliteOptions;
use membrane_sqlite::backup::{BackupError, Make, Place, Restored, back_up, restore};

use membrane_store::EventPage;

use crate::keep::{Keep, column, value};

/// A keep of two turns with a backup of it.
struct Backed {
    keep: Keep,
    id: SessionId,
    backup: PathBuf,
}

impl Backed {
    async fn new() -> Self {
        let keep = Keep::new();
        let f = keep.open().await;
        let id = f.session(2).await;
        f.store.close().await.unwrap();
        let backup = keep.folder().join("b.db");
        back_up(&keep.options(), &Place::File(backup.clone()), now()).unwrap();
        Self { keep, id, backup }
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions { busy_timeout: std::time::Duration::from_millis(50), ..self.keep.options() }
    }

    fn restore(&self) -> Result<Restored, BackupError> {
        restore(&self.backup, &self.options(), now())
    }

    /// Changes the backup.
    fn change(&self, sql: &str) {
        rusqlite::Connection::open(&self.backup).unwrap().execute_batch(sql).unwrap();
    }

    /// Restores what must be refused, and sees that nothing changes.
    fn refused(&self) -> BackupError {
        let before = self.keep.files();
        let error = self.restore().unwrap_err();
        assert!(before == self.keep.files(), "{error}: a file changed");
        error
    }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T15:50:00Z").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_keep_is_refused() {
    let backed = Backed::new().await;
    backed.change(
        "INSERT INTO schema_version (version, applied_at, name, checksum) VALUES (9999, '', 'x', 'x')",
    );
    let error = backed.refused();
    assert!(
        matches!(&error, BackupError::Open(error) if matches!(**error, OpenError::TooNew { found: 9999, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("b.db"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_of_a_build_that_was_never_released_is_refused() {
    let backed = Backed::new().await;
    backed.change("UPDATE schema_version SET checksum = 'x' WHERE version = 1001");
    let error = backed.refused();
    assert!(
        matches!(&error, BackupError::Open(error) if matches!(**error, OpenError::ChecksumMismatch { .. })),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_that_contradicts_itself_is_refused_with_the_first_finding() {
    let backed = Backed::new().await;
    backed.change("UPDATE chat_sessions SET turn_count = 7");
    let error = backed.refused();
    assert!(matches!(error, BackupError::Contradicts { .. }), "{error:?}");
    assert!(
        error.to_string().contains("turn_count") && error.to_string().contains("membrane check"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_with_a_table_gone_is_refused() {
    let backed = Backed::new().await;
    backed.change("DROP VIEW chat_turns; DROP TABLE run_pieces; DROP TABLE runs");
    let error = backed.refused();
    assert!(matches!(error, BackupError::Contradicts { .. }), "{error:?}");
    assert!(error.to_string().contains("runs"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_make_is_refused_by_its_tables() {
    let backed = Backed::new().await;
    fs::remove_file(&backed.backup).unwrap();
    backed.change("CREATE TABLE songs (x)");
    let error = backed.refused();
    assert!(matches!(error, BackupError::NoKeep { .. }), "{error:?}");
    assert!(error.to_string().contains("songs"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_does_not_match_its_table_is_refused() {
    let backed = Backed::new().await;
    let root: i64 = value(
        &rusqlite::Connection::open(&backed.backup).unwrap(),
        "SELECT rootpage FROM sqlite_schema WHERE name = 'idx_chat_turns_session'",
        [],
    );
    let mut bytes = fs::read(&backed.backup).unwrap();
    let page = usize::try_from(root - 1).unwrap() * 4096;
    // No cells: the page of an index of an empty table.
    bytes[page + 3..page + 5].fill(0);
    fs::write(&backed.backup, bytes).unwrap();
    let error = backed.refused();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("b.db is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_database_open_is_named_and_not_pushed_out() {
    let backed = Backed::new().await;
    let f = backed.keep.open().await;
    f.append(&backed.id, 1).await;
    let error = backed.restore().unwrap_err();
    assert!(matches!(error, BackupError::InUse { .. }), "{error:?}");
    f.append(&backed.id, 1).await;
    f.store.hold_instance(&InstanceId::from_stored("instance-a")).await.unwrap();
    let error = backed.restore().unwrap_err();
    assert!(error.to_string().contains("keep.db-instance-instance-a.lock"), "{error}");
    f.append(&backed.id, 1).await;
    assert_eq!(f.get(&backed.id).await.turn_count(), 5);
    f.store.close().await.unwrap();
    backed.restore().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_without_a_log_is_not_pushed_out_either() {
    let backed = Backed::new().await;
    let plain = backed.keep.plain();
    plain.execute_batch("PRAGMA journal_mode = DELETE; BEGIN; SELECT count(*) FROM turns").unwrap();
    let error = backed.restore().unwrap_err();
    assert!(matches!(error, BackupError::InUse { .. }), "{error:?}");
    plain.execute_batch("COMMIT").unwrap();
    drop(plain);
    backed.restore().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_in_the_log_is_set_aside_too_and_is_not_applied_to_the_new_database() {
    let live = Keep::new();
    let f = live.open().await;
    f.session(5).await;
    // A copy made while it was open is what a crash leaves behind.
    let crashed = Backed::new().await;
    for (name, bytes) in
        live.files().into_iter().filter(|(name, _)| name.starts_with("keep.db") && !name.ends_with("-shm"))
    {
        fs::write(crashed.keep.folder().join(name), bytes).unwrap();
    }
    assert!(crashed.keep.log_bytes() > 4096, "the test needs a log with content");
    let restored = crashed.restore().unwrap();
    let aside = restored.aside.unwrap();
    assert_eq!(aside.damage, None);
    let turns = |path: &std::path::Path| {
        value::<i64>(&rusqlite::Connection::open(path).unwrap(), "SELECT count(*) FROM turns", [])
    };
    assert_eq!((turns(&aside.path), turns(&crashed.keep.path())), (5, 2));
    assert_eq!(crashed.keep.log_bytes(), 0);
    let f = crashed.keep.open().await;
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_the_database_stays_a_link() {
    let backed = Backed::new().await;
    let link = backed.keep.folder().join("link.db");
    std::os::unix::fs::symlink(backed.keep.path(), &link).unwrap();
    restore(&backed.backup, &SqliteOptions::at(&link), now()).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(backed.keep.path().symlink_metadata().unwrap().is_file());
    let itself = restore(&backed.keep.path(), &SqliteOptions::at(&link), now()).unwrap_err();
    assert!(matches!(itself, BackupError::Itself { .. }), "{itself:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_database_is_as_private_as_the_old_one_was() {
    use std::os::unix::fs::PermissionsExt;

    let backed = Backed::new().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(backed.keep.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let aside = backed.restore().unwrap().aside.unwrap();
    assert_eq!((mode(&backed.keep.path()), mode(&aside.path)), (0o600, 0o600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_kgents_own_is_put_in_place_as_it_is() {
    const V1: &str = "CREATE TABLE chat_sessions (id TEXT PRIMARY KEY, turn_count INTEGER, created_at TEXT, last_active TEXT);
        CREATE TABLE chat_turns (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, turn_number INTEGER,
            user_message TEXT, assistant_response TEXT);
        INSERT INTO chat_sessions VALUES ('session-1', 1, '2025-12-24T01:02:03', '2025-12-24T01:02:03');
        INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response)
            VALUES ('session-1', 0, 'hello', 'hi')";
    for mode in ["DELETE", "WAL"] {
        let backed = Backed::new().await;
        fs::remove_file(&backed.backup).unwrap();
        backed.change(&format!("PRAGMA journal_mode = {mode}; {V1}"));
        let restored = backed.restore().unwrap();
        assert_eq!((restored.contents.make, restored.contents.needs_upgrade), (Make::Kgents, true));
        assert_eq!((restored.contents.sessions, restored.contents.turns), (1, 1));
        assert_eq!(
            column::<String>(&backed.keep.plain(), "SELECT user_message FROM chat_turns", []),
            ["hello"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_events_of_the_database_that_went_is_none_in_the_one_that_came() {
    let backed = Backed::new().await;
    let f = backed.keep.open().await;
    f.append(&backed.id, 3).await;
    let place = f.store.event_bounds().await.unwrap().newest;
    f.store.close().await.unwrap();
    let now = membrane_core::time::Clock::now(&membrane_core::time::SystemClock);
    restore(&backed.backup, &backed.options(), now).unwrap();
    let f = backed.keep.open().await;
    for _ in 0..8 {
        f.append(&backed.id, 1).await;
    }
    let told = f.store.list_events(place, 100).await.unwrap();
    assert!(matches!(told, EventPage::Reset(newest) if newest > place), "{told:?}");
}
