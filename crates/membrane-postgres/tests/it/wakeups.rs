//! Who waits for events at one store is woken when another commits; and sees them all the same when nobody wakes him.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::event::EventSeq;
use membrane_core::ids::{RandomIds, SessionId};
use membrane_postgres::{Pooler, PostgresOptions, PostgresStore};
use membrane_store::conformance::fixture::{Fixture, create_root};
use membrane_store::{Store, StoreError};
use membrane_testservers::{Database, PgBouncer, PoolMode, Postgres};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::keep::{database, open, options};

/// Waits for an event that never comes.
fn wait_forever(store: &Arc<PostgresStore>) -> JoinHandle<Result<(), StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.wait_for_events(EventSeq(u64::MAX)).await })
}

/// The channels that are listened to in a database, each with the connections that do.
fn listened_to(database: &Database) -> Vec<(String, String)> {
    let sql = "SELECT substring(query FROM 'LISTEN (membrane_[0-9a-f]+)'), pid FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE '%LISTEN membrane\\_%' AND state = 'idle' \
               AND pid <> pg_backend_pid() ORDER BY 1, 2";
    let rows = database.execute(sql).unwrap();
    let row = |line: &str| line.split_once('|').map(|(channel, pid)| (channel.to_owned(), pid.to_owned()));
    rows.lines().filter_map(row).collect()
}

/// Waits until so many listen; their channels and connections.
async fn listeners(database: &Database, count: usize) -> Vec<(String, String)> {
    loop {
        let found = listened_to(database);
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Somebody of another make who listens, and says nothing of it.
struct Eavesdropper {
    client: Client,
    heard: mpsc::UnboundedReceiver<String>,
    channel: String,
}

impl Eavesdropper {
    async fn on(database: &Database, channel: &str) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(note) = message {
                    tell.send(note.payload().to_owned()).unwrap();
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await.unwrap();
        Self { client, heard, channel: channel.to_owned() }
    }

    /// What was said until now.
    async fn hear(&mut self) -> Vec<String> {
        self.client.batch_execute(&format!("NOTIFY {}, 'now'", self.channel)).await.unwrap();
        let mut heard = Vec::new();
        loop {
            match self.heard.recv().await.unwrap() {
                now if now == "now" => return heard,
                said => heard.push(said),
            }
        }
    }
}

/// Commits something that makes an event, and closes the store: what is owed to others is said by then.
async fn commit_and_close(options: PostgresOptions) {
    let f = Fixture::new(Arc::new(PostgresStore::open(options).await.unwrap()));
    f.write(create_root(&SessionId::generate(&RandomIds))).await;
    f.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_closed_has_woken_others_and_where_nobody_listens_it_says_nothing() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let pooled = PostgresOptions { pooler: Pooler::Transaction, ..options(pooler.url(database.name())) };
    let reader = Arc::new(open(database.url()).await);
    let waiting = wait_forever(&reader);
    let channel = listeners(&database, 1).await[0].0.clone();
    let mut eavesdropper = Eavesdropper::on(&database, &channel).await;
    let mut said = Vec::new();
    for options in [options(database.url()), options(database.url()), pooled] {
        commit_and_close(options).await;
        let heard = eavesdropper.hear().await;
        assert_eq!(heard.len(), 1, "once, whoever does it: {heard:?}");
        said.extend(heard);
    }
    said.dedup();
    assert_eq!(said.len(), 3, "each store says who it is, so that it can tell its own: {said:?}");
    // What makes no event is said to nobody.
    let quiet = Fixture::new(Arc::new(open(database.url()).await));
    quiet.commit(quiet.change()).await;
    quiet.store.close().await.unwrap();
    assert_eq!(eavesdropper.hear().await, Vec::<String>::new());
    reader.close().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Closed)));
    listeners(&database, 0).await;
    commit_and_close(options(database.url())).await;
    assert_eq!(eavesdropper.hear().await, Vec::<String>::new(), "nobody has said that he listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_of_a_moment_are_told_of_a_few_times() {
    let database = database();
    let reader = Arc::new(open(database.url()).await);
    let waiting = wait_forever(&reader);
    let channel = listeners(&database, 1).await[0].0.clone();
    let mut eavesdropper = Eavesdropper::on(&database, &channel).await;
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let begun = std::time::Instant::now();
    let id = f.create().await;
    for _ in 0..300 {
        f.append(&id, 1).await;
    }
    f.store.close().await.unwrap();
    // The first, one beside it, whoever closes the store, and one in 20 ms.
    let most = 3 + begun.elapsed().as_millis() / 20;
    let heard = eavesdropper.hear().await.len();
    assert!(heard >= 1 && u128::try_from(heard).unwrap() <= most, "{heard} in a time for {most}");
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_woken_finds_what_was_committed_and_one_whose_connection_is_cut_off_does_too() {
    let database = database();
    let (reader, f) =
        (Arc::new(open(database.url()).await), Fixture::new(Arc::new(open(database.url()).await)));
    let mut place = reader.event_bounds().await.unwrap().newest;
    let id = f.create().await;
    let mut before = Vec::new();
    for round in 0..6 {
        let waiting = {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { reader.wait_for_events(place).await })
        };
        if round > 0 {
            f.append(&id, 1).await;
        }
        waiting.await.unwrap().unwrap();
        let newest = reader.event_bounds().await.unwrap().newest;
        assert!(newest > place);
        place = newest;
        if round % 2 == 1 {
            // It is another one each time.
            let now = listeners(&database, 1).await;
            assert_ne!(now, before);
            database.execute(&format!("SELECT pg_terminate_backend({})", now[0].1)).unwrap();
            before = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_behind_a_pooler_without_a_way_past_it_or_when_nobody_waits() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let pooled = PostgresOptions { pooler: Pooler::Transaction, ..options(pooler.url(database.name())) };
    let direct = PostgresOptions { direct_url: Some(database.url()), ..pooled.clone() };
    let without = Arc::new(PostgresStore::open(pooled).await.unwrap());
    let place = without.event_bounds().await.unwrap().newest;
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let (_, seen) = tokio::join!(f.create(), without.wait_for_events(place));
    seen.unwrap();
    assert_eq!(listened_to(&database), []);
    let with = Arc::new(PostgresStore::open(direct).await.unwrap());
    let waiting = wait_forever(&with);
    listeners(&database, 1).await;
    waiting.abort();
    listeners(&database, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_in_one_database_do_not_wake_each_other() {
    let database = database();
    database.execute("CREATE SCHEMA other").unwrap();
    let other = options(format!("{}?options=-c%20search_path%3Dother", database.url()));
    let stores =
        [open(database.url()).await, PostgresStore::open(other.clone()).await.unwrap()].map(Arc::new);
    let waiting = stores.each_ref().map(wait_forever);
    let found = listeners(&database, 2).await;
    assert_ne!(found[0].0, found[1].0);
    let mut first = Eavesdropper::on(&database, &found[0].0).await;
    let mut second = Eavesdropper::on(&database, &found[1].0).await;
    commit_and_close(other).await;
    assert_eq!(first.hear().await.len() + second.hear().await.len(), 1);
    for task in waiting {
        task.abort();
    }
}
