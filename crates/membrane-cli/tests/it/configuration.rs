//! Where values come from, and how `membrane config` shows it.

use std::fs;

use serde_json::Value;

use crate::tool::{Ran, Tool};

/// A folder with an `infrastructure.yaml` in the place where it is looked for.
pub(crate) fn tool_with(yaml: &str) -> Tool {
    let tool = Tool::new();
    fs::create_dir_all(tool.path("xdg/kgents")).unwrap();
    fs::write(tool.path("xdg/kgents/infrastructure.yaml"), yaml).unwrap();
    tool
}

/// Runs with this environment, and with the folder for configuration and the home folder in the tool's.
pub(crate) fn run(tool: &Tool, environment: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = tool.bare();
    command.env("XDG_CONFIG_HOME", tool.path("xdg")).env("HOME", tool.path("home"));
    command.envs(environment.iter().copied()).args(args).output().unwrap().into()
}

/// What is in force: value and origin of this key.
#[track_caller]
pub(crate) fn in_force(
    tool: &Tool,
    environment: &[(&str, &str)],
    args: &[&str],
    key: &str,
) -> (Value, String) {
    let ran = run(tool, environment, &[&["config", "--json"], args].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let mut all: Value = serde_json::from_str(&ran.stdout).unwrap();
    let origin = all[key]["origin"].as_str().unwrap().to_owned();
    (all[key]["value"].take(), origin)
}

#[test]
fn the_file_names_the_database_and_the_settings_that_commands_use() {
    let tool = tool_with(
        "providers:\n  relational:\n    type: sqlite\n    connection: ${PLACE}/in-file.db\n\
         chat:\n  limits:\n    max_message_bytes: 4\n",
    );
    let place = tool.path("deep").display().to_string();
    let environment = [("PLACE", place.as_str())];
    let append = |text| ["append", "--new", "--user", text, "--assistant", "b"];
    let ran = run(&tool, &environment, &append("1234"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(tool.path("deep/in-file.db").exists());
    let ran = run(&tool, &environment, &append("12345"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.complains_of(&["user message", "5", "4"]);
    let raised = [environment[0], ("KGENTS_CHAT_LIMITS_MAX_MESSAGE_BYTES", "5")];
    assert_eq!(run(&tool, &raised, &append("12345")).code, Some(0), "the environment wins");
    let ran = run(&tool, &[], &["sessions"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.complains_of(&["infrastructure.yaml:4", "PLACE is not set"]);
    let ran = run(&tool, &[], &["completions", "bash"]);
    assert_eq!(ran.code, Some(0), "what needs no setting reads none: {ran:?}");
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file() {
    let tool = tool_with("chat:\n  server:\n    addr: 127.0.0.3:3\n");
    let environment = [("KGENTS_CHAT_SERVER_ADDR", "127.0.0.2:2")];
    let read = |environment: &[(&str, &str)], args: &[&str]| {
        let (value, origin) = in_force(&tool, environment, args, "chat.server.addr");
        (value.as_str().unwrap().to_owned(), origin)
    };
    let flag = ["--addr", "127.0.0.1:1"];
    assert_eq!(read(&environment, &flag), ("127.0.0.1:1".to_owned(), "flag --addr".to_owned()));
    let by_environment = ("127.0.0.2:2".to_owned(), "environment KGENTS_CHAT_SERVER_ADDR".to_owned());
    assert_eq!(read(&environment, &[]), by_environment);
    let (value, origin) = read(&[], &[]);
    assert_eq!(value, "127.0.0.3:3");
    let path = tool.path("xdg/kgents/infrastructure.yaml").display().to_string();
    assert_eq!(origin, format!("file {path}:3"));
}

#[test]
fn the_file_is_found_below_the_home_folder_too() {
    let tool = tool_with("profile: there\n");
    fs::create_dir_all(tool.path("home/.config/kgents")).unwrap();
    fs::write(tool.path("home/.config/kgents/infrastructure.yaml"), "profile: here\n").unwrap();
    let relative = [("XDG_CONFIG_HOME", "xdg")];
    assert_eq!(in_force(&tool, &relative, &[], "profile").0, "here", "a relative folder counts as not set");
    assert_eq!(in_force(&tool, &[], &[], "profile").0, "there");
}

#[test]
fn a_mistyped_key_or_variable_stops_every_command_and_names_the_nearest() {
    let tool = tool_with("chat:\n  server:\n    adr: 127.0.0.1:1\n");
    for args in [&["config"][..], &["sessions"], &["append", "--new"], &["migrate", "--status"]] {
        let ran = run(&tool, &[], args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        ran.complains_of(&["infrastructure.yaml:3", "chat.server.adr", "did you mean chat.server.addr?"]);
    }
    assert!(!tool.path("home").exists(), "nothing was made");
    let tool = tool_with("");
    let ran = run(&tool, &[("KGENTS_CHAT_LOG_LEVL", "info")], &["sessions"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.complains_of(&["KGENTS_CHAT_LOG_LEVL", "did you mean KGENTS_CHAT_LOG_LEVEL?"]);
}

#[test]
fn a_malformed_file_stops_with_file_and_line_and_repeats_nothing_of_it() {
    let tool = tool_with("a: 1\npassword: 'secret\n");
    let ran = run(&tool, &[], &["config", "--json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert!(error.to_string().contains("infrastructure.yaml:2"), "{error}");
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
}

#[test]
fn config_shows_every_key_with_its_origin_and_no_password() {
    let tool = tool_with("profile: work\n");
    let url = "sqlite://me:secret@host/keep.db";
    let ran = run(&tool, &[("KGENTS_DATABASE_URL", url)], &["config"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stdout.contains("secret") && !ran.stderr.contains("secret"), "{ran:?}");
    let cells = |key: &str| -> Vec<String> {
        let line = ran.stdout.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
        line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    assert_eq!(cells("database"), ["database", "me:***@host/keep.db", "environment KGENTS_DATABASE_URL"]);
    assert_eq!(cells("chat.server.drain_ms"), ["chat.server.drain_ms", "30000", "default"]);
    assert_eq!(cells("chat.model.name"), ["chat.model.name", "-", "default"]);
    assert!(cells("profile")[2].starts_with("file "), "{ran:?}");
    assert!(ran.stderr.contains("the file is") && ran.stderr.contains("infrastructure.yaml"), "{ran:?}");
    let ran = run(&tool, &[("KGENTS_DATABASE_URL", url)], &["sessions"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    ran.complains_of(&["there is no database at me:***@host/keep.db"]);
    let (value, origin) = in_force(&tool, &[("KGENTS_DATABASE_URL", url)], &[], "database");
    assert_eq!((value, origin.as_str()), ("me:***@host/keep.db".into(), "environment KGENTS_DATABASE_URL"));
}

#[test]
fn config_makes_no_database_and_says_when_there_is_no_file() {
    let tool = Tool::new();
    let ran = run(&tool, &[], &["config"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("there is no file at"), "{ran:?}");
    assert!(!tool.path("home").exists());
    let (value, origin) = in_force(&tool, &[], &[], "chat.server.max_streams");
    assert_eq!((value, origin.as_str()), (10_000.into(), "default"), "a number is a number");
}

#[test]
fn config_lists_the_keys_that_there_are() {
    let tool = Tool::new();
    let text = tool.ok(&["config", "--keys"]);
    assert!(text.contains("chat.log.level  KGENTS_CHAT_LOG_LEVEL\n"), "{text}");
    let keys = tool.json(&["config", "--keys"]);
    assert_eq!(keys["chat.echo.piece_chars"]["default"], 16);
    assert_eq!(keys["chat.echo.piece_chars"]["variable"], "KGENTS_CHAT_ECHO_PIECE_CHARS");
    assert!(keys.as_object().unwrap().keys().all(|key| text.contains(key)));
}
