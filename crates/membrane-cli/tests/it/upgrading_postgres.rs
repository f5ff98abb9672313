//! kgents' V1 tables in a PostgreSQL database, by the real binary: told, refused, and killed on the way.

use std::process::Stdio;

use membrane_testservers::{Database, Postgres};
use serde_json::Value;

use crate::tool::{Ran, Tool};

fn old_database(n_turns: u32) -> Database {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    database
        .execute(&format!(
            "CREATE TABLE chat_sessions (id TEXT PRIMARY KEY, branch_name TEXT NOT NULL DEFAULT 'main', turn_count INTEGER,
                 created_at TIMESTAMP NOT NULL, last_active TIMESTAMP NOT NULL);
             CREATE TABLE chat_turns (id SERIAL PRIMARY KEY, session_id TEXT NOT NULL REFERENCES chat_sessions(id),
                 turn_number INTEGER NOT NULL, user_message TEXT NOT NULL, assistant_response TEXT NOT NULL,
                 started_at TIMESTAMP NOT NULL, completed_at TIMESTAMP NOT NULL);
             INSERT INTO chat_sessions VALUES ('s', 'main', {n_turns}, '2025-12-24 10:00', '2025-12-24 11:00');
             INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, started_at, completed_at)
                 SELECT 's', n, 'u' || n, 'a' || n, '2025-12-24 10:00', '2025-12-24 10:00' FROM generate_series(0, {n_turns} - 1) n"
        ))
        .unwrap();
    database
}

fn run(tool: &Tool, database: &Database, args: &[&str]) -> Ran {
    let mut command = tool.bare();
    command.args(["--database-url", &database.url()]).args(args).stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
fn migrate_says_what_became_of_old_tables_and_where_they_are_kept() {
    let (tool, database) = (Tool::new(), old_database(3));
    let status = run(&tool, &database, &["migrate", "--status"]);
    assert!(status.stdout.starts_with("1001  keep  not applied\n"), "{status:?}");
    let copied = run(&tool, &database, &["migrate", "--naive-timezone", "+02:00"]);
    assert_eq!((copied.code, copied.stderr.as_str()), (Some(0), ""), "{copied:?}");
    let first = "upgraded kgents' V1 tables; they are kept as they were in the schema membrane_v1_backup_";
    for words in
        [first, "chat_turns: 3 rows = 3 read + 0 skipped\n", "sessions: 1 created", "1001  keep  applied"]
    {
        assert!(copied.stdout.contains(words), "{words:?} is not in {copied:?}");
    }
    let shown = run(&tool, &database, &["show", "s", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["created_at"], "2025-12-24T08:00:00.000000Z");
    assert_eq!(shown["turns"][2]["user_message"]["content"], "u2");
    let again = run(&tool, &database, &["migrate"]);
    assert!(again.code == Some(0) && !again.stdout.contains("upgraded"), "{again:?}");
}

#[test]
fn a_check_brings_nothing_up_to_date() {
    let (tool, old) = (Tool::new(), old_database(3));
    let lacking = Postgres::shared().unwrap().create_database().unwrap();
    assert_eq!(run(&tool, &lacking, &["migrate"]).code, Some(0));
    lacking.execute("DELETE FROM schema_version WHERE version = 1011").unwrap();
    for database in [&old, &lacking] {
        let look = || database.execute("SELECT oid, relname FROM pg_class ORDER BY oid").unwrap();
        let before = look();
        let ran = run(&tool, database, &["check"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.complains_of(&["holds no keep of this version", "membrane migrate"]);
        assert_eq!(look(), before);
    }
}

#[test]
fn any_other_command_upgrades_and_says_so_and_what_is_in_the_way_is_named() {
    let (tool, database) = (Tool::new(), old_database(2));
    database.execute("CREATE VIEW mine AS SELECT * FROM chat_turns").unwrap();
    let refused = run(&tool, &database, &["sessions"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    refused.complains_of(&["view mine reads chat_turns", "membrane migrate --force"]);
    let forced = run(&tool, &database, &["migrate", "--force", "--json"]);
    let document: Value = serde_json::from_str(&forced.stdout).unwrap();
    assert!(document["upgrade"]["forced"].as_str().unwrap().contains("mine"), "{document}");
    let schema = document["upgrade"]["backup"].as_str().unwrap();
    assert_eq!(database.execute(&format!("SELECT count(*) FROM {schema}.chat_turns")).unwrap(), "2");

    let database = old_database(2);
    let listed = run(&tool, &database, &["sessions"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.stderr.starts_with("upgraded kgents' V1 tables; "), "{listed:?}");
    assert!(listed.stdout.starts_with("s  "), "{listed:?}");
}

#[test]
fn a_process_killed_in_the_middle_leaves_the_old_or_the_new() {
    let tool = Tool::new();
    let mut n_old = 0;
    for part in 0..6 {
        let database = old_database(10_000);
        let mut command = tool.bare();
        command
            .args(["--database-url", &database.url(), "migrate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // How far it is, its statements tell: each that writes turns begins later than the one before.
        let sql = "SELECT max(query_start) FROM pg_stat_activity WHERE datname = current_database() \
                   AND query LIKE '%INSERT INTO turns%' AND pid <> pg_backend_pid()";
        let (mut seen, mut last) = (0, String::new());
        while seen < part * 2 && child.try_wait().unwrap().is_none() {
            let now = database.execute(sql).unwrap();
            seen += i32::from(now != last);
            last = now;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        while database.execute(gone).unwrap() != "0" {
            std::thread::yield_now();
        }
        if database.execute("SELECT to_regclass('segments') IS NULL").unwrap() == "t" {
            n_old += 1;
            assert_eq!(database.execute("SELECT count(*) FROM chat_turns").unwrap(), "10000");
            assert_eq!(
                database.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'membrane%'").unwrap(),
                "0"
            );
        }
        for command in ["migrate", "check"] {
            let ran = run(&tool, &database, &[command]);
            assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        }
        assert_eq!(database.execute("SELECT count(*) FROM turns").unwrap(), "10000");
        assert_eq!(
            database.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'membrane%'").unwrap(),
            "1"
        );
    }
    println!("killed upgrades: {n_old} of 6 left the old tables");
    assert!(n_old > 0, "none was killed on the way");
}
