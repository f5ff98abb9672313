//! A private PostgreSQL, and what can be done to it.

use std::io::ErrorKind;
use std::time::Duration;

use membrane_testservers::{Postgres, PostgresOptions, ServerError};

use crate::connect;

/// One way in which a server ends.
type Ending = fn(&Postgres) -> Result<(), ServerError>;

async fn count(client: &tokio_postgres::Client) -> i64 {
    client.query_one("SELECT count(*) FROM notes", &[]).await.expect("the table is there").get(0)
}

#[tokio::test]
async fn each_test_gets_an_empty_database_of_its_own_and_it_goes_though_somebody_is_connected() {
    let shared = Postgres::shared().expect("PostgreSQL is installed");
    let (one, two) = (shared.create_database().expect("one"), shared.create_database().expect("two"));
    assert_ne!(one.name(), two.name());
    let client = connect(&one.url()).await.expect("it is there");
    client.batch_execute("CREATE TABLE notes (id int)").await.expect("it is ours");
    let error = connect(&two.url()).await.expect("it is there").query("SELECT * FROM notes", &[]).await;
    assert!(error.is_err(), "the other database is empty");
    let (url, name) = (one.url(), one.name().to_owned());
    drop(one);
    assert!(connect(&url).await.is_err(), "{name} is gone");
    assert!(client.query("SELECT 1", &[]).await.is_err(), "its client was cut off");
}

#[tokio::test]
async fn a_cluster_keeps_port_and_data_however_it_is_stopped_and_started_again() {
    let postgres = Postgres::start().expect("PostgreSQL is installed");
    let database = postgres.create_database().expect("it is running");
    database.execute("CREATE TABLE notes (id int)").expect("it is ours");
    let endings: [(&str, Ending); 4] = [
        ("nothing", |_| Ok(())),
        ("stop", Postgres::stop),
        ("stop_immediately", Postgres::stop_immediately),
        ("kill_9", Postgres::kill_9),
    ];
    for (end, number) in endings.into_iter().zip(1..) {
        let (name, end) = end;
        let client = connect(&database.url()).await.expect(name);
        client.execute("INSERT INTO notes VALUES (1)", &[]).await.expect(name);
        end(&postgres).expect(name);
        if name != "nothing" {
            assert!(!postgres.is_running().expect(name), "{name}");
            assert!(connect(&database.url()).await.is_err(), "{name}: nobody listens");
        }
        postgres.restart().expect(name);
        assert!(client.query("SELECT 1", &[]).await.is_err(), "{name}: connections do not survive");
        assert_eq!(count(&connect(&database.url()).await.expect(name)).await, number, "{name}");
    }
}

#[tokio::test]
async fn a_paused_cluster_answers_nobody_until_it_goes_on() {
    let postgres = Postgres::start().expect("PostgreSQL is installed");
    let client = connect(&postgres.admin_url()).await.expect("it is running");
    postgres.pause().expect("it is running");
    let question = client.query_one("SELECT 7", &[]);
    let mut question = std::pin::pin!(question);
    let silence = tokio::time::timeout(Duration::from_millis(300), &mut question).await;
    assert!(silence.is_err(), "a server that stands still answered");
    // A new client's connection is taken by the system, and the server says nothing to it.
    let newcomer = tokio::time::timeout(Duration::from_millis(300), connect(&postgres.admin_url())).await;
    assert!(newcomer.is_err(), "a server that stands still greeted somebody");
    postgres.resume().expect("it is paused");
    assert_eq!(question.await.expect("it answers what was asked meanwhile").get::<_, i32>(0), 7);
    postgres.pause().expect("it is running");
    postgres.stop_immediately().expect("a paused server can be stopped");
    assert!(postgres.pause().expect_err("it is stopped").to_string().contains("is not running"));
}

#[tokio::test]
async fn a_standby_is_read_alone_and_becomes_an_ordinary_server_again() {
    let postgres = Postgres::start().expect("PostgreSQL is installed");
    let database = postgres.create_database().expect("it is running");
    database.execute("CREATE TABLE notes (id int)").expect("it is ours");
    postgres.restart_as_standby().expect("it comes up");
    let client = connect(&database.url()).await.expect("a hot standby is read");
    assert_eq!(count(&client).await, 0);
    let error = client.execute("INSERT INTO notes VALUES (1)", &[]).await.expect_err("it is read-only");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("25006"), "{error:?}");
    postgres.restart().expect("it comes up");
    database.execute("INSERT INTO notes VALUES (1)").expect("it is written again");
}

