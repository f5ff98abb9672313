//! PgBouncer in transaction mode.

use std::sync::Arc;

use membrane_core::ids::{InstanceId, SessionId};
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_postgres::{OpenError, Pooler, PostgresOptions, PostgresStore};
use membrane_store::{Store, StoreError};
use membrane_testservers::{PgBouncer, PoolMode, Postgres};

use crate::keep::{database, options, refusal};

fn pooled(url: String) -> PostgresOptions {
    PostgresOptions { pooler: Pooler::Transaction, ..options(url) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_is_made_and_read_through_a_pooler() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let url = pooler.url(database.name());
    let opening: Vec<_> = (0..10).map(|_| tokio::spawn(PostgresStore::open(pooled(url.clone())))).collect();
    let mut stores = Vec::new();
    for store in opening {
        stores.push(Arc::new(store.await.unwrap().unwrap()));
    }
    let readers: Vec<_> = stores
        .iter()
        .cycle()
        .take(40)
        .map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let id = SessionId::from_stored("nobody");
                for _ in 0..5 {
                    assert!(store.find_session(&id).await.unwrap().is_none());
                    assert!(store.load_thread(&id, 0..10).await.unwrap().is_none());
                    assert_eq!(store.list_family(&id).await.unwrap(), []);
                    let page = PageRequest::first(10);
                    assert_eq!(store.list_sessions(&SessionFilter::default(), &page).await.unwrap().total, 0);
                }
                assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
                assert_eq!(store.stats().await.unwrap().sessions, 0);
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_pooler_that_cannot_reach_its_server_or_database_is_told_apart() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let (error, text) = refusal(pooled(pooler.url("elsewhere"))).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?} {text}");
    pooler.stop().unwrap();
    let (error, _) = refusal(pooled(pooler.url(database.name()))).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_locks_who_has_said_that_he_lives_is_never_known_to_be_dead() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let url = pooler.url(database.name());
    let (one, two) = (
        PostgresStore::open(pooled(url.clone())).await.unwrap(),
        PostgresStore::open(pooled(url.clone())).await.unwrap(),
    );
    let (id, nobody) = (InstanceId::from_stored("a"), InstanceId::from_stored("nobody"));
    one.hold_instance(&id).await.unwrap();
    let both = [id.clone(), nobody.clone()];
    assert_eq!(two.list_dead_instances(&both).await.unwrap(), std::slice::from_ref(&nobody));
    // However it ends, unless it says so.
    drop(one);
    assert_eq!(two.list_dead_instances(&both).await.unwrap(), [nobody]);
    let three = PostgresStore::open(pooled(url.clone())).await.unwrap();
    three.hold_instance(&id).await.unwrap();
    three.close().await.unwrap();
    assert_eq!(two.list_dead_instances(&both).await.unwrap(), both);
    // With a way past the pooler there are locks, too.
    let direct = |url: String| PostgresOptions { direct_url: Some(database.url()), ..pooled(url) };
    let (four, five) = (
        PostgresStore::open(direct(url.clone())).await.unwrap(),
        PostgresStore::open(direct(url)).await.unwrap(),
    );
    four.hold_instance(&id).await.unwrap();
    assert!(matches!(five.hold_instance(&id).await, Err(StoreError::Unavailable { .. })));
    drop(four);
    five.hold_instance(&id).await.unwrap();
}

#[tokio::test]
async fn a_way_past_the_pooler_that_leads_elsewhere_is_refused() {
    let (here, elsewhere) = (database(), database());
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let url = pooler.url(here.name());
    let direct = |direct: String| PostgresOptions { direct_url: Some(direct), ..pooled(url.clone()) };
    let (error, text) = refusal(direct(elsewhere.url())).await;
    assert!(matches!(error, OpenError::Settings { .. }), "{error:?}");
    for part in ["chat.postgres.direct_url leads to another database", elsewhere.name(), "name the same one"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let nowhere = here.url().replace(here.name(), "nowhere");
    let (error, text) = refusal(direct(nowhere)).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");
    assert!(text.contains("nowhere"), "{text}");
    let (error, text) = refusal(direct("postgres://127.0.0.1:1/nobody".to_owned())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(
        text.contains("127.0.0.1:1/nobody; start it, or name another with chat.postgres.direct_url"),
        "{text}"
    );
    let left = here.execute("SELECT count(*) FROM pg_class WHERE relname = 'histories'").unwrap();
    assert_eq!(left, "0", "nothing is made before that is known");
    // The same, however it tells the time.
    let elsewhen = format!("{}?options=-c%20timezone%3DAsia/Tokyo%20-c%20datestyle%3DGerman", here.url());
    for url in [here.url(), elsewhen] {
        PostgresStore::open(direct(url)).await.unwrap().close().await.unwrap();
    }
}
