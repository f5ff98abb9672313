//! What the doctor says of real databases in all kinds of trouble, and that it leaves them as they are.

use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_core::time::{Clock, ManualClock, SystemClock};
use membrane_postgres::doctor::{Check, Examination, Question, SessionTrace, Status, examine, trace_session};
use membrane_postgres::{Pooler, PostgresOptions, SslMode};
use membrane_store::conformance::fixture::Fixture;
use membrane_store::{Store, Write};
use membrane_testservers::{Database, PgBouncer, PoolMode, Postgres, PostgresOptions as ServerOptions};

use crate::keep::{database, impatient, open, options};
use crate::opening::says;

async fn look(options: &PostgresOptions) -> Examination {
    examine(&Question { options, deep: false, session: None, clock: &SystemClock }).await
}

async fn look_deep(options: &PostgresOptions, session: Option<&str>) -> Examination {
    examine(&Question { options, deep: true, session, clock: &SystemClock }).await
}

/// The checks of this name.
fn of<'a>(found: &'a Examination, name: &str) -> Vec<&'a Check> {
    found.checks.iter().filter(|check| check.name == name).collect()
}

/// The first problem of this name, which must have a remedy, with both in one text.
#[track_caller]
fn problem(found: &Examination, name: &str) -> String {
    let problem = of(found, name).into_iter().find(|check| check.status == Status::Problem);
    let problem = problem.unwrap_or_else(|| panic!("no problem {name}: {:#?}", found.checks));
    format!("{} -> {}", problem.found, problem.remedy.as_deref().unwrap())
}

/// Problems that are not those of a test's server, which is not durable.
fn problems(found: &Examination) -> Vec<&Check> {
    let is_real = |check: &&Check| check.status == Status::Problem && check.name != "durability";
    found.checks.iter().filter(is_real).collect()
}

async fn keep(database: &Database) {
    open(database.url()).await.close().await.unwrap();
}

#[tokio::test]
async fn a_sound_database_has_no_problem_and_stays_as_it_is() {
    let server =
        Postgres::start_with(&ServerOptions::default().durable().setting("autovacuum_naptime", "1d"))
            .unwrap();
    let database = server.create_database().unwrap();
    let store = open(database.url()).await;
    let f = Fixture::new(std::sync::Arc::new(store));
    let id = f.session(3).await;
    let instance = InstanceId::from_stored("one");
    f.store.hold_instance(&instance).await.unwrap();
    let lease_for = Duration::from_secs(3600);
    f.write(Write::TakeLead { role: Role::Sweeper, instance, lease_for, dead_leader: None }).await;
    // Each transaction that writes takes a number.
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let before = database.execute(next).unwrap();
    let found = look_deep(&options(database.url()), Some(id.as_str())).await;
    assert_eq!(database.execute(next).unwrap(), before, "nothing was written");
    assert!(found.checks.iter().all(|check| check.status != Status::Problem), "{:#?}", found.checks);
    let names: Vec<&str> = found.checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "port",
            "encryption",
            "login",
            "server",
            "encoding",
            "clock",
            "replicas",
            "durability",
            "schema",
            "tables",
            "rights",
            "sessions",
            "servers",
            "leader",
            "locks",
            "connections",
            "space",
            "autovacuum",
            "keep",
            "pooler"
        ]
    );
    let said: Vec<&str> = found.checks.iter().map(|check| check.found.as_str()).collect();
    let said = said.join(
        "
",
    );
    says(
        &said,
        &["PostgreSQL ", "sessions: 1, turns: 3", "one server lives: one", "of 300 are used", "nobody waits"],
    );
    says(&said, &["one is the sweeper", "on the disk", "no row contradicts", "takes", "UTF8"]);
    assert_eq!((found.session, found.is_locked), (Some(SessionTrace::Here(3)), false));
    f.store.close().await.unwrap();
}

