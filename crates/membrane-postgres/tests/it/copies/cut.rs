//! Copies that are cut off and go on, whatever happened to the source; and two at once.

use std::path::Path;
use std::sync::Arc;

use membrane_core::ids::{SequentialIds, SessionId};
use membrane_core::turn::SignalKind;
use membrane_postgres::OpenError;
use membrane_postgres::transfer::PostgresSource;
use membrane_store::StoreError;
use membrane_store::conformance::fixture::{Fixture, create_root};
use membrane_store::transfer::{
    self, Batch, Begun, CopyReport, MARK_TABLE, Mark, Numbers, RowSink, TABLES, TransferError, Value,
};
use membrane_testservers::Database;

use super::stage::{
    Fault, Faulty, Folder, back, copy, file_sink, file_source, in_database, in_file, must_be_sound, now,
    polled, sink, source, stopped_at, there, until_nobody_is_there,
};
use crate::keep::{database, options, refusal};

/// A copy that was cut off opens as nothing, refuses another source, and is finished by the same.
async fn must_be_unfinished_and_go_on(from: &Path, to: &Database, whole: &CopyReport) {
    let (error, text) = refusal(options(to.url())).await;
    assert!(
        matches!(&error, OpenError::UnfinishedCopy { source_name, .. } if source_name == "source"),
        "{text}"
    );
    assert!(text.contains("membrane copy"), "{text}");
    let refused = PostgresSource::open(&options(to.url())).await.unwrap_err();
    assert!(matches!(refused, OpenError::UnfinishedCopy { .. }), "{refused}");
    let mut target = sink(to).await;
    let other = transfer::copy(&mut file_source(from), &mut target, "another", now(), &mut |_| {}).await;
    let error = other.unwrap_err();
    assert!(matches!(&error, TransferError::OtherCopy { source_name } if source_name == "source"), "{error}");
    let report = there(from, to).await.unwrap();
    assert_eq!((&report.tables, report.resumed, report.outdated), (&whole.tables, true, 0));
    must_be_sound(&in_database(to).await).await;
    let marks = format!("SELECT count(*) FROM pg_class WHERE relname = '{MARK_TABLE}'");
    assert_eq!(to.execute(&marks).unwrap(), "0");
}

#[tokio::test]
async fn a_copy_whose_connection_is_cut_at_any_write_is_no_keep_until_it_is_finished() {
    let folder = Folder::new();
    let from = folder.with_everything().await;
    let whole = there(&from, &database()).await.unwrap();
    for left in 0..TABLES.len() {
        let to = database();
        let mut faulty = Faulty { sink: sink(&to).await, left, fault: Fault::Cut(&to) };
        let error = copy(&mut file_source(&from), &mut faulty).await.unwrap_err();
        assert!(matches!(error, TransferError::Target(StoreError::Unavailable { .. })), "{error:?}");
        drop(faulty);
        must_be_unfinished_and_go_on(&from, &to, &whole).await;
    }
}