#[tokio::test]
async fn a_password_is_asked_for_and_appears_in_no_message() {
    let options = PostgresOptions::default().password("hush: p@ss/word");
    let postgres = Postgres::start_with(&options).expect("PostgreSQL is installed");
    let database = postgres.create_database().expect("psql knows the password");
    assert!(connect(&database.url()).await.is_ok());
    let wrong = database.url().replace("hush", "hash");
    let error = connect(&wrong).await.map(|_| ()).expect_err("it is wrong");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("28P01"), "{error:?}");
    let message = database.execute("SELECT nonsense").expect_err("there is no such column").to_string();
    assert!(message.contains("nonsense") && !message.contains("hush"), "{message}");
    assert!(!format!("{postgres:?} {database:?}").contains("hush"));
}

#[test]
fn tls_shows_the_given_certificate() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .expect("a certificate can be made");
    let options = PostgresOptions::default().tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let postgres = Postgres::start_with(&options).expect("PostgreSQL is installed");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let ours = folder.path().join("ours.crt");
    std::fs::write(&ours, made.cert.pem()).expect("it can be written");
    let url = |certificate: &std::path::Path| {
        format!("{}?sslmode=verify-full&sslrootcert={}", postgres.admin_url(), certificate.display())
    };
    let query = |url: &str| {
        let output = std::process::Command::new("psql")
            .args([
                "--no-psqlrc",
                "-At",
                "-c",
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                url,
            ])
            .output()
            .expect("psql is installed");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    };
    assert_eq!(query(&url(&ours)), "t");
    let other = folder.path().join("other.crt");
    let another = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("it can be made");
    std::fs::write(&other, another.cert.pem()).expect("it can be written");
    assert!(query(&url(&other)).contains("certificate verify failed"), "{}", query(&url(&other)));
}

#[tokio::test]
async fn settings_are_in_force_and_a_wrong_one_is_in_the_message() {
    let options = PostgresOptions::default().setting("default_transaction_read_only", "on").durable();
    let postgres = Postgres::start_with(&options).expect("PostgreSQL is installed");
    let client = connect(&postgres.admin_url()).await.expect("it is running");
    for (name, value) in
        [("default_transaction_read_only", "on"), ("fsync", "on"), ("max_connections", "300")]
    {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await.expect(name);
        assert_eq!(row.get::<_, &str>(0), value, "{name}");
    }
    let error = Postgres::start_with(&PostgresOptions::default().setting("no_such_setting", "1"))
        .expect_err("there is no such setting")
        .to_string();
    assert!(error.contains("no_such_setting") && error.contains("ended at its start"), "{error}");
}

#[test]
fn two_clusters_stand_beside_each_other_and_leave_no_folder() {
    let (one, two) = (Postgres::start().expect("one"), Postgres::start().expect("two"));
    assert_ne!(one.port(), two.port());
    for (postgres, folder) in [(&one, one.socket_folder()), (&two, two.socket_folder())] {
        assert!(postgres.databases().execute("SELECT 1").is_ok());
        assert!(folder.is_dir());
    }
    let folder = one.socket_folder();
    drop(one);
    assert_eq!(std::fs::metadata(folder).map(|_| ()).expect_err("it is gone").kind(), ErrorKind::NotFound);
    assert!(two.databases().execute("SELECT 1").is_ok());
}

#[tokio::test]
async fn a_standby_follows_until_it_is_promoted() {
    let primary = Postgres::start().expect("it comes up");
    primary.databases().execute("CREATE TABLE notes (id int)").expect("it is ours");
    let standby = primary.start_standby().expect("it comes up");
    primary.databases().execute("INSERT INTO notes VALUES (1)").expect("it is ours");
    let client = connect(&standby.admin_url()).await.expect("it is there");
    while count(&client).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.execute("INSERT INTO notes VALUES (2)", &[]).await.expect_err("it is read alone");
    primary.stop().expect("it is running");
    assert_eq!(standby.databases().execute("SELECT pg_promote()").expect("it is there"), "t");
    client.execute("INSERT INTO notes VALUES (2)", &[]).await.expect("it is the primary now");
}
