//! What servers refuse at opening, each in its own words and with what to do: who is let in, how many, on which server, and
//! with which rights. The common cases are in `opening.rs`.

use std::fs;

use membrane_core::ids::InstanceId;
use membrane_postgres::{OpenError, PostgresOptions, PostgresStore};
use membrane_store::Store;
use membrane_testservers::{Database, Postgres, PostgresOptions as ServerOptions};

use crate::keep::{database, impatient, open, options, refusal};
use crate::opening::says;

/// Replaces the rules of who is let in. The tests' own client comes through the socket, which stays open.
fn let_in(server: &Postgres, rules: &str) {
    let file = server.socket_folder().join("data/pg_hba.conf");
    fs::write(file, format!("local all all trust\n{rules}\n")).unwrap();
}

/// Runs SQL as the superuser through the socket, whom every rule lets in.
async fn by_socket(server: &Postgres, sql: &str) {
    let folder = server.socket_folder().display().to_string().replace('/', "%2F");
    let url = format!("postgresql://postgres@{folder}:{}/postgres", server.port());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let task = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    task.await.unwrap().unwrap();
}

/// Its database as another role, which has a password.
fn as_role(database: &Database, role: &str) -> String {
    database.url().replace("postgres@", &format!("{role}:hush@"))
}

#[tokio::test]
async fn who_is_not_let_in_from_here() {
    let server = Postgres::start().unwrap();
    for (rules, remedy) in [
        ("host all all 127.0.0.1/32 reject", "let it in"),
        ("hostssl all all 127.0.0.1/32 trust", "sslmode=require"),
    ] {
        let_in(&server, rules);
        by_socket(&server, "SELECT pg_reload_conf()").await;
        let error = loop {
            // The rules are read again as soon as the server has taken the signal.
            match PostgresStore::open(options(server.admin_url())).await {
                Err(error) if error.to_string().contains(remedy) => break error,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(matches!(error, OpenError::Refused { .. } | OpenError::Tls { .. }), "{error:?}");
        says(&error.to_string(), &["pg_hba.conf", "127.0.0.1:"]);
        assert!(!error.to_string().contains("password"), "{error}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_log_in_or_not_connect_here() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    server.databases().execute("CREATE ROLE idle NOLOGIN PASSWORD 'hush'; CREATE ROLE guest LOGIN").unwrap();
    let (error, text) = refusal(options(as_role(&database, "idle"))).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error:?}");
    says(&text, &["\"idle\"", "not permitted to log in", "ALTER ROLE"]);
    assert!(!text.contains("hush"), "{text}");
    let sql = format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database.name());
    server.databases().execute(&sql).unwrap();
    let (error, text) = refusal(options(as_role(&database, "guest"))).await;
    assert!(matches!(error, OpenError::NotAllowed { .. }), "{error:?}");
    says(&text, &["permission denied", "GRANT CONNECT ON DATABASE", "TO guest"]);
    let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", database.name());
    server.databases().execute(&sql).unwrap();
    let (error, text) = refusal(options(database.url())).await;
    assert!(matches!(error, OpenError::NotReady { .. }), "{error:?}");
    says(&text, &["not currently accepting connections", "ALLOW_CONNECTIONS true"]);
}

#[tokio::test]
async fn a_user_who_may_only_read_is_told_which_rights_are_missing() {
    let database = database();
    open(database.url()).await.close().await.unwrap();
    let role = format!("reader_{}", database.name());
    database
        .execute(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        .unwrap();
    let (error, text) = refusal(options(as_role(&database, &role))).await;
    assert!(matches!(error, OpenError::NotAllowed { .. }), "{error:?}");
    says(
        &text,
        &["turns", "read and write its tables", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"],
    );
    // What it says is what is needed.
    let remedy = text.split("let the owner run: ").nth(1).unwrap();
    database.execute(remedy).unwrap();
    let store = open(as_role(&database, &role)).await;
    store.ready().await.unwrap();
    store.close().await.unwrap();
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[tokio::test]
async fn connections_that_are_kept_for_superusers_or_limited_for_a_role_or_a_database() {
    let settings = ServerOptions::default().setting("max_connections", "6").setting("max_wal_senders", "0");
    let server = Postgres::start_with(&settings.setting("superuser_reserved_connections", "3")).unwrap();
    let database = server.create_database().unwrap();
    server.databases().execute("CREATE ROLE one LOGIN CONNECTION LIMIT 1; CREATE ROLE all_of LOGIN").unwrap();
    database.execute("GRANT CREATE ON SCHEMA public TO PUBLIC").unwrap();
    let first = open(as_role(&database, "one")).await;
    let (error, text) = refusal(options(as_role(&database, "one"))).await;
    assert!(matches!(error, OpenError::TooManyConnections { .. }), "{error:?}");
    says(&text, &["for role \"one\"", "max_connections", "pool_size"]);
    first.close().await.unwrap();
    let plain = as_role(&database, "all_of");
    database.execute("DROP OWNED BY one").unwrap();
    let mut taken = Vec::new();
    let error = loop {
        match PostgresStore::open(options(&plain)).await {
            Ok(store) => taken.push(store),
            Err(error) => break error,
        }
        assert!(taken.len() < 6, "three are kept for superusers");
    };
    assert!(matches!(error, OpenError::TooManyConnections { .. }), "{error:?}");
    says(&error.to_string(), &["superuser", "max_connections"]);
}

#[tokio::test]
async fn a_server_that_is_on_its_way_down() {
    let server = Postgres::start().unwrap();
    let store = open(server.admin_url()).await;
    server.begin_to_stop().unwrap();
    let error = loop {
        match PostgresStore::open(options(server.admin_url())).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, OpenError::NotReady { .. }), "{error:?}");
    says(&error.to_string(), &["shutting down", "wait until it is up"]);
    store.ready().await.unwrap();
    drop(store);
}

#[tokio::test]
async fn a_standby_that_follows_is_named_as_one() {
    let primary = Postgres::start().unwrap();
    let database = primary.create_database().unwrap();
    open(database.url()).await.close().await.unwrap();
    let standby = primary.start_standby().unwrap();
    let (error, text) = refusal(options(standby.url(database.name()))).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    says(&text, &["standby", "primary"]);
    // Asked for together, the primary is found, wherever it stands.
    let both = |first: &Postgres, second: &Postgres| {
        format!(
            "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/{}",
            first.port(),
            second.port(),
            database.name()
        )
    };
    for url in [both(&primary, &standby), both(&standby, &primary)] {
        open(url).await.close().await.unwrap();
    }
    primary.stop().unwrap();
    let (error, text) = refusal(impatient(both(&standby, &primary))).await;
    assert!(matches!(error, OpenError::ReadOnly { .. } | OpenError::Unreachable { .. }), "{error:?}");
    says(&text, &["127.0.0.1:"]);
}

#[tokio::test]
async fn limits_that_an_administrator_set_low_do_not_reach_the_keep() {
    let database = database();
    let role = format!("hasty_{}", database.name());
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}; \
             ALTER ROLE {role} SET statement_timeout = 200; ALTER ROLE {role} SET lock_timeout = 1; \
             ALTER ROLE {role} SET idle_in_transaction_session_timeout = 50; \
             ALTER ROLE {role} SET idle_session_timeout = 50; \
             ALTER ROLE {role} SET default_transaction_isolation = 'serializable'"
        ))
        .unwrap();
    let store = PostgresStore::open(PostgresOptions { pool_size: 1, ..options(as_role(&database, &role)) })
        .await
        .unwrap();
    // On a connection of its own, which has nothing to do for as long as it lives.
    store.hold_instance(&InstanceId::from_stored("one")).await.unwrap();
    let of_ours =
        format!("SELECT min(backend_start)::text || count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    let before = database.execute(&of_ours).unwrap();
    let settings =
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND state = 'idle'");
    // Longer than it may be at rest by the administrator's limits.
    let rested = tokio::time::Instant::now() + std::time::Duration::from_millis(300);
    tokio::time::sleep_until(rested).await;
    assert_eq!(database.execute(&settings).unwrap(), "2");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(database.execute(&of_ours).unwrap(), before, "nothing was cut off");
    store.close().await.unwrap();
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}
