//! `copy`, by the real binary: told, refused, killed, and gone on with.

use std::fs;
use std::path::Path;

use membrane_crashtest::universe::UniverseFile;

use crate::tool::Tool;

fn copy<'a>(from: &'a str, to: &'a str) -> [&'a str; 5] {
    ["copy", "--from", from, "--to", to]
}

/// The binary without a database of its own.
fn run(tool: &Tool, args: &[&str]) -> crate::tool::Ran {
    tool.bare().env("HOME", tool.path("")).args(args).output().unwrap().into()
}

#[test]
fn a_copy_says_what_was_verified_and_reads_as_its_source_does() {
    let tool = Tool::new();
    let id = tool.session_of(3);
    let fork = tool.id(&["fork", &id]);
    let said = run(&tool, &copy("keep.db", "sqlite:new/copy.db"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    for words in
        ["copied: 2 sessions, 3 turns from keep.db to new/copy.db", "verified: ", "  turns: 3 rows\n"]
    {
        assert!(said.stdout.contains(words), "{words:?} is not in {said:?}");
    }
    for session in [&id, &fork] {
        assert_eq!(
            tool.json(&["show", session, "--database-url", "new/copy.db"]),
            tool.json(&["show", session])
        );
    }
    tool.ok(&["check", "--database-url", "new/copy.db"]);

    let back = run(&tool, &[&copy("new/copy.db", "back.db")[..], &["--json"]].concat());
    let document: serde_json::Value = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!((&document["from"], &document["to"]), (&"new/copy.db".into(), &"back.db".into()));
    assert_eq!((&document["resumed"], &document["outdated"]), (&false.into(), &0.into()));
    assert_eq!(document["rows"], document["written"]);
    for table in document["tables"].as_array().unwrap() {
        let line = format!("{}  {}: ", table["sha256"].as_str().unwrap(), table["name"].as_str().unwrap());
        assert!(table["rows"] == 0 || said.stdout.contains(&line), "{line} is not in {said:?}");
    }
}

#[test]
fn what_cannot_be_copied_is_refused_and_nothing_is_made_or_changed() {
    let tool = Tool::new();
    tool.session_of(2);
    let other = tool.path("other.db");
    tool.ok(&["append", "--new", "--user", "u", "--assistant", "a", "--database-url", "other.db"]);
    UniverseFile::create(&tool.path("universe.db")).unwrap();
    fs::write(tool.path("note.txt"), "a note, and no database at all").unwrap();
    let before = fs::read(&other).unwrap();
    for (from, to, code, words) in [
        ("keep.db", "./keep.db", 2, ["same database", "--to"]),
        ("keep.db", "other.db", 4, ["other.db: the target has rows already", "empty database"]),
        ("nowhere.db", "new.db", 3, ["no database at nowhere.db", "--from"]),
        ("universe.db", "new.db", 2, ["Universe", "membrane import kgents universe.db"]),
        ("note.txt", "new.db", 2, ["note.txt holds no keep", "--from"]),
        ("keep.db", "note.txt", 1, ["note.txt is not an SQLite database", "another file"]),
        ("memory:", "new.db", 2, ["--from: memory:", "name a file"]),
        ("keep.db", "memory:", 2, ["--to: memory:", "name a file"]),
        ("keep.db", "", 2, ["--to: ", "empty"]),
    ] {
        let ran = run(&tool, &copy(from, to));
        assert_eq!(ran.code, Some(code), "{from} {to}: {ran:?}");
        ran.complains_of(&words);
    }
    tool.fails(2, &copy("keep.db", "new.db"), &["leave out --database-url"]);
    assert_eq!(run(&tool, &["copy", "--from", "keep.db"]).code, Some(2));
    assert_eq!(fs::read(&other).unwrap(), before);
    assert!(!tool.path("new.db").exists() && !tool.path("nowhere.db").exists());
}

/// How much was written, in the file and in its log.
fn written(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    size(path) + size(&path.with_extension("db-wal"))
}

#[test]
fn a_copy_killed_at_any_moment_is_no_keep_until_it_is_finished() {
    let tool = Tool::new();
    let id = tool.session_of(4_000);
    let whole = tool.path("whole.db");
    let hashes = run(&tool, &copy("keep.db", "whole.db")).stdout.replace("whole.db", "TO");
    let (mut n_cut, size) = (0, written(&whole));
    for part in 0..8 {
        let name = format!("cut-{part}.db");
        let to = tool.path(&name);
        let mut child = tool.bare().env("HOME", tool.path("")).args(copy("keep.db", &name)).spawn().unwrap();
        while written(&to) < 1 + size * part / 8 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let shown = tool.run(&["show", &id, "--limit", "0", "--database-url", &name]);
        if shown.code == Some(4) {
            n_cut += 1;
            shown.complains_of(&["holds an unfinished copy of ", "keep.db", "\"membrane copy\""]);
            let args = ["check", "--database-url", &name];
            tool.fails(4, &args, &["holds an unfinished copy of "]);
            let other = run(&tool, &copy("whole.db", &name));
            assert_eq!(other.code, Some(4), "{other:?}");
            other.complains_of(&["unfinished copy of ", "keep.db", "finish that one with the same --from"]);
        }
        // Killed before it began, it left nothing; after it had ended, a keep.
        let again = run(&tool, &copy("keep.db", &name));
        match again.code {
            Some(0) => {
                let told = again.stdout.replace(&name, "TO");
                assert!(told.ends_with(&hashes), "{told} and {hashes}");
                assert!(
                    shown.code != Some(4) || told.starts_with("an interrupted copy was finished"),
                    "{told}"
                );
            }
            _ => again.complains_of(&["the target has rows already"]),
        }
        tool.ok(&["check", "--database-url", &name]);
        assert_eq!(tool.words(&id).len(), 4_000);
    }
    println!("killed copies: {n_cut} of 8 were unfinished");
    assert!(n_cut > 0, "none was killed on the way");
}
