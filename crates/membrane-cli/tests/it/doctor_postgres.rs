//! `doctor` on PostgreSQL databases: what it prints, what it ends with, and that it tells no password.
//!
//! What it finds in which trouble is `membrane-postgres`'s to test.

use membrane_testservers::{Postgres, PostgresOptions};
use serde_json::{Value, json};

use crate::configuration::run;
use crate::tool::{Ran, Tool};

const ADDR: [&str; 2] = ["--addr", "127.0.0.1:1"];

/// Runs the doctor on a database, with these arguments.
fn doctor(tool: &Tool, url: &str, args: &[&str]) -> Ran {
    run(tool, &[("KGENTS_DATABASE_URL", url)], &[&["doctor"], &ADDR[..], args].concat())
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// A new session's id, with one turn.
fn session(tool: &Tool, url: &str) -> String {
    let args = ["append", "--new", "--user", "a", "--assistant", "b"];
    let ran = run(tool, &[("KGENTS_DATABASE_URL", url)], &args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

#[test]
fn a_sound_database_has_no_problem_and_its_password_stays_unsaid() {
    let tool = Tool::new();
    let server = Postgres::start_with(&PostgresOptions::default().durable().password("hush")).unwrap();
    let database = server.create_database().unwrap();
    let missing = doctor(&tool, &database.url(), &[]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(
        missing.stdout.contains("no keep was made") && missing.stdout.contains("membrane migrate"),
        "{missing:?}"
    );
    let id = session(&tool, &database.url());
    let ran = doctor(&tool, &database.url(), &["--deep", "--session", &id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in
        ["sessions: 1, turns: 1 stored once each", "no row contradicts", "is in this database, with 1 turns"]
    {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
    assert!(ran.stdout.lines().last().unwrap().starts_with("no problem"), "{ran:?}");
    let ran = doctor(&tool, &database.url(), &["--json"]);
    let found = document(&ran);
    assert_eq!((ran.code, &found["ok"]), (Some(0), &json!(true)));
    for check in found["checks"].as_array().unwrap() {
        let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["name", "status", "found", "remedy"]);
    }
    let wrong = doctor(&tool, &database.url().replace("hush", "psst"), &["--json"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stdout.contains("\"login\"") && wrong.stdout.contains("the password"), "{wrong:?}");
    assert!(
        ![missing, ran, wrong]
            .iter()
            .any(|ran| format!("{ran:?}").contains("hush") || format!("{ran:?}").contains("psst"))
    );
}

#[test]
fn a_database_that_somebody_holds_ends_it_with_5() {
    let tool = Tool::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    session(&tool, &database.url());
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let ran = std::thread::scope(|scope| {
        // Both go as soon as what they hold or wait for is cut off below.
        let hold = || database.execute("BEGIN; LOCK TABLE turns; SELECT pg_sleep(600)");
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'turns'::regclass";
        scope.spawn(hold);
        while database.execute(held).unwrap() == "0" {
            std::thread::yield_now();
        }
        scope.spawn(|| database.execute("SELECT count(*) FROM turns"));
        while database.execute(waits).unwrap() == "0" {
            std::thread::yield_now();
        }
        let environment =
            [("KGENTS_DATABASE_URL", database.url()), ("KGENTS_CHAT_POSTGRES_TIMEOUT_MS", "500".to_owned())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let ran = run(&tool, &environment, &["doctor", ADDR[0], ADDR[1]]);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.execute(end).unwrap();
        ran
    });
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stdout.contains("wait for it") && ran.stdout.contains("pg_terminate_backend("), "{ran:?}");
    ran.complains_of(&["problem"]);
}

#[test]
fn a_session_in_another_database_is_found_there_whichever_kind_it_is() {
    let tool = Tool::new();
    let shared = Postgres::shared().unwrap();
    let (one, other) = (shared.create_database().unwrap(), shared.create_database().unwrap());
    session(&tool, &one.url());
    let id = session(&tool, &other.url());
    let environment = [("KGENTS_DATABASE_URL", one.url()), ("KGENTS_POSTGRES_URL", other.url())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ran = run(&tool, &environment, &["doctor", "--json", "--session", &id]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found = document(&ran);
    let told = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "session").unwrap();
    assert!(told["found"].as_str().unwrap().contains("KGENTS_POSTGRES_URL"), "{told}");
    assert!(told["remedy"].as_str().unwrap().contains(&format!("{} show {id}", other.name())), "{told}");
    // From a file, too.
    let ran = run(&tool, &environment[1..], &["--database-url", "empty.db", "migrate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&tool, &environment[1..], &["--database-url", "empty.db", "doctor", "--session", &id]);
    assert!(ran.stdout.contains("KGENTS_POSTGRES_URL") && ran.stdout.contains(other.name()), "{ran:?}");
}
