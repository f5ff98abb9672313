//! A keep whose turns are partitioned by family, as docs/scaling.md says how.
//!
//! Not here: how fast that is.

use std::collections::BTreeSet;
use std::sync::Arc;

use membrane_core::ids::SessionId;
use membrane_core::turn::SignalKind;
use membrane_store::conformance::fixture::Fixture;
use membrane_testservers::Database;

use crate::keep::{database, open};

const PAGE: &str = include_str!("../../../../docs/scaling.md");

const N_FAMILIES: usize = 40;

/// The page's one block of SQL.
fn partition(database: &Database) {
    let (_, sql) = PAGE.split_once("```sql\n").unwrap();
    database.execute(sql.split_once("```").unwrap().0).unwrap();
}

/// The keep, closed and opened again.
async fn again(database: &Database, mut f: Fixture) -> Fixture {
    f.store.close().await.unwrap();
    f.store = Arc::new(open(database.url()).await);
    f
}

/// Families of two, and a merge across each two of them.
async fn families(f: &Fixture) -> Vec<SessionId> {
    let mut ids = Vec::new();
    for number in 0..N_FAMILIES {
        let id = f.session(5).await;
        f.signal(&id, 1, SignalKind::Negative).await;
        let fork = f.fork(&id, 3).await;
        f.say(&fork, "in the fork").await;
        if number % 2 == 1 {
            ids.push(f.merge(ids.last().unwrap(), &fork).await);
        }
        ids.extend([id, fork]);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_whose_turns_are_partitioned_is_the_same_and_goes_on() {
    let database = database();
    let f = Fixture::new(Arc::new(open(database.url()).await));
    let ids = families(&f).await;
    let mut before = Vec::new();
    for id in &ids {
        before.push(f.thread(id).await);
    }
    let shown = "SELECT md5(string_agg(t::text, ' ' ORDER BY t.id)) FROM chat_turns t";
    let rows = database.execute(shown).unwrap();

    partition(&database);

    assert_eq!(database.execute(shown).unwrap(), rows, "SQL readers see the same");
    let used = database.execute("SELECT DISTINCT tableoid::regclass::text FROM turns").unwrap();
    assert!(used.lines().collect::<BTreeSet<_>>().len() > 4, "families spread over the partitions: {used}");
    let f = again(&database, f).await;
    for (id, before) in ids.iter().zip(before) {
        assert_eq!(f.thread(id).await, before);
    }
    let more = families(&f).await;
    for id in ids.iter().step_by(2) {
        f.say(id, "afterwards").await;
    }
    for id in ids.iter().skip(1).step_by(3).chain(more.iter().step_by(2)) {
        f.delete(id).await;
    }
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
    let f = again(&database, f).await;
    assert_eq!(f.said(&ids[0]).await.last().map(String::as_str), Some("afterwards"));
}
