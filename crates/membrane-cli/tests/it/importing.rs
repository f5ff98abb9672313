//! What kgents left, taken in by the binary.

use std::path::PathBuf;

use membrane_crashtest::universe::UniverseFile;
use serde_json::{Value, json};

use crate::tool::{Ran, Tool};

/// A conversation with as many turns as there are words.
fn session(id: &str, parent: Option<&str>, words: &[&str]) -> Value {
    let message = |role: &str, content: &str| json!({"role": role, "content": content, "mentions": []});
    let turns: Vec<Value> = words
        .iter()
        .zip(1..)
        .map(|(word, number)| {
            json!({
                "turn_number": number, "user_message": message("user", word),
                "assistant_response": message("assistant", "yes"), "tools_used": [], "portal_emissions": [],
                "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.0},
                "confidence": 0.5, "started_at": "2025-07-01T12:00:00", "completed_at": "2025-07-01T12:00:01",
            })
        })
        .collect();
    json!({
        "id": id, "project_id": "p", "branch_name": "main", "parent_id": parent,
        "fork_point": parent.map(|_| words.len()), "turns": turns, "context_size": 9,
        "evidence": {"prior_alpha": 1.0, "prior_beta": 1.0}, "created_at": "2025-07-01T12:00:00",
        "last_active": "2025-07-01T12:00:01", "is_merged": false, "merged_into": null,
    })
}

fn turn_document(session: &str, number: usize, word: &str) -> String {
    json!({
        "turn_id": format!("{session}:{number}"), "session_id": session, "turn_number": number,
        "user_message": word, "assistant_response": "yes", "user_linearity": "preserved",
        "assistant_linearity": "preserved", "tools_json": null, "evidence_delta_json": null, "confidence": null,
        "started_at": format!("2025-07-01T12:00:{:02}.5", number % 60), "completed_at": "2025-07-01T12:30:00",
        "_schema": "chat.turn", "_version": 1,
    })
    .to_string()
}

fn session_document(session: &str, parent: Option<&str>, n_turns: usize) -> String {
    json!({
        "session_id": session, "project_id": null, "parent_id": parent, "fork_point": parent.map(|_| n_turns),
        "branch_name": "main", "state": "idle", "turn_count": n_turns, "context_size": 0,
        "evidence_json": json!({"prior_alpha": 1 + n_turns, "prior_beta": 1}).to_string(), "metadata_json": "{}",
        "is_merged": false, "merged_into": null, "created_at": "2025-07-01T12:00:00",
        "last_active": "2025-07-01T12:30:00", "_schema": "chat.session", "_version": 1,
    })
    .to_string()
}

/// A file of kgents': a session that was saved after each of `n` turns, and a fork of all of it.
fn universe(tool: &Tool, n: usize) -> (PathBuf, UniverseFile) {
    let path = tool.path("default.db.db");
    let mut file = UniverseFile::create(&path).unwrap();
    let turns = |id: &str, n| (0..n).map(|at| turn_document(id, at, &format!("u{at}"))).collect::<Vec<_>>();
    for saved in 1..=n {
        file.add("chat.session", &[session_document("s", None, saved)]).unwrap();
        file.add("chat.turn", &turns("s", saved)).unwrap();
    }
    file.add("chat.session", &[session_document("f", Some("s"), n)]).unwrap();
    file.add("chat.turn", &turns("f", n)).unwrap();
    file.add("witness.mark", &["{}".to_owned()]).unwrap();
    (path, file)
}

fn import(tool: &Tool, path: &str) -> Value {
    tool.json(&["import", "kgents", path, "--naive-timezone", "UTC"])
}

