//! Whatever happens, the file is what it was or a keep.

use membrane_sqlite::v1::UpgradeOptions;
use membrane_sqlite::{OpenError, SqliteOptions, SqliteStore};
use membrane_store::Store;

use super::Old;

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_turns_stops_the_upgrade_unless_it_is_forced() {
    let old = Old::new();
    old.session("s", 2);
    old.plain
        .execute_batch(
            "CREATE TABLE stars (turn INTEGER REFERENCES chat_turns(id)); INSERT INTO stars VALUES (1)",
        )
        .unwrap();
    let error = old.refused().await;
    assert!(matches!(&error, OpenError::UpgradeBlocked { .. }), "{error:?}");
    assert!(error.to_string().contains("\"stars\"") && error.to_string().contains("--force"), "{error}");
    let forced = UpgradeOptions { force: true, ..old.options().upgrade };
    let options = SqliteOptions { upgrade: forced, ..old.options() };
    let new = old.upgrade_with(options).await;
    assert!(new.upgrade.forced.as_deref().unwrap().contains("stars"));
    let stars: i64 = new.keep.plain().query_row("SELECT turn FROM stars", [], |row| row.get(0)).unwrap();
    assert_eq!(stars, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_of_others_stops_it_too() {
    let old = Old::new();
    old.plain.execute_batch("CREATE TRIGGER mine AFTER INSERT ON chat_turns BEGIN SELECT 1; END").unwrap();
    assert!(old.refused().await.to_string().contains("\"mine\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_open_it_at_once_get_the_same_keep() {
    let old = Old::new();
    old.session("s", 500);
    drop(old.plain);
    let keep = old.keep;
    let options = || SqliteOptions { busy_timeout: std::time::Duration::from_secs(60), ..keep.options() };
    let (one, two) = tokio::join!(SqliteStore::open(options()), SqliteStore::open(options()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(usize::from(one.upgrade().is_some()) + usize::from(two.upgrade().is_some()), 1);
    for store in [one, two] {
        assert_eq!(store.stats().await.unwrap().turns_shown, 500);
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_in_either_journal_mode() {
    for mode in ["DELETE", "WAL"] {
        let old = Old::new();
        old.plain.execute_batch(&format!("PRAGMA journal_mode = {mode}")).unwrap();
        old.session("s", 400);
        let path = old.keep.path();
        let Old { keep, plain } = old;
        drop(plain);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0x5a);
        std::fs::write(&path, &bytes).unwrap();
        let before = keep.files();
        let error = SqliteStore::open(keep.options()).await.expect_err("damaged");
        assert!(before == keep.files(), "{mode}, {error}: something changed");
    }
}

/// SQLite's check leaves these out where a view comes first among the tables that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn damage_to_the_header_and_the_free_pages_is_found_beside_a_view_too() {
    fn number(bytes: &[u8], at: usize) -> usize {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }
    fn first_leaf(bytes: &[u8]) -> usize {
        let list = (number(bytes, 32) - 1) * 4096;
        assert!(number(bytes, list + 4) > 0, "it has pages");
        list + 8
    }
    type Damage = fn(&mut [u8]);
    let with_views = ["", "CREATE VIEW recent AS SELECT id FROM chat_sessions"];
    let damages: [(Damage, &str); 4] = [
        (|bytes| bytes[33] ^= 2, "reelist: invalid page number"),
        (|bytes| bytes[64] ^= 128, "incremental"),
        (|bytes| bytes[first_leaf(bytes) + 3] = 2, "2nd reference to page 2"),
        (|bytes| bytes[39] -= 1, "reelist: size"),
    ];
    for (view, (damage, said)) in with_views.iter().flat_map(|view| damages.map(|damage| (view, damage))) {
        let old = Old::new();
        old.session("s", 3);
        let free = "CREATE TABLE gone (x); INSERT INTO gone VALUES (zeroblob(40000)); DROP TABLE gone";
        old.plain.execute_batch(&format!("PRAGMA journal_mode = DELETE; {free}; {view}")).unwrap();
        let path = old.keep.path();
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let mut error = format!("{view}: ");
        let mut cause: Option<&dyn std::error::Error> = Some(&old.refused().await);
        while let Some(part) = cause {
            error += &part.to_string();
            cause = part.source();
        }
        assert!(error.contains("is damaged") && error.contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_or_an_odd_table_of_that_name_is_refused_by_name() {
    for (sql, name) in [
        ("CREATE VIEW chat_turns AS SELECT 1", "chat_turns"),
        ("CREATE TABLE chat_sessions (name TEXT)", "chat_sessions"),
        (
            "CREATE TABLE chat_crystals (session_id TEXT PRIMARY KEY, title, summary) WITHOUT ROWID",
            "chat_crystals",
        ),
    ] {
        let keep = crate::keep::Keep::new();
        let plain = keep.plain();
        plain.execute_batch(sql).unwrap();
        let error = Old { keep, plain }.refused().await;
        assert!(matches!(&error, OpenError::NotV1 { name: found, .. } if found == name), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_rows_of_others_refer_to_is_not_deleted_and_the_table_is_named() {
    let old = Old::new();
    old.session("s", 2);
    old.plain
        .execute_batch(
            "CREATE TABLE tags (session TEXT REFERENCES chat_sessions(id)); INSERT INTO tags VALUES ('s')",
        )
        .unwrap();
    let new = old.upgrade().await;
    let delete = || {
        let session = membrane_core::ids::SessionId::from_stored("s");
        let write = membrane_store::Write::DeleteSession { session };
        membrane_store::Change::at(membrane_core::time::Timestamp::from_micros(0)).write(write)
    };
    let error = new.store.commit(delete()).await.unwrap_err();
    assert!(
        matches!(&error, membrane_store::StoreError::Referenced { table, .. } if table == "tags"),
        "{error:?}"
    );
    assert_eq!(new.said("s").await.len(), 2);
    new.keep.plain().execute("DELETE FROM tags", []).unwrap();
    new.store.commit(delete()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_versions_that_ours_do_not_fit_into_is_refused_before_anything_is_done() {
    for columns in ["version TEXT, applied_at TEXT", "version INTEGER, applied_at TEXT, who TEXT NOT NULL"] {
        let old = Old::new();
        old.session("s", 1);
        old.plain.execute_batch(&format!("CREATE TABLE schema_version ({columns})")).unwrap();
        let error = old.refused().await;
        assert!(
            matches!(&error, OpenError::ForeignTables { table, .. } if table == "schema_version"),
            "{error:?}"
        );
    }
}
