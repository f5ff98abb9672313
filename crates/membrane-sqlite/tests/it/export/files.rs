//! Where the file goes: never over another one, whole or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use membrane_sqlite::export::ExportError;
use membrane_store::conformance::fixture::Fixture;

use super::stage::{Exported, export};
use crate::keep::Keep;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn refused(f: &Fixture, out: &Path) -> ExportError {
    export(&*f.store, out).await.expect_err("this export must be refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_never_written_over() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(1).await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.db");
    for taken in ["out.db", "out.db-wal", "out.db-journal", "out.db-shm"] {
        let taken = folder.path().join(taken);
        fs::write(&taken, "mine").unwrap();
        let error = refused(&f, &out).await;
        assert!(matches!(&error, ExportError::Exists { path } if *path == taken), "{error:?}");
        assert!(error.to_string().contains("name another file"), "{error}");
        assert_eq!(fs::read(&taken).unwrap(), b"mine");
        assert_eq!(names(folder.path()).len(), 1);
        fs::remove_file(taken).unwrap();
    }
    let error = refused(&f, &keep.path()).await;
    assert!(matches!(error, ExportError::Exists { .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_nowhere_is_not_followed() {
    let keep = Keep::new();
    let f = keep.open().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.db");
    std::os::unix::fs::symlink(folder.path().join("elsewhere.db"), &out).unwrap();
    assert!(matches!(refused(&f, &out).await, ExportError::Exists { .. }));
    assert_eq!(names(folder.path()), ["out.db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_missing_is_not_made() {
    let keep = Keep::new();
    let f = keep.open().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("nowhere").join("out.db");
    let error = refused(&f, &out).await;
    assert!(matches!(error, ExportError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("check that the folder exists"), "{error}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
    // A file where the folder should be.
    fs::write(folder.path().join("nowhere"), "").unwrap();
    assert!(matches!(refused(&f, &out).await, ExportError::Folder { .. }));
    assert!(matches!(
        refused(&f, Path::new("")).await,
        ExportError::Exists { .. } | ExportError::Folder { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_file_is_left_beside_it() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(3).await;
    let folder = tempfile::tempdir().unwrap();
    let exported = Exported::of(&f, folder.path()).await;
    let name = exported.path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(names(folder.path()), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_keep_leaves_nothing_behind() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(100).await;
    keep.plain().execute("DELETE FROM turns WHERE position = 70", []).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&f, &folder.path().join("out.db")).await;
    let text = error.to_string();
    assert!(text.contains("turn 70 of 100") && text.contains(id.as_str()), "{text}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_given_up_leaves_nothing_behind() {
    let keep = Keep::new();
    let f = keep.open().await;
    for _ in 0..50 {
        f.session(10).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.db");
    for n_polls in 1..60_u64 {
        let mut export = Box::pin(export(&*f.store, &out));
        let polled = AtomicU64::new(0);
        let ended = std::future::poll_fn(|context| {
            if polled.fetch_add(1, Ordering::Relaxed) >= n_polls {
                return std::task::Poll::Ready(None);
            }
            export.as_mut().poll(context).map(Some)
        })
        .await;
        drop(export);
        if ended.is_some() {
            break;
        }
    }
    // What was under way on another thread ends by itself.
    f.until("nothing is left", async || names(folder.path()).iter().all(|name| name == "out.db")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_come_move_and_go_meanwhile_are_whole_or_not_there() {
    let keep = Keep::new();
    let f = keep.open().await;
    let mut stay = Vec::new();
    let mut go = Vec::new();
    for _ in 0..60 {
        stay.push(f.session(40).await);
        let doomed = f.session(40).await;
        f.fork(&doomed, 20).await;
        go.push(doomed);
    }
    let others = Arc::new((f.clone(), stay, go));
    let meddler = tokio::spawn({
        let others = Arc::clone(&others);
        async move {
            let (f, stay, go) = &*others;
            for (one, other) in stay.iter().zip(go) {
                f.say(one, "more").await;
                f.rewind(one, 3).await;
                f.say(one, "another way").await;
                f.delete(other).await;
                f.session(1).await;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut n_exports = 0;
    while n_exports < 2 || !meddler.is_finished() {
        let exported = Exported::of(&f, folder.path()).await;
        for id in &others.1 {
            let n_turns: u64 = exported.text(id, "CAST(turn_count AS TEXT)").unwrap().parse().unwrap();
            assert!([40, 41, 3, 4].contains(&n_turns), "{id} has {n_turns} turns");
        }
        n_exports += 1;
    }
    meddler.await.unwrap();
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}
