//! Whatever happens, the database is what it was or a keep.

use std::sync::Arc;

use membrane_postgres::{OpenError, Pooler, PostgresOptions, PostgresStore};
use membrane_store::Store;
use membrane_testservers::{PgBouncer, PoolMode, Postgres, PostgresOptions as ServerOptions};

use super::{DDL, Old};
use crate::keep::database;

#[tokio::test]
async fn what_would_go_on_with_the_old_tables_stops_the_upgrade_unless_it_is_forced() {
    for (sql, words) in [
        ("CREATE TABLE stars (turn INTEGER REFERENCES chat_turns(id))", "stars"),
        ("CREATE VIEW newest AS SELECT max(id) FROM chat_turns", "newest"),
        ("CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM chat_sessions", "totals"),
        (
            "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER watch BEFORE INSERT ON chat_turns FOR EACH ROW EXECUTE FUNCTION mine()",
            "watch",
        ),
        ("CREATE POLICY own ON chat_sessions USING (project_id = current_user)", "own"),
    ] {
        let old = Old::new();
        old.session("s", 2);
        old.run(sql);
        let (error, text) = old.refused().await;
        assert!(matches!(error, OpenError::UpgradeBlocked { .. }), "{error:?}");
        assert!(text.contains(words) && text.contains("--force"), "{text}");
        let mut options = old.options();
        options.upgrade.force = true;
        let new = old.upgrade_with(options).await;
        assert!(new.upgrade.forced.as_deref().unwrap().contains(words));
        assert_eq!(new.said("s").await.len(), 2);
    }
}