#[tokio::test]
async fn the_step_at_which_the_way_ends_is_named() {
    let server = Postgres::start_with(&ServerOptions::default().password("right")).unwrap();
    let url = server.admin_url();
    for (url, ssl_mode, step, words) in [
        (
            "postgresql://u:hush@nowhere.invalid/d".to_owned(),
            SslMode::Prefer,
            "name",
            &["nowhere.invalid", "correct the host"][..],
        ),
        (
            url.replace("right", "hush"),
            SslMode::Prefer,
            "login",
            &["password authentication failed", "the password"],
        ),
        (url.replace("postgres:right", "nobody:hush"), SslMode::Prefer, "login", &["nobody"]),
        (server.url("elsewhere"), SslMode::Prefer, "database", &["createdb", "elsewhere"]),
        (url.clone(), SslMode::Require, "encryption", &["offers no TLS", "ssl = on"]),
        (
            "postgresql://u:hush@h:port/d".to_owned(),
            SslMode::Prefer,
            "url",
            &["postgresql://user:password@host"],
        ),
    ] {
        let found = look(&PostgresOptions { ssl_mode, ..impatient(&url) }).await;
        says(&problem(&found, step), words);
        assert_eq!(problems(&found).len(), 1, "{:#?}", found.checks);
        assert!(!format!("{found:?}").contains("hush"), "{found:#?}");
    }
    server.stop().unwrap();
    let found = look(&impatient(&url)).await;
    says(&problem(&found, "port"), &["takes no connection", "refused", "start the server"]);
    assert_eq!(found.checks.len(), 1, "{found:#?}");
    let trace = trace_session(&impatient(&url), "s").await;
    assert!(matches!(&trace, SessionTrace::Unreadable(why) if why.contains("refused")), "{trace:?}");
}

#[tokio::test]
async fn of_several_hosts_one_is_enough_and_the_others_are_noted() {
    let (gone, server) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    gone.stop().unwrap();
    let url = format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", gone.port(), server.port());
    let found = look(&options(&url)).await;
    let ports = of(&found, "port");
    assert_eq!((ports[0].status, ports[1].status), (Status::Note, Status::Ok), "{ports:#?}");
    says(&ports[0].found, &["refused", "another server was reached"]);
    says(&problem(&found, "schema"), &["no keep was made", "membrane migrate"]);
}

#[tokio::test]
async fn settings_that_give_acknowledged_turns_away_are_problems() {
    let settings = ServerOptions::default().setting("synchronous_commit", "off").setting("autovacuum", "off");
    let server = Postgres::start_with(&settings).unwrap();
    let found = look(&options(server.admin_url())).await;
    let said: Vec<&str> = of(&found, "durability").iter().map(|check| check.found.as_str()).collect();
    let said = said.join(
        "
",
    );
    says(&said, &["fsync is off", "full_page_writes is off", "synchronous_commit is off", "may be lost"]);
    assert!(of(&found, "durability").iter().all(|check| check.status == Status::Problem));
    says(&problem(&found, "durability"), &["ALTER SYSTEM SET fsync = on"]);
    says(&problem(&found, "autovacuum"), &["it is off", "ALTER SYSTEM SET autovacuum = on"]);
}

#[tokio::test]
async fn what_is_in_the_schema_is_told_apart() {
    let empty = database();
    says(&problem(&look(&options(empty.url())).await, "schema"), &["empty", "membrane migrate"]);
    empty.execute("CREATE TABLE turns (id int)").unwrap();
    says(
        &problem(&look(&options(empty.url())).await, "schema"),
        &["turns", "not Membrane's", "another database"],
    );
    empty
        .execute("DROP TABLE turns; CREATE TABLE chat_sessions (id text); CREATE TABLE chat_turns (id text)")
        .unwrap();
    says(&problem(&look(&options(empty.url())).await, "schema"), &["not kgents'", "name another database"]);
    empty.execute("DROP TABLE chat_sessions; DROP TABLE chat_turns").unwrap();
    empty.execute(crate::v1::DDL).unwrap();
    let found = look(&options(empty.url())).await;
    assert_eq!(of(&found, "schema")[0].status, Status::Note, "{:#?}", found.checks);
    says(&of(&found, "schema")[0].found, &["kgents' V1 tables", "membrane migrate"]);
    assert!(of(&found, "sessions").is_empty(), "there is no keep yet");
    let full = database();
    keep(&full).await;
    full.execute("CREATE TABLE membrane_unfinished_copy (source text, started_at text, attempt bigint)")
        .unwrap();
    full.execute("INSERT INTO membrane_unfinished_copy VALUES ('/a/keep.db', '', 1)").unwrap();
    let found = look(&options(full.url())).await;
    says(&problem(&found, "schema"), &["unfinished copy of /a/keep.db", "membrane copy"]);
    assert_eq!(of(&found, "sessions")[0].status, Status::Ok, "the rest is looked at");
    full.execute("DROP TABLE membrane_unfinished_copy; DROP INDEX idx_chat_sessions_active").unwrap();
    says(&problem(&look(&options(full.url())).await, "tables"), &["idx_chat_sessions_active", "pg_restore"]);
    full.execute("INSERT INTO schema_version (version, name, checksum) VALUES (1999, 'later', 'x')").unwrap();
    says(&problem(&look(&options(full.url())).await, "schema"), &["1999", "newer membrane"]);
    full.execute("DELETE FROM schema_version WHERE version IN (1004, 1999); DROP TABLE instances").unwrap();
    let found = look(&options(full.url())).await;
    let schema = of(&found, "schema")[0];
    assert_eq!(schema.status, Status::Note, "{schema:?}");
    says(&schema.found, &["1004 will be applied"]);
    assert!(of(&found, "servers").is_empty() && of(&found, "leader").is_empty(), "{:#?}", found.checks);
}

