//! A keep copied from file to file: whole, interrupted, refused, and tampered with.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use membrane_core::ids::SequentialIds;
use membrane_core::time::Timestamp;
use membrane_core::turn::SignalKind;
use membrane_sqlite::transfer::{SqliteSink, SqliteSource};
use membrane_sqlite::{OpenError, SqliteOptions};
use membrane_store::StoreError;
use membrane_store::conformance::chaos;
use membrane_store::conformance::fixture::{append, create_root};
use membrane_store::transfer::{
    self, Batch, Begun, CopyReport, MARK_TABLE, Mark, Numbers, Page, Room, RowSink, Rows, TABLES, Table,
    TransferError, Value,
};

use crate::keep::{Keep, refused, value};

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T15:50:00Z").unwrap()
}

fn source(path: &Path) -> SqliteSource {
    SqliteSource::open(&SqliteOptions::at(path)).unwrap()
}

fn sink(path: &Path) -> SqliteSink {
    SqliteSink::open(SqliteOptions::at(path)).unwrap()
}

async fn copy_into(from: &Path, target: &mut dyn RowSink) -> Result<CopyReport, TransferError> {
    transfer::copy(&mut source(from), target, "source", now(), &mut |_| {}).await
}

async fn copy(from: &Path, to: &Path) -> Result<CopyReport, TransferError> {
    copy_into(from, &mut sink(to)).await
}