#[tokio::test]
async fn a_copy_that_is_dropped_at_any_moment_is_nothing_or_unfinished_or_whole() {
    let folder = Folder::new();
    let from = folder.with_everything().await;
    let whole = there(&from, &database()).await.unwrap();
    let (mut times, mut n_unfinished) = (1, 0);
    loop {
        let to = database();
        let mut target = sink(&to).await;
        let ended = polled(times, copy(&mut file_source(&from), &mut target)).await;
        drop(target);
        if let Some(ended) = ended {
            assert_eq!(ended.unwrap(), whole);
            break;
        }
        until_nobody_is_there(&to).await;
        let is_marked = to.execute(&format!("SELECT to_regclass('{MARK_TABLE}') IS NOT NULL")).unwrap();
        if is_marked == "t" {
            n_unfinished += 1;
            must_be_unfinished_and_go_on(&from, &to, &whole).await;
        } else {
            match there(&from, &to).await {
                Ok(report) => assert_eq!(report.tables, whole.tables),
                // It was dropped between its last commit and its answer.
                Err(TransferError::NotEmpty { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            must_be_sound(&in_database(&to).await).await;
        }
        // Each time a fifth later, and never at the same place twice.
        times += 1 + times / 5;
    }
    println!("dropped copies: {n_unfinished} were unfinished, the last ended within {times} polls");
    assert!(n_unfinished >= 3, "only {n_unfinished} were dropped on the way");
}

/// Changes what a copy has passed: numbers and ids that come back with another content among them.
async fn change(f: &mut Fixture, round: usize, old: &SessionId, moved: &SessionId) {
    f.ids = Arc::new(SequentialIds::starting_at(2_000_000 + 1_000 * u64::try_from(round).unwrap()));
    if f.store.find_session(old).await.unwrap().is_some() {
        f.delete(old).await;
    }
    let other = f.session(1).await;
    f.write(create_root(old)).await;
    f.append(old, 3).await;
    f.name_place(old, "another place").await;
    f.rewind(moved, 1).await;
    f.append(moved, 1).await;
    f.fork(moved, 1).await;
    f.signal(moved, 0, SignalKind::Negative).await;
    f.signal(moved, 0, SignalKind::Positive).await;
    f.delete(&other).await;
}

#[tokio::test]
async fn a_copy_goes_on_rightly_when_its_source_has_changed_meanwhile() {
    let folder = Folder::new();
    let from = folder.path("keep.db");
    let mut f = in_file(&from).await;
    f.fill_with_everything().await;
    let (old, moved) = (f.session(4).await, f.session(4).await);
    f.name_place(&old, "a place of it").await;
    f.append(&moved, 2).await;
    f.store.close().await.unwrap();
    // The way back is tried with a source that is a database.
    let other_way = database();
    there(&from, &other_way).await.unwrap();
    for left in (0..TABLES.len()).step_by(3) {
        let (to, to_file) = (database(), folder.path(&format!("changed-{left}.db")));
        stopped_at(left, &mut file_source(&from), sink(&to).await).await;
        stopped_at(left, &mut source(&other_way).await, file_sink(&to_file)).await;
        let mut f = in_file(&from).await;
        change(&mut f, left, &old, &moved).await;
        let shown = f.snapshot().await;
        f.store.close().await.unwrap();
        let report = there(&from, &to).await.unwrap();
        assert!(report.resumed);
        let f = in_database(&to).await;
        must_be_sound(&f).await;
        assert!(f.snapshot().await == shown, "into PostgreSQL, after {left} commits");
        f.store.close().await.unwrap();

        let mut f = in_database(&other_way).await;
        change(&mut f, left, &old, &moved).await;
        let shown = f.snapshot().await;
        f.store.close().await.unwrap();
        assert!(back(&other_way, &to_file).await.unwrap().resumed);
        let f = in_file(&to_file).await;
        must_be_sound(&f).await;
        assert!(f.snapshot().await == shown, "into a file, after {left} commits");
        f.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_copies_into_one_database_the_later_one_goes_on() {
    let to = database();
    let mark = Mark { source: "source".to_owned(), started_at: now() };
    let (mut first, mut second) = (sink(&to).await, sink(&to).await);
    assert_eq!(first.begin(&mark).await.unwrap(), Begun::Anew);
    assert_eq!(second.begin(&mark).await.unwrap(), Begun::Again);
    let batch =
        Batch { insert: vec![vec![Value::Int(1), Value::Text("family".to_owned())]], ..Batch::default() };
    let error = first.write(&TABLES[1], batch.clone()).await.unwrap_err();
    assert!(matches!(error, TransferError::TakenOver), "{error}");
    second.write(&TABLES[1], batch).await.unwrap();
    second.finish(Numbers::default()).await.unwrap();
    let error = first.finish(Numbers::default()).await.unwrap_err();
    assert!(matches!(error, TransferError::TakenOver), "{error}");

    let folder = Folder::new();
    let from = folder.with_everything().await;
    for _ in 0..4 {
        let to = Arc::new(database());
        let copying: Vec<_> = (0..2)
            .map(|_| {
                let (to, from) = (Arc::clone(&to), from.clone());
                tokio::spawn(async move { there(&from, &to).await })
            })
            .collect();
        let mut n_whole = 0;
        for task in copying {
            match task.await.unwrap() {
                Ok(_) => n_whole += 1,
                // The other began after it, or had ended before it began.
                Err(TransferError::TakenOver | TransferError::NotEmpty { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(n_whole, 1);
        must_be_sound(&in_database(&to).await).await;
    }
}
