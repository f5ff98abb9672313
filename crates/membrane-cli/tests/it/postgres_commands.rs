//! Every command on a PostgreSQL database: it does what it does with a file, or says what to use instead.

use std::fs;

use membrane_testservers::{Database, Postgres};
use serde_json::Value;

use crate::configuration::run;
use crate::tool::{Ran, Tool};

fn on(tool: &Tool, database: &Database, args: &[&str]) -> Ran {
    run(tool, &[("KGENTS_DATABASE_URL", &database.url())], args)
}

/// Runs what must succeed.
#[track_caller]
fn ok(tool: &Tool, database: &Database, args: &[&str]) -> String {
    let ran = on(tool, database, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.stdout
}

#[test]
fn a_keep_that_is_not_there_is_not_made_by_looking_for_it() {
    let tool = Tool::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    for args in [
        &["sessions"][..],
        &["stats"],
        &["check"],
        &["show", "s"],
        &["export", "--format", "kgents-v1", "a.db"],
    ] {
        let ran = on(&tool, &database, args);
        assert_eq!(ran.code, Some(3), "{args:?}: {ran:?}");
        ran.complains_of(&["there is no keep in", "membrane migrate"]);
    }
    assert_eq!(database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(), "0");
}

#[test]
fn counting_checking_exporting_and_importing_work_and_backups_name_postgresqls_own() {
    let tool = Tool::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let id = ok(&tool, &database, &["append", "--new", "--user", "hello \u{1F600}", "--assistant", "hi"]);
    let id = id.trim_end();
    let stats: Value = serde_json::from_str(&ok(&tool, &database, &["stats", "--json"])).unwrap();
    assert_eq!((&stats["sessions"], &stats["turns_stored"]), (&1.into(), &1.into()), "{stats}");
    assert!(stats["file"]["bytes"].as_u64().unwrap() > 0, "{stats}");
    let said = ok(&tool, &database, &["stats"]);
    assert!(said.contains("database") && !said.contains("main file"), "{said}");
    let said = ok(&tool, &database, &["check"]);
    assert!(said.contains("nothing contradicts: 1 session, 1 turn stored once each"), "{said}");
    // There and back through kgents' own layout.
    ok(&tool, &database, &["export", "--format", "kgents-v1", "old.db"]);
    let other = Postgres::shared().unwrap().create_database().unwrap();
    let said = ok(&tool, &other, &["import", "kgents", "old.db", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["format"], "v1", "{said}");
    let show = |database| ok(&tool, database, &["show", id, "--json"]);
    let turn =
        |text: String| serde_json::from_str::<Value>(&text).unwrap()["turns"][0]["user_message"].take();
    assert_eq!(turn(show(&database))["content"], turn(show(&other))["content"]);
    for (args, words) in [
        (&["backup"][..], &["pg_dump --format=custom"][..]),
        (&["restore", "old.db"], &["pg_restore --clean"]),
        (&["check", "--repair"], &["membrane check", "pg_restore"]),
    ] {
        let ran = on(&tool, &database, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        ran.complains_of(words);
    }
    // A contradiction is found, and what is said can be done.
    database.execute("UPDATE chat_sessions SET turn_count = 2").unwrap();
    let ran = on(&tool, &database, &["check"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains(id), "{ran:?}");
    ran.complains_of(&["finding", "pg_restore"]);
    assert!(!ran.stderr.contains("--repair"), "{ran:?}");
    assert!(fs::exists(tool.path("old.db")).unwrap());
}
