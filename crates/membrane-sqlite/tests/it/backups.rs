//! Backups of a keep that is in use, and of one that contradicts itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use membrane_core::time::Timestamp;
use membrane_sqlite::SqliteOptions;
use membrane_sqlite::backup::{BackupError, Place, back_up};
use membrane_store::conformance::fixture::append;

use crate::keep::{Keep, column, value};

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T15:50:00Z").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_holds_all_that_was_acknowledged_before_it_began_while_eight_threads_append() {
    let keep = Keep::new();
    // A log that moves often: pages of the main file change while it is copied.
    let f = keep.open_with(SqliteOptions { checkpoint_pages: 20, ..keep.options() }).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let start = Arc::new(Barrier::new(9));
    let mut threads = Vec::new();
    for _ in 0..8 {
        let id = f.session(1).await;
        let (f, is_over, acknowledged, start) =
            (f.clone(), Arc::clone(&is_over), Arc::clone(&acknowledged), Arc::clone(&start));
        let runtime = tokio::runtime::Handle::current();
        threads.push(std::thread::spawn(move || {
            start.wait();
            let mut count = 1_u64;
            while !is_over.load(Ordering::Relaxed) {
                let mut turn = f.turn(&format!("turn {count}"));
                turn.assistant.content = "answer ".repeat(200);
                runtime.block_on(f.write(append(&id, vec![turn])));
                count += 1;
                acknowledged.lock().unwrap().insert(id.clone(), count);
            }
            (id, count)
        }));
    }
    start.wait();
    let mut grew = 0;
    let mut last_rows = 0;
    for number in 0..12 {
        let before = acknowledged.lock().unwrap().clone();
        let place = Place::File(keep.folder().join(format!("b{number}.db")));
        let made = back_up(&keep.options(), &place, now()).unwrap();
        let after = acknowledged.lock().unwrap().clone();
        assert_eq!(made.contents.findings, Vec::<String>::new());
        grew += u32::from(before != after);
        assert!(made.rows > last_rows || number == 0, "backup {number}");
        last_rows = made.rows;
        let copy = rusqlite::Connection::open(&made.path).unwrap();
        for (id, count) in &before {
            let kept: i64 = value(&copy, "SELECT turn_count FROM chat_sessions WHERE id = ?1", [id.as_str()]);
            assert!(
                kept.unsigned_abs() >= *count,
                "{id}: {kept} of {count} turns that were acknowledged before"
            );
        }
        let names: Vec<String> = keep.files().into_keys().filter(|name| name.starts_with('b')).collect();
        assert_eq!(names.len(), number + 1, "{names:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    for thread in threads {
        let (id, count) = thread.join().unwrap();
        assert_eq!(f.get(&id).await.turn_count(), count);
    }
    assert!(grew > 0, "nobody wrote while a backup was made");
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_one_second_and_one_folder_have_names_of_their_own() {
    let keep = Keep::new();
    keep.open().await.session(2).await;
    let place = Place::Folder(keep.folder().join("a/b"));
    let names: Vec<_> = (0..3)
        .map(|_| back_up(&keep.options(), &place, now()).unwrap().path)
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let base = "keep-20261124T155000Z";
    assert_eq!(names, [format!("{base}.db"), format!("{base}-2.db"), format!("{base}-3.db")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_changes_nothing_beside_the_database() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(2).await;
    f.store.close().await.unwrap();
    let before = keep.files();
    let folder = tempfile::tempdir().unwrap();
    back_up(&keep.options(), &Place::Folder(folder.path().to_owned()), now()).unwrap();
    assert!(before == keep.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_that_contradicts_itself_is_copied_and_its_findings_are_told() {
    let keep = Keep::new();
    keep.open().await.session(2).await;
    keep.plain().execute_batch("UPDATE chat_sessions SET turn_count = 7").unwrap();
    let place = Place::File(keep.folder().join("b.db"));
    let made = back_up(&keep.options(), &place, now()).unwrap();
    assert!(made.contents.findings.iter().any(|finding| finding.contains("turn_count")), "{made:?}");
    let copy = rusqlite::Connection::open(made.path).unwrap();
    assert_eq!(column::<i64>(&copy, "SELECT turn_count FROM chat_sessions", []), [7]);
}

#[test]
fn what_is_no_keep_is_not_backed_up_and_says_what_it_is() {
    let keep = Keep::new();
    keep.plain().execute_batch("CREATE TABLE songs (x)").unwrap();
    let error = back_up(&keep.options(), &Place::File(keep.folder().join("b.db")), now()).unwrap_err();
    assert!(matches!(&error, BackupError::NoKeep { tables, .. } if tables == &["songs"]), "{error:?}");
    assert_eq!(keep.files().into_keys().collect::<Vec<_>>(), ["keep.db"]);
}