/// Every table has rows, or a test of copying it would say nothing.
fn assert_all_tables(report: &CopyReport) {
    let empty: Vec<_> = report.tables.iter().filter(|table| table.rows == 0).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_keep_comes_back_from_a_copy_of_its_copy_as_it_was() {
    let keep = Keep::new();
    let mut f = keep.open().await;
    chaos::many_writers_of_every_kind_leave_a_keep_that_agrees_with_itself(Arc::clone(&f.store)).await;
    f.fill_with_everything().await;
    let long = f.session(1).await;
    let mut turn = f.turn(&"é\0".repeat(4 << 18));
    turn.assistant.content = "x".repeat(4 << 20);
    f.write(append(&long, vec![turn.clone(), turn])).await;
    let before = f.snapshot().await;
    f.store.close().await.unwrap();

    let (there, back) = (keep.folder().join("there.db"), keep.folder().join("back.db"));
    let copied = copy(&keep.path(), &there).await.unwrap();
    assert_all_tables(&copied);
    assert_eq!((copied.resumed, copied.outdated, copied.written), (false, 0, copied.rows()));
    let returned = copy(&there, &back).await.unwrap();
    assert_eq!(returned, copied, "the same rows with the same hashes");
    for path in [&there, &back] {
        let f = keep.open_with(SqliteOptions::at(path)).await;
        assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
        assert!(f.snapshot().await == before, "what the trait shows is the same");
        f.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn numbers_that_were_given_out_are_not_given_again_in_the_copy() {
    let keep = Keep::new();
    let f = keep.open().await;
    let kept = f.session(1).await;
    let last = f.session(1).await;
    let used = f.get(&last).await.cut.history;
    f.delete(&last).await;
    f.store.close().await.unwrap();
    let to = keep.folder().join("copy.db");
    copy(&keep.path(), &to).await.unwrap();
    let mut f = keep.open_with(SqliteOptions::at(&to)).await;
    f.ids = Arc::new(SequentialIds::starting_at(500));
    f.append(&kept, 1).await;
    let id = f.session(1).await;
    assert!(f.get(&id).await.cut.history > used, "a kept answer may name {used:?}");
}

/// A sink that is cut off before its n-th write, or forgets a row in it.
struct Faulty {
    sink: SqliteSink,
    left: usize,
    forgets: bool,
}

#[async_trait]
impl Rows for Faulty {
    async fn read(
        &mut self,
        table: &'static Table,
        after: Option<&[Value]>,
        room: Room,
    ) -> Result<Page, StoreError> {
        self.sink.read(table, after, room).await
    }
}

#[async_trait]
impl RowSink for Faulty {
    async fn begin(&mut self, mark: &Mark) -> Result<Begun, TransferError> {
        self.sink.begin(mark).await
    }

    async fn write(&mut self, table: &'static Table, mut batch: Batch) -> Result<(), TransferError> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None if self.forgets => drop(batch.insert.pop()),
            None => return Err(StoreError::StorageFull.into()),
        }
        self.sink.write(table, batch).await
    }

    async fn finish(&mut self, numbers: Numbers) -> Result<(), TransferError> {
        self.sink.finish(numbers).await
    }
}

#[tokio::test]
async fn a_copy_cut_off_before_any_commit_is_no_keep_until_it_is_finished() {
    let keep = Keep::new();
    let mut f = keep.open().await;
    f.fill_with_everything().await;
    f.store.close().await.unwrap();
    let whole = copy(&keep.path(), &keep.folder().join("whole.db")).await.unwrap();
    assert_all_tables(&whole);
    for left in 0..TABLES.len() {
        let to = keep.folder().join(format!("cut-{left}.db"));
        let mut faulty = Faulty { sink: sink(&to), left, forgets: false };
        let error = copy_into(&keep.path(), &mut faulty).await.unwrap_err();
        assert!(matches!(error, TransferError::Target(StoreError::StorageFull)), "{error}");
        drop(faulty);
        let refusal = refused(&to).await;
        assert!(
            matches!(&refusal, OpenError::UnfinishedCopy { source_name, .. } if source_name == "source"),
            "{refusal}"
        );
        assert!(refusal.to_string().contains("membrane copy"), "{refusal}");
        assert!(SqliteSource::open(&SqliteOptions::at(&to)).is_err(), "nor is it copied on");
        let report = copy(&keep.path(), &to).await.unwrap();
        assert_eq!((&report.tables, report.resumed, report.outdated), (&whole.tables, true, 0));
        assert!(report.written < whole.written || left == 0, "what was there is not written again");
        let f = keep.open_with(SqliteOptions::at(&to)).await;
        assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
        f.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_goes_on_rightly_when_its_source_has_changed_meanwhile() {
    let keep = Keep::new();
    let mut f = keep.open().await;
    f.fill_with_everything().await;
    let (old, moved) = (f.session(4).await, f.session(4).await);
    f.name_place(&old, "a place of it").await;
    f.append(&moved, 2).await;
    f.store.close().await.unwrap();
    for left in 0..=TABLES.len() {
        let to = keep.folder().join(format!("changed-{left}.db"));
        // All is written in the last round, and nothing verified.
        let mut faulty = Faulty { sink: sink(&to), left, forgets: left == TABLES.len() };
        faulty.left = if faulty.forgets { TABLES.len() - 1 } else { left };
        copy_into(&keep.path(), &mut faulty).await.unwrap_err();
        drop(faulty);

        let mut f = keep.open().await;
        f.ids = Arc::new(SequentialIds::starting_at(2_000_000 + 1_000 * u64::try_from(left).unwrap()));
        if f.store.find_session(&old).await.unwrap().is_some() {
            f.delete(&old).await;
        }
        // The last session's number is given to another, and its id comes back with a third.
        let other = f.session(1).await;
        f.write(create_root(&old)).await;
        f.append(&old, 3).await;
        f.name_place(&old, "another place").await;
        f.rewind(&moved, 1).await;
        f.append(&moved, 1).await;
        f.fork(&moved, 1).await;
        f.signal(&moved, 0, SignalKind::Negative).await;
        f.signal(&moved, 0, SignalKind::Positive).await;
        f.delete(&other).await;
        let shown = f.snapshot().await;
        f.store.close().await.unwrap();

        let report = copy(&keep.path(), &to).await.unwrap();
        assert!(report.resumed);
        let f = keep.open_with(SqliteOptions::at(&to)).await;
        assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
        assert!(f.snapshot().await == shown, "after {left} commits");
        f.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_that_lost_a_row_is_told_and_stays_unfinished() {
    let keep = Keep::new();
    let mut f = keep.open().await;
    f.fill_with_everything().await;
    f.store.close().await.unwrap();
    let to = keep.folder().join("copy.db");
    // The last table, to which nothing refers.
    let mut faulty = Faulty { sink: sink(&to), left: TABLES.len() - 1, forgets: true };
    let error = copy_into(&keep.path(), &mut faulty).await.unwrap_err();
    assert!(error.to_string().contains("legacy_rows (1 rows with SHA-256"), "{error}");
    drop(faulty);
    assert!(matches!(refused(&to).await, OpenError::UnfinishedCopy { .. }));
    assert_eq!(copy(&keep.path(), &to).await.unwrap().written, 1);
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let keep = Keep::new();
    let f = keep.open().await;
    f.session(2).await;
    f.store.close().await.unwrap();
    let there = Keep::new();
    let f = there.open().await;
    f.session(1).await;
    f.store.close().await.unwrap();
    let before = there.files();
    let error = copy(&keep.path(), &there.path()).await.unwrap_err();
    assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    assert_eq!(there.files(), before, "not a byte is another");

    // An unfinished copy of another.
    let to = keep.folder().join("copy.db");
    let mut faulty = Faulty { sink: sink(&to), left: 2, forgets: false };
    copy_into(&keep.path(), &mut faulty).await.unwrap_err();
    drop(faulty);
    let mut target = sink(&to);
    let other = transfer::copy(&mut source(&there.path()), &mut target, "another", now(), &mut |_| {}).await;
    let error = other.unwrap_err();
    assert!(matches!(&error, TransferError::OtherCopy { source_name } if source_name == "source"), "{error}");

    // An empty keep is as good as none.
    let empty = keep.folder().join("empty.db");
    keep.open_with(SqliteOptions::at(&empty)).await.store.close().await.unwrap();
    assert_eq!(copy(&keep.path(), &empty).await.unwrap().rows_of("chat_sessions"), 1);
}

#[tokio::test]
async fn an_earlier_try_that_still_runs_is_refused_its_next_write() {
    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    let to = keep.folder().join("copy.db");
    let mark = Mark { source: "source".to_owned(), started_at: now() };
    let (mut first, mut second) = (sink(&to), sink(&to));
    assert_eq!(first.begin(&mark).await.unwrap(), Begun::Anew);
    assert_eq!(second.begin(&mark).await.unwrap(), Begun::Again);
    let row = vec![Value::Int(1), Value::Text("family".to_owned())];
    let batch = Batch { insert: vec![row], ..Batch::default() };
    let error = first.write(&TABLES[1], batch.clone()).await.unwrap_err();
    assert!(matches!(error, TransferError::TakenOver), "{error}");
    second.write(&TABLES[1], batch).await.unwrap();
    second.finish(Numbers::default()).await.unwrap();
    let error = first.finish(Numbers::default()).await.unwrap_err();
    assert!(matches!(error, TransferError::TakenOver), "{error}");
}

#[tokio::test]
async fn what_came_into_the_target_meanwhile_is_named_and_a_value_that_cannot_be_is_too() {
    let keep = Keep::new();
    let mut f = keep.open().await;
    f.fill_with_everything().await;
    f.store.close().await.unwrap();
    let to = keep.folder().join("copy.db");
    let mut faulty = Faulty { sink: sink(&to), left: 0, forgets: false };
    copy_into(&keep.path(), &mut faulty).await.unwrap_err();
    drop(faulty);
    // Removed again when the copy goes on: it is not the source's.
    rusqlite::Connection::open(&to).unwrap().execute("INSERT INTO histories VALUES (900, 'x')", []).unwrap();
    let report = copy(&keep.path(), &to).await.unwrap();
    assert_eq!(report.outdated, 1);

    keep.plain().execute("UPDATE chat_sessions SET pinned = 7", []).unwrap();
    let error = copy(&keep.path(), &keep.folder().join("another.db")).await.unwrap_err();
    let TransferError::Source(StoreError::Inconsistent { table, problem, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((*table, problem.as_str()), ("chat_sessions", "column pinned holds the number 7"));
}

#[tokio::test]
async fn the_tables_and_columns_that_are_copied_are_those_of_the_schema() {
    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    let conn = keep.plain();
    let mut names = crate::keep::column::<String>(
        &conn,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
        [],
    );
    // What is said of the schema itself, events, after which followers start over, and who leads the source's processes.
    names.retain(|name| !["schema_version", "events", "leaders", "ended_runs"].contains(&name.as_str()));
    let mut copied: Vec<_> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    copied.sort();
    assert_eq!(copied, names);
    for table in &TABLES {
        let sql =
            "SELECT name || CASE WHEN \"notnull\" OR pk THEN '' ELSE '?' END FROM pragma_table_info(?1)";
        let mut there = crate::keep::column::<String>(&conn, sql, [table.name]);
        // Derived when they are written.
        there
            .retain(|name| table.name != "turns" || !["number?", "number", "facts"].contains(&name.as_str()));
        let shown = |column: &transfer::Column| {
            let mark = if column.is_nullable { "?" } else { "" };
            format!("{}{mark}", column.name)
        };
        let mut copied: Vec<_> = table.columns.iter().map(shown).collect();
        there.sort();
        copied.sort();
        assert_eq!(copied, there, "{}", table.name);
    }
    let exists: bool =
        value(&conn, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)", [MARK_TABLE]);
    assert!(!exists, "no keep has the mark");
}
