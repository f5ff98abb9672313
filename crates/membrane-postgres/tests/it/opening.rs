//! Opening: every way in which it fails has a message of its own, which names the server and tells no password.

use membrane_postgres::{OpenError, PostgresOptions, PostgresStore, SslMode};
use membrane_store::Store;
use membrane_testservers::{Postgres, PostgresOptions as ServerOptions};

use crate::keep::{database, impatient, open, options, refusal};

pub(crate) fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[tokio::test]
async fn an_empty_database_becomes_a_keep_and_opens_again() {
    let database = database();
    let store = open(database.url()).await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let again = open(database.url()).await;
    assert_eq!(again.gauges().await.unwrap().sessions, 0);
    store.close().await.unwrap();
    assert!(again.gauges().await.unwrap().bytes > 0, "the other one goes on");
}

#[tokio::test]
async fn nobody_listens() {
    let server = Postgres::start().unwrap();
    let url = server.admin_url();
    server.stop().unwrap();
    let (error, text) = refusal(options(url)).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    says(&text, &["127.0.0.1:", "/postgres", "start it", "refused"]);
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_in_time() {
    let server = Postgres::start().unwrap();
    server.pause().unwrap();
    let (error, text) = refusal(impatient(server.admin_url())).await;
    server.resume().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    says(&text, &["no answer within"]);
}

#[tokio::test]
async fn a_host_that_nobody_knows() {
    let (error, text) = refusal(options("postgresql://u:hush@nowhere.invalid:1/d")).await;
    assert!(matches!(error, OpenError::UnknownHost { .. }), "{error:?}");
    says(&text, &["nowhere.invalid", "correct the host"]);
    assert!(!text.contains("hush"));
}

#[tokio::test]
async fn wrong_password_no_such_user_no_such_database() {
    let server = Postgres::start_with(&ServerOptions::default().password("right")).unwrap();
    let url = server.admin_url();
    open(&url).await;
    let (error, text) = refusal(options(url.replace("right", "hush"))).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error:?}");
    says(&text, &["\"postgres\"", "password authentication failed", "check the user and the password"]);
    assert!(!text.contains("hush"), "{text}");
    let (error, text) = refusal(options(url.replace("postgres:right", "nobody:hush"))).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error:?}");
    says(&text, &["\"nobody\""]);
    let (error, text) = refusal(options(url.replace(":right", ""))).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error:?}");
    says(&text, &["password missing"]);
    let (error, text) = refusal(options(server.url("elsewhere"))).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");
    says(&text, &["createdb elsewhere"]);
}

#[tokio::test]
async fn a_url_that_makes_no_sense_is_not_repeated() {
    for url in ["postgresql://u:hush@h:port/d", "u:hush@h", "postgresql://u:hush@h/d?colour=red", "a=b hush"]
    {
        let (error, text) = refusal(options(url)).await;
        assert!(matches!(error, OpenError::Settings { .. }), "{url}: {error:?}");
        says(&text, &["postgresql://user:password@host:port/database"]);
        assert!(!text.contains("hush"), "{text}");
    }
    assert!(!format!("{:?}", options("postgresql://u:hush@h/d")).contains("hush"));
}

#[tokio::test]
async fn a_server_that_takes_no_writes() {
    let server = Postgres::start().unwrap();
    let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", server.admin_url());
    let (error, text) = refusal(options(read_only)).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    says(&text, &["default_transaction_read_only", "primary"]);
    server.restart_as_standby().unwrap();
    let (error, text) = refusal(options(server.admin_url())).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    says(&text, &["standby", "primary"]);
}

#[tokio::test]
async fn a_user_who_may_not_make_tables() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    // From PostgreSQL 15 on it is so for everybody.
    database.execute("CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC").unwrap();
    let (error, text) = refusal(options(database.url().replace("postgres@", "guest@"))).await;
    assert!(matches!(error, OpenError::NotAllowed { .. }), "{error:?}");
    says(&text, &["\"guest\"", "create tables", "permission denied"]);
    let grant = "GRANT USAGE, CREATE ON SCHEMA public TO guest";
    says(&text, &[grant]);
    // Once it is there, it may be used by whoever has the rights for that.
    open(database.url()).await;
    database
        .execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO guest")
        .unwrap();
    let guest = open(database.url().replace("postgres@", "guest@")).await;
    assert!(guest.gauges().await.unwrap().bytes > 0);
}

#[tokio::test]
async fn too_many_connections() {
    let settings = ServerOptions::default().setting("max_connections", "4").setting("max_wal_senders", "0");
    let server = Postgres::start_with(&settings.setting("superuser_reserved_connections", "0")).unwrap();
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(open(server.admin_url()).await);
    }
    let (error, text) = refusal(options(server.admin_url())).await;
    assert!(matches!(error, OpenError::TooManyConnections { .. }), "{error:?}");
    says(&text, &["max_connections", "pool_size"]);
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text() {
    let server = Postgres::shared().unwrap();
    let name = format!("latin_{}", std::process::id());
    server
        .execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .unwrap();
    let (error, text) = refusal(options(server.url(&name))).await;
    server.execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    assert!(matches!(error, OpenError::Encoding { .. }), "{error:?}");
    says(&text, &["LATIN1", "UTF8"]);
}

#[tokio::test]
async fn the_first_schema_that_is_there_is_used() {
    let database = database();
    database.execute("CREATE SCHEMA chats").unwrap();
    let within = |path: &str| format!("{}?options=-c%20search_path%3D{path}", database.url());
    let store = open(within("gone,chats,public")).await;
    let found =
        database.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'turns'").unwrap();
    assert_eq!(found, "chats");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    // Another keep in the same database.
    open(database.url()).await;
    let found = database.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'turns'").unwrap();
    assert_eq!(found, "2");
    // A name that must be quoted is a name, too.
    database.execute("CREATE SCHEMA \"Of Ours\"").unwrap();
    let odd = open(within("%22Of%5C%20Ours%22")).await;
    assert_eq!(odd.check().await.unwrap(), Vec::<String>::new());
    assert!(open(within("%22Of%5C%20Ours%22")).await.gauges().await.unwrap().bytes > 0);
    let (error, text) = refusal(options(within("gone"))).await;
    assert!(matches!(error, OpenError::NoSchema { .. }), "{error:?}");
    says(&text, &["gone", "CREATE SCHEMA"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_that_open_an_empty_database_at_once_all_come_up() {
    for _ in 0..3 {
        let database = database();
        let opening: Vec<_> =
            (0..10).map(|_| tokio::spawn(PostgresStore::open(options(database.url())))).collect();
        for store in opening {
            let store = store.await.unwrap().unwrap();
            assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        }
        let n_steps = database.execute("SELECT count(*) FROM schema_version").unwrap();
        assert_eq!(n_steps, membrane_postgres::migrations::MIGRATIONS.len().to_string());
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    let server = Postgres::start().unwrap();
    let folder = server.socket_folder().display().to_string().replace('/', "%2F");
    let url = format!("postgresql://postgres@{folder}:{}/postgres", server.port());
    for ssl_mode in [SslMode::Prefer, SslMode::Require] {
        let store = PostgresStore::open(PostgresOptions { ssl_mode, ..options(&url) }).await.unwrap();
        assert!(store.gauges().await.unwrap().bytes > 0);
    }
}
