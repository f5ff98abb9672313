//! A transaction that is held open across another's commit hides nothing from who follows the events.
//!
//! Held is a commit itself: a trigger that fires when everything is written waits there for a lock of somebody else's.

use std::sync::Arc;
use std::time::Duration;

use membrane_core::event::{Event, EventKind, EventSeq};
use membrane_core::ids::SessionId;
use membrane_core::session::SessionPatch;
use membrane_store::conformance::fixture::{Fixture, append};
use membrane_store::{EventPage, Write};
use membrane_testservers::Database;
use tokio_postgres::{Client, NoTls};

use crate::keep::{database, open};

/// The lock that commits to one session wait for.
const LOCK: &str = "SELECT pg_advisory_lock(4711)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(4711)";

/// Makes each commit that tells an event of this session wait for the lock.
fn hold_commits(database: &Database, session: &SessionId) {
    let sql = format!(
        "CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER held AFTER INSERT ON told_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             WHEN ('{}' = ANY (NEW.session_ids)) EXECUTE FUNCTION wait_for_lock()",
        session.as_str()
    );
    database.execute(&sql).unwrap();
}

/// A client beside the stores.
async fn beside(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Events after a place, until one of this session was read; the place moves on.
async fn read_until(f: &Fixture, after: &mut EventSeq, session: &SessionId) -> Vec<Event> {
    let mut read = Vec::new();
    while !read.iter().any(|event: &Event| event.session == *session) {
        f.store.wait_for_events(*after).await.unwrap();
        let EventPage::Events(events) = f.store.list_events(*after, 100).await.unwrap() else {
            panic!("nothing was forgotten")
        };
        *after = events.last().map_or(*after, |event| event.seq);
        read.extend(events);
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_later_is_read_later_and_nothing_of_it_is_passed_over() {
    let database = database();
    let writer = Arc::new(Fixture::new(Arc::new(open(database.url()).await)));
    // Each through a store of its own, as through two instances.
    let mut f = Fixture::clone(&writer);
    f.store = Arc::new(open(database.url()).await);
    let (held, free) = (writer.session(1).await, writer.session(1).await);
    hold_commits(&database, &held);
    let client = beside(&database).await;
    let mut after = f.store.event_bounds().await.unwrap().newest;
    // An append goes as one statement, a new title as a transaction.
    let patch = SessionPatch { title: Some(Some("held".to_owned())), ..SessionPatch::default() };
    let rename = Write::PatchSession { session: held.clone(), patch };
    for (write, kind) in [
        (append(&held, vec![writer.turn("held")]), EventKind::TurnAdded),
        (rename, EventKind::SessionUpdated),
    ] {
        client.batch_execute(LOCK).await.unwrap();
        let change = writer.change().write(write);
        let task = Arc::clone(&writer);
        let commit = tokio::spawn(async move { task.store.commit(change).await });
        let waits =
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4711";
        while client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // It has written its event, and another commits one after it.
        f.write(append(&free, vec![f.turn("free")])).await;
        let events = read_until(&f, &mut after, &free).await;
        assert!(events.iter().all(|event| event.session == free), "{events:?}");
        client.batch_execute(UNLOCK).await.unwrap();
        commit.await.unwrap().unwrap();
        let events = read_until(&f, &mut after, &held).await;
        let kinds: Vec<_> = events.iter().map(|event| (&event.session, event.kind)).collect();
        assert_eq!(kinds, [(&held, kind)]);
    }
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}
