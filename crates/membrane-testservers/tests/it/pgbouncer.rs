//! PgBouncer before a PostgreSQL of either kind.

use membrane_testservers::{PgBouncer, PoolMode, Postgres, PostgresOptions};

use crate::connect;

#[tokio::test]
async fn queries_pass_the_pooler_and_its_clients_share_a_server_connection() {
    let shared = Postgres::shared().expect("PostgreSQL is installed");
    let database = shared.create_database().expect("it is running");
    let pooler =
        PgBouncer::start(&shared.admin_url(), PoolMode::Transaction).expect("PgBouncer is installed");
    let mut backends = Vec::new();
    for _ in 0..3 {
        let client = connect(&pooler.url(database.name())).await.expect("it lets us in");
        // Without a prepared statement, which a pooler of transactions loses.
        let messages =
            client.simple_query("SELECT pg_backend_pid(), current_database()").await.expect("it passes");
        let row = messages
            .iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .expect("it is one row");
        assert_eq!(row.get(1), Some(database.name()));
        backends.push(row.get(0).map(str::to_owned));
    }
    assert!(backends.iter().all(|backend| *backend == backends[0]), "{backends:?}");
}

#[tokio::test]
async fn a_server_with_a_password_is_reached_by_those_who_know_it() {
    let options = PostgresOptions::default().password("hu\"sh");
    let postgres = Postgres::start_with(&options).expect("PostgreSQL is installed");
    let pooler = PgBouncer::start(&postgres.admin_url(), PoolMode::Session).expect("PgBouncer is installed");
    let client = connect(&pooler.url("postgres")).await.expect("it knows the password");
    assert_eq!(client.query_one("SELECT 7", &[]).await.expect("it passes").get::<_, i32>(0), 7);
    let wrong = pooler.url("postgres").replace("hu", "ha");
    assert!(connect(&wrong).await.is_err(), "a wrong password was let in");
    assert!(!format!("{pooler:?}{}", pooler.log()).contains("hu\"sh"));
}

#[tokio::test]
async fn a_stopped_pooler_is_gone_and_the_server_is_not() {
    let shared = Postgres::shared().expect("PostgreSQL is installed");
    let pooler =
        PgBouncer::start(&shared.admin_url(), PoolMode::Transaction).expect("PgBouncer is installed");
    pooler.pause().expect("it is running");
    pooler.resume().expect("it is paused");
    assert!(connect(&pooler.url("postgres")).await.is_ok());
    pooler.stop().expect("it is running");
    assert!(connect(&pooler.url("postgres")).await.is_err());
    assert!(connect(&shared.admin_url()).await.is_ok());
}
