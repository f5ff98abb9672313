//! `doctor` and `check --repair` as commands: what they print, what they end with, and what they leave alone.

use serde_json::{Value, json};

use crate::tool::{Ran, Tool};

fn check<'a>(document: &'a Value, name: &str) -> Vec<&'a Value> {
    document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name).collect()
}

/// Runs it with `--json`, whatever it ends with.
fn document(tool: &Tool, args: &[&str]) -> (Option<i32>, Value) {
    let ran = tool.run(&[args, &["--json"]].concat());
    let document = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran.code, document)
}

#[test]
fn a_keep_that_is_not_there_is_a_problem_and_is_not_made() {
    let tool = Tool::new();
    let ran = tool.run(&["doctor"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("not initialised") && ran.stdout.contains("membrane migrate"), "{ran:?}");
    ran.complains_of(&["1 problem"]);
    assert_eq!(std::fs::read_dir(tool.path("")).unwrap().count(), 0);
}

#[test]
fn a_keep_in_order_has_no_problem() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    let addr = ["--addr", "127.0.0.1:1"];
    let printed = tool.ok(&[&["doctor", "--deep", "--session", &id][..], &addr].concat());
    assert!(printed.ends_with("no problem\n"), "{printed}");
    assert!(printed.lines().all(|line| line.starts_with("ok") || line == "no problem"), "{printed}");
    let (code, document) = document(&tool, &[&["doctor"][..], &addr].concat());
    assert_eq!((code, &document["ok"]), (Some(0), &json!(true)));
    for check in document["checks"].as_array().unwrap() {
        let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["name", "status", "found", "remedy"]);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_and_the_rest_is_looked_at() {
    let tool = Tool::new();
    tool.session_of(1);
    let mut command = tool.command(&["doctor", "--json"]);
    let ran: Ran = command.env("KGENTS_CHAT_SERVER_ADR", "x").output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let configuration = check(&document, "configuration")[0];
    assert_eq!(configuration["status"], "problem");
    assert!(configuration["found"].as_str().unwrap().contains("KGENTS_CHAT_SERVER_ADDR"), "{configuration}");
    assert_eq!(check(&document, "sessions")[0]["status"], "ok", "{document}");
}

#[test]
fn a_session_in_another_database_is_found_there() {
    let tool = Tool::new();
    tool.session_of(1);
    let mut append = tool.bare();
    append.args(["--database-url", "other.db", "append", "--new", "--user", "a", "--assistant", "b"]);
    let id = Ran::from(append.output().unwrap()).stdout;
    let id = id.trim_end();
    let mut command = tool.command(&["doctor", "--json", "--session", id]);
    let ran: Ran = command.env("KGENTS_DATABASE_URL", "other.db").output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let session = check(&document, "session")[0];
    assert!(session["found"].as_str().unwrap().contains("KGENTS_DATABASE_URL"), "{session}");
    assert_eq!(session["remedy"], format!("membrane --database-url other.db show {id}"));
}

#[test]
fn a_deleted_session_is_told_as_deleted() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    let fork = tool.id(&["fork", &id]);
    tool.ok(&["delete", &fork]);
    let (code, document) = document(&tool, &["doctor", "--session", &fork]);
    assert_eq!(code, Some(1));
    assert!(
        check(&document, "session")[0]["found"].as_str().unwrap().contains("was deleted at"),
        "{document}"
    );
}

#[test]
fn damage_is_found_by_check_and_put_right_by_repair() {
    let tool = Tool::new();
    tool.session_of(3);
    let clean = document(&tool, &["check"]).1;
    assert_eq!((&clean["ok"], &clean["findings"]), (&json!(true), &json!([])));
    assert_eq!(clean["checks"].as_array().unwrap().len(), 16);
    let repaired = document(&tool, &["check", "--repair"]);
    assert_eq!(
        (repaired.0, &repaired.1["copy"], &repaired.1["repaired"]),
        (Some(0), &Value::Null, &json!([]))
    );
    assert_eq!(std::fs::read_dir(tool.path("")).unwrap().count(), 1, "a copy only when something is done");
    // A field of the row: its text stands in the file as it is, and the same length keeps the page whole.
    let bytes = std::fs::read(tool.database()).unwrap();
    let broken = replaced(&bytes, b"\"tools_succeeded\":3", b"\"tools_succeeded\":7");
    std::fs::write(tool.database(), broken).unwrap();
    tool.fails(1, &["check"], &["1 finding", "membrane check --repair"]);
    let alone = tool.run(&["check", "--prune"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--repair"), "{alone:?}");
    let (code, document) = document(&tool, &["check", "--repair"]);
    assert_eq!((code, &document["ok"]), (Some(0), &json!(true)), "{document}");
    assert_eq!(document["repaired"].as_array().unwrap().len(), 1, "{document}");
    assert!(std::path::Path::new(document["copy"].as_str().unwrap()).is_file(), "{document}");
    assert!(tool.ok(&["check"]).ends_with("nothing contradicts: 1 session, 3 turns stored once each\n"));
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}