#[test]
fn a_universe_file_is_taken_in_without_copies_and_again_without_change() {
    let tool = Tool::new();
    let (path, _still_open) = universe(&tool, 6);
    let path = path.to_str().unwrap();
    let report = import(&tool, path);
    assert_eq!(report["tables"]["chat.turn"], json!({"total": 27, "read": 12, "skipped": 15}));
    assert_eq!(report["tables"]["chat.session"], json!({"total": 7, "read": 2, "skipped": 5}));
    assert_eq!(report["sessions"], json!({"created": 2, "extended": 0, "unchanged": 0}));
    assert_eq!(report["turns"], json!({"written": 6, "shared": 6}));
    assert_eq!((&report["format"], &report["other_rows"]), (&json!("universe"), &json!(1)));
    assert_eq!(report["oddities"], json!({"duplicate": 20}));
    let words = ["u0", "u1", "u2", "u3", "u4", "u5"];
    assert_eq!(tool.words("s"), words);
    assert_eq!(tool.words("f"), words);
    let kept = tool.json(&["show", "s"]);
    assert_eq!(kept["turns"][1]["started_at"], json!("2025-07-01T12:00:01.500000Z"));
    assert_eq!(kept["evidence"]["prior_alpha"], json!(7));
    let again = import(&tool, path);
    assert_eq!(again["sessions"], json!({"created": 0, "extended": 0, "unchanged": 2}));
    assert_eq!((&again["turns"]["written"], &again["tables"]), (&json!(0), &report["tables"]));
    assert_eq!(tool.json(&["show", "s"]), kept);
    tool.ok(&["check"]);
}

#[test]
fn what_kgents_added_since_the_last_import_is_added() {
    let tool = Tool::new();
    let (path, mut file) = universe(&tool, 3);
    import(&tool, path.to_str().unwrap());
    file.add("chat.session", &[session_document("s", None, 4)]).unwrap();
    file.add("chat.turn", &[turn_document("s", 3, "new")]).unwrap();
    let report = import(&tool, path.to_str().unwrap());
    assert_eq!(report["sessions"], json!({"created": 0, "extended": 1, "unchanged": 1}));
    assert_eq!(tool.words("s"), ["u0", "u1", "u2", "new"]);
    assert_eq!(tool.words("f").len(), 3);
}

#[test]
fn the_report_for_people_adds_rows_up_and_names_what_is_odd() {
    let tool = Tool::new();
    let (path, mut file) = universe(&tool, 2);
    file.add("chat.turn", &[turn_document("gone", 0, "orphan"), "{".to_owned()]).unwrap();
    let printed = tool.ok(&["import", "kgents", path.to_str().unwrap()]);
    for line in [
        "chat.turn: 7 rows = 4 read + 3 skipped",
        "sessions: 2 created, 0 extended, 0 unchanged",
        "written: 2 turns, 0 checkpoints, 0 crystals",
        "shared by forks: 2 turns",
        "orphan: 1",
        "bad_json: 1",
        "kept aside, word for word: 2 old values, in the table legacy_rows",
        "rows of other schemas, which are not the chat's: 1",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} is not in {printed}");
    }
    assert!(printed.contains("  chat.turn, id \"0000"), "{printed}");
}