#[tokio::test]
async fn contradictions_rights_and_lost_sessions_are_found() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    let f = Fixture::new(std::sync::Arc::new(open(database.url()).await));
    let id = f.session(2).await;
    let fork = f.fork(&id, 1).await;
    f.delete(&fork).await;
    let options_of = |user: &str| options(database.url().replace("postgres@", &format!("{user}@")));
    for (session, is_right) in [
        (
            fork.as_str().to_owned(),
            (|trace| matches!(trace, SessionTrace::Deleted(_))) as fn(&SessionTrace) -> bool,
        ),
        (
            id.as_str().to_uppercase() + " ",
            |trace| matches!(trace, SessionTrace::Similar(ids) if ids.len() == 1),
        ),
        ("nobody".to_owned(), |trace| *trace == SessionTrace::Unknown),
    ] {
        let trace = trace_session(&options_of("postgres"), &session).await;
        assert!(is_right(&trace), "{session:?}: {trace:?}");
    }
    database.execute("UPDATE chat_sessions SET turn_count = turn_count + 1").unwrap();
    says(&problem(&look_deep(&options_of("postgres"), None).await, "keep"), &["finding", "membrane check"]);
    database
        .execute("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        .unwrap();
    let found = look(&options_of("reader")).await;
    says(&problem(&found, "rights"), &["reader", "turns", "GRANT SELECT, INSERT, UPDATE, DELETE"]);
    assert_eq!(problems(&found).len(), 1, "{:#?}", found.checks);
    f.store.close().await.unwrap();
}

