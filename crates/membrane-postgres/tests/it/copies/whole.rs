//! Whole copies: there and back, gone on with, refused.

use std::sync::Arc;

use membrane_core::ids::{InstanceId, SequentialIds};
use membrane_core::turn::SignalKind;
use membrane_postgres::transfer::{PostgresSink, PostgresSource};
use membrane_postgres::{OpenError, Pooler, PostgresOptions};
use membrane_store::Store;
use membrane_store::conformance::chaos;
use membrane_store::conformance::fixture::{Fixture, append, create_root};
use membrane_store::transfer::{TABLES, TransferError};
use membrane_testservers::{PgBouncer, PoolMode, Postgres};

use super::stage::{
    Folder, back, copy, file_sink, file_source, in_database, in_file, must_be_sound, rows, sink, source,
    there,
};
use crate::keep::{database, open, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keep_comes_back_from_postgres_as_it_was_byte_for_byte() {
    let folder = Folder::new();
    let (first, last) = (folder.path("first.db"), folder.path("last.db"));
    let mut f = in_file(&first).await;
    chaos::many_writers_of_every_kind_leave_a_keep_that_agrees_with_itself(Arc::clone(&f.store)).await;
    f.fill_with_everything().await;
    let odd = f.session(1).await;
    for text in ["\0", "\u{1}", "\u{1}0\0\u{1}1", "é日本🦀👩‍👩‍👧", "\u{feff}\u{202e}\u{10ffff}", ""]
    {
        f.say(&odd, text).await;
    }
    let mut long = f.turn(&"é\0".repeat(4 << 18));
    long.assistant.content = "🦀".repeat(1 << 20);
    f.write(append(&odd, vec![long.clone(), long])).await;
    let shown = f.snapshot().await;
    f.store.close().await.unwrap();

    let database = database();
    let copied = there(&first, &database).await.unwrap();
    let empty: Vec<_> = copied.tables.iter().filter(|table| table.rows == 0).collect();
    assert!(empty.is_empty(), "a copy of nothing says nothing: {empty:?}");
    assert_eq!((copied.resumed, copied.outdated, copied.written), (false, 0, copied.rows()));
    let returned = back(&database, &last).await.unwrap();
    assert_eq!(returned, copied, "the same rows with the same hashes");

    let (mut a, mut b, mut c) = (file_source(&first), source(&database).await, file_source(&last));
    for table in &TABLES {
        let there = rows(&mut a, table).await;
        assert_eq!(u64::try_from(there.len()).unwrap(), copied.rows_of(table.name));
        assert!(there == rows(&mut b, table).await, "{} in PostgreSQL", table.name);
        assert!(there == rows(&mut c, table).await, "{} in the file", table.name);
    }
    drop((a, b, c));
    for f in [in_database(&database).await, in_file(&last).await] {
        must_be_sound(&f).await;
        assert!(f.snapshot().await == shown, "what the trait shows is the same");
        f.store.close().await.unwrap();
    }
}

/// Uses a keep as if nothing had been copied: each kind of number is given out again.
async fn go_on(f: &mut Fixture, ids: u64) {
    f.ids = Arc::new(SequentialIds::starting_at(ids));
    let id = f.session(2).await;
    let fork = f.fork(&id, 1).await;
    f.append(&fork, 1).await;
    f.name_place(&fork, "a place").await;
    f.signal(&id, 0, SignalKind::Negative).await;
    f.merge(&id, &fork).await;
    f.rewind(&fork, 1).await;
    must_be_sound(f).await;
}

#[tokio::test]
async fn numbers_that_were_given_out_are_not_given_again_in_the_copy() {
    let folder = Folder::new();
    let first = folder.with_everything().await;
    let (there_too, again) = (database(), database());
    there(&first, &there_too).await.unwrap();
    let mut f = in_database(&there_too).await;
    go_on(&mut f, 3_000_000).await;
    let last = f.session(1).await;
    let used = f.get(&last).await.cut.history;
    f.delete(&last).await;
    f.store.close().await.unwrap();
    copy(&mut source(&there_too).await, &mut sink(&again).await).await.unwrap();
    let mut f = in_database(&again).await;
    go_on(&mut f, 4_000_000).await;
    // Kept answers may name the history that is gone.
    f.write(create_root(&last)).await;
    assert_ne!(f.get(&last).await.cut.history, used);
    f.store.close().await.unwrap();
    back(&again, &folder.path("back.db")).await.unwrap();
    go_on(&mut in_file(&folder.path("back.db")).await, 5_000_000).await;
}

#[tokio::test]
async fn a_copy_goes_there_and_back_through_a_pooler_of_transactions() {
    let folder = Folder::new();
    let from = folder.with_everything().await;
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let pooled = PostgresOptions { pooler: Pooler::Transaction, ..options(pooler.url(database.name())) };
    let mut target = PostgresSink::open(&pooled).await.unwrap();
    let copied = copy(&mut file_source(&from), &mut target).await.unwrap();
    drop(target);
    let mut again = PostgresSource::open(&pooled).await.unwrap();
    assert_eq!(again.identity(), source(&database).await.identity());
    let returned = copy(&mut again, &mut file_sink(&folder.path("back.db"))).await.unwrap();
    assert_eq!(returned, copied);
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let folder = Folder::new();
    let from = folder.with_everything().await;
    let to = database();
    let f = in_database(&to).await;
    f.session(1).await;
    f.store.close().await.unwrap();
    let kept = || {
        let sql = "SELECT md5(string_agg(s::text || t::text, '')), \
                   (SELECT count(*) FROM pg_class) FROM chat_sessions s, turns t";
        to.execute(sql).unwrap()
    };
    let before = kept();
    let error = there(&from, &to).await.unwrap_err();
    assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    assert_eq!(kept(), before);

    // A table of others that has a name of ours.
    let foreign = database();
    foreign.execute("CREATE TABLE turns (what text)").unwrap();
    let refused = PostgresSink::open(&options(foreign.url())).await.unwrap_err();
    assert!(matches!(refused, OpenError::ForeignTables { .. }), "{refused}");

    // A server has it open.
    let served = database();
    let store = open(served.url()).await;
    store.hold_instance(&InstanceId::from_stored("inst-1")).await.unwrap();
    let error = there(&from, &served).await.unwrap_err();
    assert!(matches!(error, TransferError::InUse { .. }), "{error}");
    store.close().await.unwrap();
    // An empty keep is as good as none.
    there(&from, &served).await.unwrap();
}

#[tokio::test]
async fn a_database_is_the_same_whatever_it_is_called() {
    let (one, other) = (database(), database());
    for database in [&one, &other] {
        open(database.url()).await.close().await.unwrap();
        database.execute("CREATE SCHEMA beside").unwrap();
    }
    let identity = async |url: String| PostgresSink::open(&options(url)).await.unwrap().identity().clone();
    let known = source(&one).await.identity().clone();
    assert_eq!(known, identity(one.url()).await);
    assert_eq!(known, identity(one.url().replace("127.0.0.1", "localhost")).await);
    assert_eq!(known, identity(format!("{}?application_name=another", one.url())).await);
    assert_eq!(known, identity(format!("{}?options=-c%20search_path%3Dpublic%2Cbeside", one.url())).await);
    assert_ne!(known, identity(format!("{}?options=-c%20search_path%3Dbeside", one.url())).await);
    assert_ne!(known, identity(other.url()).await);
}