#[test]
fn json_of_the_router_comes_from_a_file_or_from_standard_input() {
    let tool = Tool::new();
    let text =
        json!([session("f", Some("s"), &["a", "b"]), session("s", None, &["a", "b", "c"])]).to_string();
    std::fs::write(tool.path("sessions.json"), &text).unwrap();
    let report = import(&tool, tool.path("sessions.json").to_str().unwrap());
    assert_eq!(report["tables"]["turns"], json!({"total": 5, "read": 5, "skipped": 0}));
    assert_eq!(report["format"], json!("json"));
    assert_eq!((tool.words("s").join(""), tool.words("f").join("")), ("abc".into(), "ab".into()));
    let ran = tool.feed(&["import", "kgents", "-", "--json"], text.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let again: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(again["tables"], report["tables"]);
}

#[test]
fn times_without_a_zone_are_read_in_the_one_that_is_named() {
    let text = session("s", None, &["a"]).to_string();
    for (zone, hour) in [("Europe/Berlin", "10"), ("+02:00", "10"), ("UTC", "12"), ("America/New_York", "16")]
    {
        let tool = Tool::new();
        let ran = tool.feed(&["import", "kgents", "-", "--naive-timezone", zone], text.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let created = tool.json(&["show", "s"])["created_at"].clone();
        assert_eq!(created, json!(format!("2025-07-01T{hour}:00:00.000000Z")), "{zone}");
    }
    let tool = Tool::new();
    std::fs::write(tool.path("s.json"), &text).unwrap();
    let ran = tool.command(&["import", "kgents", "s.json"]).env("TZ", "Asia/Tokyo").output().unwrap();
    assert_eq!(Ran::from(ran).code, Some(0));
    assert_eq!(tool.json(&["show", "s"])["created_at"], json!("2025-07-01T03:00:00.000000Z"));
    tool.fails(
        2,
        &["import", "kgents", "s.json", "--naive-timezone", "Mars/Base"],
        &["Mars/Base", "Europe/Berlin"],
    );
}

#[test]
fn a_dry_run_tells_the_same_and_keeps_nothing() {
    let tool = Tool::new();
    let (path, _still_open) = universe(&tool, 3);
    let args = ["import", "kgents", path.to_str().unwrap(), "--naive-timezone", "UTC", "--dry-run"];
    let mut dry = tool.json(&args);
    assert!(!tool.database().exists(), "a dry run makes no keep");
    let mut real = import(&tool, path.to_str().unwrap());
    assert_eq!((dry["dry_run"].take(), real["dry_run"].take()), (json!(true), json!(false)));
    assert_eq!(dry, real);
}

#[test]
fn what_is_nothing_of_kgents_is_refused_and_makes_no_keep() {
    let tool = Tool::new();
    std::fs::write(tool.path("notes.txt"), "hello").unwrap();
    std::fs::write(tool.path("cut.json"), "[\n{\"id\": \"a\", \"turns\": [").unwrap();
    std::fs::write(tool.path("p.json"), "{\"sessions\": [{\"id\": \"a\", \"turn_count\": 3}], \"total\": 1}")
        .unwrap();
    let other = ["--database-url", "other.db"];
    assert_eq!(tool.bare().args(other).args(["append", "--new"]).output().unwrap().status.code(), Some(0));
    for (file, code, words) in [
        ("missing.db", 3, &["missing.db", "name another"][..]),
        (".", 2, &["folder"]),
        ("notes.txt", 2, &["notes.txt", "neither a database nor JSON"]),
        ("cut.json", 1, &["cut.json", "line 2, column", "fetch it again"]),
        ("p.json", 1, &["without its turns", "default.db.db"]),
        ("other.db", 2, &["other.db", "is a keep already"]),
    ] {
        tool.fails(code, &["import", "kgents", file], words);
        assert!(!tool.database().exists(), "{file} made a keep");
    }
    for nothing in [&b""[..], b" \n", b"\xef\xbb\xbf"] {
        let ran = tool.feed(&["import", "kgents", "-"], nothing);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        ran.complains_of(&["standard input is empty"]);
        assert!(!tool.database().exists(), "nothing made a keep");
    }
    assert_eq!(tool.feed(&["import", "kgents", "-"], b"[]").code, Some(0));
}

#[test]
fn a_file_with_kgents_chat_tables_is_taken_in_and_stays_what_it_is() {
    let tool = Tool::new();
    let id = tool.session_of(3);
    let fork = tool.id(&["fork", &id, "--at", "2"]);
    let path = tool.path("old.db");
    let old = path.to_str().unwrap();
    tool.ok(&["export", "--format", "kgents-v1", "--naive-timezone", "UTC", old]);
    let before = std::fs::read(&path).unwrap();
    let other = Tool::new();
    let report = import(&other, old);
    assert_eq!(report["format"], json!("v1"));
    assert_eq!(report["tables"]["chat_turns"], json!({"total": 5, "read": 5, "skipped": 0}));
    assert_eq!((other.words(&id).len(), other.words(&fork).len()), (3, 2));
    assert_eq!(import(&other, old)["sessions"], json!({"created": 0, "extended": 0, "unchanged": 2}));
    assert!(before == std::fs::read(&path).unwrap(), "the old file changed");
}

#[test]
fn documents_beside_which_a_keep_was_made_can_still_be_taken_in() {
    let tool = Tool::new();
    let (path, file) = universe(&tool, 3);
    drop(file);
    std::fs::rename(&path, tool.database()).unwrap();
    let migrated = tool.run(&["migrate"]);
    let word = format!("membrane import kgents {}", tool.database().display());
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    assert!(migrated.stderr.contains(&word), "{migrated:?}");
    let report = import(&tool, tool.database().to_str().unwrap());
    assert_eq!(report["sessions"], json!({"created": 2, "extended": 0, "unchanged": 0}));
    assert_eq!(tool.words("s"), ["u0", "u1", "u2"]);
    tool.ok(&["check"]);
}