#[tokio::test]
async fn who_holds_up_whom_is_named_by_process_and_told_how_to_end() {
    let database = database();
    keep(&database).await;
    let connect = || async {
        let url = format!("{}?application_name=somebody", database.url());
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        (client, tokio::spawn(connection))
    };
    let (blocker, _task) = connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE turns").await.unwrap();
    let pid: i32 = blocker.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let (waiter, _other_task) = connect().await;
    let waiting = tokio::spawn(async move { waiter.batch_execute("SELECT count(*) FROM turns").await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while database.execute(waits).unwrap() == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = look(&impatient(database.url())).await;
    assert!(found.is_locked);
    let said = problem(&found, "locks");
    says(
        &said,
        &[&format!("process {pid} (somebody, user postgres"), "idle in transaction", "locks on turns"],
    );
    says(&said, &["wait for it", &format!("pg_terminate_backend({pid})")]);
    // What needs the table has its time, and no more.
    says(&problem(&found, "sessions"), &["cannot be looked at", "see locks"]);
    blocker.batch_execute("ROLLBACK").await.unwrap();
    waiting.await.unwrap().unwrap();
    let found = look(&options(database.url())).await;
    assert!(!found.is_locked && problems(&found).is_empty(), "{:#?}", found.checks);
}

#[tokio::test]
async fn connections_that_are_about_to_run_out_are_told_before_they_do() {
    let settings = ServerOptions::default().setting("max_connections", "10").setting("max_wal_senders", "0");
    let server = Postgres::start_with(&settings).unwrap();
    let database = server.create_database().unwrap();
    keep(&database).await;
    let found = look(&PostgresOptions { pool_size: 16, ..options(database.url()) }).await;
    let connections = of(&found, "connections")[0];
    assert_eq!(connections.status, Status::Note, "{connections:?}");
    says(&connections.found, &["up to 17", "room for 0 servers", "max_connections allows 7"]);
    let mut taken = Vec::new();
    for _ in 0..7 {
        taken.push(tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap());
    }
    says(
        &problem(&look(&options(database.url())).await, "connections"),
        &["of 10 are used", "pg_stat_activity"],
    );
}

#[tokio::test]
async fn a_pooler_that_the_settings_do_not_know_of_is_noticed() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    keep(&database).await;
    let pooler = PgBouncer::start(&server.admin_url(), PoolMode::Transaction).unwrap();
    let through = options(pooler.url(database.name()));
    says(
        &problem(&look(&through).await, "pooler"),
        &["prepared statements fail", "chat.postgres.pooler: transaction"],
    );
    let set = PostgresOptions { pooler: Pooler::Transaction, ..through };
    let found = look(&set).await;
    assert!(problems(&found).is_empty(), "{:#?}", found.checks);
    says(&of(&found, "pooler")[0].found, &["as is set", "leases"]);
    let direct = |url: String| PostgresOptions { direct_url: Some(url), ..set.clone() };
    let found = look(&direct(database.url())).await;
    assert!(of(&found, "pooler").iter().all(|check| check.status == Status::Ok), "{:#?}", found.checks);
    for (url, words) in [
        (server.admin_url(), "another database"),
        (pooler.url(database.name()), "through a pooler, too"),
        (server.url("nowhere"), "leads nowhere"),
    ] {
        says(&problem(&look(&direct(url)).await, "pooler"), &[words, "correct chat.postgres.direct_url"]);
    }
    let session = PgBouncer::start(&server.admin_url(), PoolMode::Session).unwrap();
    let found = look(&options(session.url(database.name()))).await;
    assert_eq!(of(&found, "pooler")[0].status, Status::Ok, "{:#?}", found.checks);
    let found = look(&PostgresOptions { pooler: Pooler::Transaction, ..options(database.url()) }).await;
    assert_eq!(of(&found, "pooler")[0].status, Status::Note, "{:#?}", found.checks);
}

#[tokio::test]
async fn a_standby_is_told_and_so_is_who_follows() {
    let primary = Postgres::start().unwrap();
    let database = primary.create_database().unwrap();
    keep(&database).await;
    let standby = primary.start_standby().unwrap();
    loop {
        let found = look(&options(database.url())).await;
        let replicas = of(&found, "replicas");
        assert_eq!(replicas[0].status, Status::Ok);
        says(&replicas[0].found, &["follows (streaming, async)"]);
        // How far behind it is it has to say first.
        if replicas[0].found.ends_with("behind") {
            break;
        }
    }
    // What was written reaches it in its own time.
    let held = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", database.name());
    while standby.databases().execute(&held).unwrap() != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = look(&options(standby.url(database.name()))).await;
    says(&problem(&found, "server"), &["standby", "primary"]);
    primary.databases().execute("SELECT pg_create_physical_replication_slot('left', true)").unwrap();
    let found = look(&options(database.url())).await;
    assert!(of(&found, "replicas").iter().any(|check| check.found.contains("nobody uses the slot left")));
}

#[tokio::test]
async fn clocks_that_are_apart_are_told() {
    let database = database();
    keep(&database).await;
    let now = SystemClock.now();
    for (time, words) in
        [(now.plus(Duration::from_secs(3600)), "behind"), (now.minus(Duration::from_secs(3600)), "ahead of")]
    {
        let clock = ManualClock::at(time);
        let options = options(database.url());
        let found = examine(&Question { options: &options, deep: false, session: None, clock: &clock }).await;
        let told = of(&found, "clock")[0];
        assert_eq!(told.status, Status::Note);
        says(&told.found, &[words, "leases"]);
    }
}