#[tokio::test]
async fn what_is_called_like_an_old_table_and_is_none_is_refused_by_name() {
    for (sql, name) in [
        ("CREATE VIEW chat_turns AS SELECT 1", "chat_turns"),
        ("CREATE TABLE chat_sessions (name TEXT)", "chat_sessions"),
        (
            "CREATE TABLE chat_crystals (session_id text, title text) PARTITION BY HASH (title)",
            "chat_crystals",
        ),
        (
            "CREATE TABLE chat_checkpoints (id text, session_id text); CREATE TABLE heir () INHERITS (chat_checkpoints)",
            "chat_checkpoints",
        ),
    ] {
        let old = Old::made_by(sql);
        let (error, text) = old.refused().await;
        assert!(matches!(&error, OpenError::NotV1 { name: found, .. } if *found == name), "{error:?}");
        assert!(text.contains("name another database or schema"), "{text}");
    }
    let old = Old::new();
    old.run("CREATE TABLE segments (what text)");
    let (error, _) = old.refused().await;
    assert!(matches!(&error, OpenError::ForeignTables { table, .. } if table == "segments"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_that_open_it_at_once_one_upgrades_and_all_come_up() {
    let old = Old::new();
    old.session("s", 2_000);
    // With kgents' own table of versions, which is changed early in the upgrade.
    old.run("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT)");
    let opening: Vec<_> = (0..5).map(|_| tokio::spawn(PostgresStore::open(old.options()))).collect();
    let mut n_upgraded = 0;
    for store in opening {
        let store = store.await.unwrap().unwrap();
        n_upgraded += u32::from(store.upgrade().is_some());
        assert_eq!(store.stats().await.unwrap().turns_shown, 2_000);
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    }
    assert_eq!(n_upgraded, 1);
    assert_eq!(old.run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'membrane\\_v1%'"), "1");
}

#[tokio::test]
async fn somebody_who_is_at_the_tables_is_waited_for_in_time() {
    let old = Arc::new(Old::new());
    old.session("s", 1);
    let (holder, held) =
        (Arc::clone(&old), "SELECT count(*) FROM pg_locks WHERE relation = 'chat_turns'::regclass");
    let holding = std::thread::spawn(move || {
        let sql = "BEGIN; INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, \
                   started_at, completed_at) VALUES ('s', 1, 'late', 'x', '2025-12-24', '2025-12-24'); \
                   SELECT pg_sleep(4); COMMIT";
        holder.run(sql)
    });
    while old.run(held) == "0" {
        std::thread::yield_now();
    }
    let timeout = std::time::Duration::from_millis(500);
    let impatient = PostgresOptions { timeout, ..old.options() };
    let (error, text) = crate::keep::refusal(impatient).await;
    assert!(matches!(error, OpenError::OldTablesInUse { .. }), "{text}");
    assert!(text.contains("stop it, and try again"), "{text}");
    holding.join().unwrap();
    let Ok(old) = Arc::try_unwrap(old) else { panic!("nobody else has it") };
    let new = old.upgrade().await;
    assert_eq!(new.said("s").await, ["u0/a0", "late/x"]);
}

#[tokio::test]
async fn the_tables_are_upgraded_through_a_pooler_of_transactions() {
    let old = Old::new();
    old.session("s", 300);
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let url = pooler.url(old.database.name());
    let pooled = PostgresOptions { pooler: Pooler::Transaction, url, ..old.options() };
    let new = old.upgrade_with(pooled).await;
    assert_eq!(new.said("s").await[299], "u299/a299");
}

#[tokio::test]
async fn a_user_who_may_not_do_what_it_takes_is_told_so() {
    let server = Postgres::start().unwrap();
    let database = server.create_database().unwrap();
    database.execute(DDL).unwrap();
    database.execute("CREATE ROLE guest LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO guest").unwrap();
    let as_guest = || crate::keep::options(database.url().replace("postgres@", "guest@"));
    let (error, text) = crate::keep::refusal(as_guest()).await;
    assert!(matches!(error, OpenError::NotAllowed { .. }), "{text}");
    let own = "ALTER TABLE chat_sessions OWNER TO guest; ALTER TABLE chat_turns OWNER TO guest; \
               ALTER TABLE chat_crystals OWNER TO guest; ALTER TABLE chat_checkpoints OWNER TO guest; \
               GRANT ALL ON SCHEMA public TO guest";
    database.execute(own).unwrap();
    let (error, text) = crate::keep::refusal(as_guest()).await;
    assert!(matches!(error, OpenError::NotAllowed { .. }), "{text}");
    assert!(text.contains("make a schema for kgents' tables"), "{text}");
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO guest", database.name())).unwrap();
    let store = PostgresStore::open(as_guest()).await.unwrap();
    assert!(store.upgrade().is_some());
}

/// Waits until the upgrade has sent its `n`-th statement that writes turns, or is over.
async fn until_under_way(server: &Postgres, n: u64, upgrading: &tokio::task::JoinHandle<bool>) {
    let sql = "SELECT max(query_start) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO turns%' \
               AND pid <> pg_backend_pid()";
    let (mut seen, mut last) = (0, String::new());
    while seen < n && !upgrading.is_finished() {
        let now = server.databases().execute(sql).unwrap();
        if now != last {
            seen += 1;
            last = now;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_the_middle_has_the_old_or_the_new() {
    let server = Postgres::start_with(&ServerOptions::default().durable()).unwrap();
    let mut n_old = 0;
    for n in 0..6 {
        let old = Old { database: server.create_database().unwrap() };
        old.run(DDL);
        old.session("s", 5_000);
        let before = old.contents("public");
        let options = old.options();
        let upgrading = tokio::spawn(async move { PostgresStore::open(options).await.is_ok() });
        until_under_way(&server, 1 + n, &upgrading).await;
        server.kill_9().unwrap();
        let was_told = upgrading.await.unwrap();
        server.restart().unwrap();
        let is_new = old.run("SELECT count(*) FROM pg_class WHERE relname = 'segments'") == "1";
        assert!(is_new || !was_told, "what was said to be done is there");
        if !is_new {
            n_old += 1;
            assert_eq!(old.contents("public"), before);
            assert_eq!(old.run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'membrane%'"), "0");
        }
        let store = PostgresStore::open(old.options()).await.unwrap();
        assert_eq!(store.upgrade().is_some(), !is_new);
        assert_eq!(store.stats().await.unwrap().turns_shown, 5_000);
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        store.close().await.unwrap();
    }
    println!("killed servers: {n_old} of 6 had the old tables");
    assert!(n_old > 0, "none was killed on the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_nobody_waits_for_any_more_is_taken_back() {
    let old = Old::new();
    old.session("s", 10_000);
    let before = old.contents("public");
    let options = old.options();
    let upgrading = tokio::spawn(PostgresStore::open(options));
    let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'chat_turns'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    while old.run(sql) == "0" {
        tokio::task::yield_now().await;
    }
    upgrading.abort();
    assert!(upgrading.await.unwrap_err().is_cancelled());
    crate::copies::until_nobody_is_there(&old.database).await;
    assert_eq!(old.contents("public"), before);
    old.upgrade().await;
}

#[tokio::test]
async fn an_old_database_is_neither_copied_nor_copied_into() {
    use membrane_postgres::transfer::{PostgresSink, PostgresSource};
    let old = Old::new();
    old.session("s", 1);
    let error = PostgresSource::open(&old.options()).await.unwrap_err();
    assert!(matches!(error, OpenError::OldSchema { .. }), "{error}");
    let error = PostgresSink::open(&old.options()).await.unwrap_err();
    assert!(matches!(error, OpenError::OldTables { .. }), "{error}");
    assert!(!PostgresStore::is_vacant(&old.options()).await.unwrap());
    assert!(PostgresStore::is_vacant(&crate::keep::options(database().url())).await.unwrap());
}
