//! What the process ends with, and what it says then.

use std::process::Stdio;

use crate::tool::{Ran, Tool};

#[test]
fn a_value_that_cannot_be_accepted_is_2() {
    let tool = Tool::new();
    let id = &tool.session_of(3);
    tool.fails(2, &["fork", id, "--at", "4"], &["fork point 4", "3 turns"]);
    tool.fails(2, &["fork", id, "--at", "-1"], &["-1", "3 turns"]);
    tool.fails(2, &["rewind", id, "4"], &["4 turns", "3 turns"]);
    tool.fails(2, &["rewind", id, "0"], &["\"0\""]);
    tool.fails(2, &["feedback", id, "3", "positive"], &["no turn 3"]);
    tool.fails(2, &["feedback", id, "-1", "positive"], &["no turn -1"]);
    tool.fails(2, &["merge", id, id], &["merged with itself"]);
    tool.fails(2, &["merge", id, id, "--pick", "nonsense"], &["nonsense", "ID:N"]);
    tool.fails(2, &["sessions", "--cursor", "nonsense"], &["nonsense", "cursor"]);
    tool.fails(2, &["show", ""], &["session id is empty"]);
    tool.fails(2, &["append", id], &["--user and --assistant"]);
    let other = &tool.session_of(1);
    tool.fails(2, &["merge", id, other, "--strategy", "manual"], &["manual"]);
    tool.fails(2, &["merge", id, other, "--strategy", "manual", "--pick", "elsewhere:0"], &["elsewhere"]);
    let name = "n".repeat(65_537);
    tool.fails(2, &["fork", id, "--branch", &name], &["branch name", "65537", "65536"]);
}

#[test]
fn an_argument_that_is_no_argument_is_2_too() {
    let tool = Tool::new();
    for args in [
        &["frobnicate"][..],
        &[],
        &["show"],
        &["append", "--user", "a", "--assistant", "b"],
        &["append", "x", "--new"],
        &["append", "x", "--user", "only"],
        &["append", "x", "--project", "p", "--stdin"],
        &["sessions", "--limit", "0"],
        &["rewind", "x", "-1"],
        &["feedback", "x", "0", "meh"],
        &["merge", "a", "b", "--strategy", "odd"],
    ] {
        let ran = tool.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(!ran.stderr.is_empty() && !tool.database().exists(), "{ran:?}");
    }
}

#[test]
fn what_is_not_there_is_3() {
    let tool = Tool::new();
    let id = &tool.session_of(1);
    let nope = "session nope not found; list yours with \"membrane sessions\"";
    for args in [
        &["show", "nope"][..],
        &["append", "nope", "--user", "a", "--assistant", "b"],
        &["append", "nope", "--stdin"],
        &["fork", "nope"],
        &["rewind", "nope", "1"],
        &["merge", id, "nope"],
        &["merge", "nope", id],
        &["checkpoint", "nope"],
        &["checkpoint", "nope", "--list"],
        &["restore", "nope", "ckpt"],
        &["diff", id, "nope"],
        &["branches", "nope"],
        &["feedback", "nope", "0", "positive"],
        &["delete", "nope"],
    ] {
        tool.fails(3, args, &[nope]);
    }
    tool.fails(3, &["restore", id, "ckpt-nope"], &["checkpoint ckpt-nope not found", "--list"]);
    tool.fails(3, &["checkpoint", id, "--delete", "ckpt-nope"], &["ckpt-nope"]);
}

#[test]
fn a_mistyped_database_is_3_and_does_not_become_a_file() {
    let tool = Tool::new();
    let name = tool.database().display().to_string();
    for args in
        [&["sessions"][..], &["show", "x"], &["append", "x", "--user", "a", "--assistant", "b"], &["check"]]
    {
        tool.fails(3, args, &[&name, "append --new", "--database-url"]);
    }
    assert!(!tool.database().exists());
    assert!(tool.ok(&["migrate", "--status"]).contains("not applied"));
    assert!(!tool.database().exists(), "looking changes nothing");
    assert!(!tool.ok(&["migrate"]).contains("not applied"));
    assert_eq!(tool.ok(&["sessions"]), "");
}

#[test]
fn another_version_is_4() {
    let tool = Tool::new();
    let id = &tool.session_of(2);
    let version = tool.json(&["show", id])["version"].as_u64().unwrap();
    tool.fails(4, &["rewind", id, "1", "--expect-version", "99"], &["version", "99", &version.to_string()]);
    tool.ok(&["rewind", id, "1", "--expect-version", &version.to_string()]);
}

#[test]
fn a_file_that_is_no_keep_is_1_and_stays_as_it_is() {
    let tool = Tool::new();
    let text = "this is no database, but it is somebody's work\n".repeat(100);
    std::fs::write(tool.database(), &text).unwrap();
    tool.fails(1, &["sessions"], &["keep.db"]);
    tool.fails(1, &["append", "--new"], &["keep.db"]);
    assert_eq!(std::fs::read_to_string(tool.database()).unwrap(), text);
}

// The device that is always full is one of Linux.
#[cfg(target_os = "linux")]
#[test]
fn output_that_finds_no_room_is_5() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = tool.command(&["show", &id]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let ran = Ran::from(ran);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    ran.complains_of(&["cannot print"]);
}

#[test]
fn a_reader_who_leaves_ends_it_quietly() {
    let tool = Tool::new();
    let line = format!("{{\"user\":\"{}\",\"assistant\":\"\"}}\n", "x".repeat(1_000_000));
    let ran = tool.feed(&["append", "--new", "--stdin"], line.as_bytes());
    let id = ran.stdout.trim_end();
    for args in [&["show", id][..], &["show", id, "--json"], &["completions", "bash"]] {
        let mut child = tool.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn help_names_every_code_and_variable() {
    let tool = Tool::new();
    let help = tool.ok(&["--help"]);
    for word in [
        "KGENTS_DATABASE_URL",
        "KGENTS_POSTGRES_URL",
        "infrastructure.yaml",
        "XDG_DATA_HOME",
        "sqlite+aiosqlite:///",
        "postgresql://",
        "postgresql+asyncpg:",
        "memory:",
    ] {
        assert!(help.contains(word), "{word}");
    }
    for code in 0..=5 {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {code}  "))), "{code}");
    }
    let commands =
        ["sessions", "show", "append", "fork", "rewind", "merge", "checkpoint", "restore", "diff", "config"];
    for command in commands {
        assert!(tool.ok(&[command, "--help"]).contains("Example"), "{command} shows no example");
    }
}
