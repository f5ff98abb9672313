//! `backup`, `restore` of a whole database, and `stats`, by the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tool::Tool;

/// Names and bytes of what is in a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_keys().collect()
}

fn path_in(document: &Value, key: &str) -> PathBuf {
    PathBuf::from(document[key].as_str().unwrap())
}

#[test]
fn a_backup_goes_beside_the_database_and_says_what_was_verified() {
    let tool = Tool::new();
    let id = tool.session_of(3);
    tool.ok(&["fork", &id]);
    let said = tool.ok(&["backup"]);
    for words in ["2 sessions, 3 turns", "verified: ", "sha256: ", "keep-2"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let made = tool.json(&["backup"]);
    let path = path_in(&made, "path");
    assert_eq!(path.parent().unwrap(), fs::canonicalize(tool.path("backups")).unwrap());
    let bytes = fs::read(&path).unwrap();
    assert_eq!(made["bytes"], bytes.len());
    assert_eq!(
        (&made["sessions"], &made["turns"], &made["kind"]),
        (&2.into(), &3.into(), &"membrane".into())
    );
    assert_eq!(made["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(made["findings"], serde_json::json!([]));
    let copy = path.to_str().unwrap();
    assert_eq!(tool.json(&["show", &id]), tool.json(&["show", &id, "--database-url", copy]));
    assert!(fs::read_dir(tool.path("backups")).unwrap().count() == 2, "and nothing else");
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_a_folder_is_told_by_its_end() {
    let tool = Tool::new();
    tool.session_of(1);
    fs::write(tool.path("taken"), "mine").unwrap();
    tool.fails(4, &["backup", "--to", "taken"], &["taken is already there", "another file"]);
    assert_eq!(fs::read(tool.path("taken")).unwrap(), b"mine");
    tool.ok(&["backup", "--to", "one.db"]);
    tool.ok(&["backup", "--to", "new/folder/"]);
    assert_eq!(names(&tool.path("new/folder")).len(), 1);
    tool.ok(&["backup", "--to", "new"]);
    assert_eq!(names(&tool.path("new")).len(), 1);
    tool.fails(
        2,
        &["backup", "--to", "two.db", "--keep", "2"],
        &["--keep 2", "two.db", "end a new folder's name in /"],
    );
    tool.fails(1, &["backup", "--to", "nowhere/two.db"], &["nowhere", "check that the folder exists"]);
    assert_eq!(tool.run(&["backup", "--keep", "0"]).code, Some(2));
    assert!(!tool.path("two.db").exists());
}

#[test]
fn keep_removes_the_oldest_of_this_database_and_nothing_else() {
    let tool = Tool::new();
    tool.session_of(1);
    let folder = tool.path("backups");
    fs::create_dir(&folder).unwrap();
    let others = [
        "keep.db",
        "keep-notes.db",
        "keep-20200101T000000Z.db.gz",
        "keep-before-restore-20200101T000000Z.db",
        "keep-other-20200101T000000Z.db",
        "other-20200101T000000Z.db",
    ];
    let old = [
        "keep-20200101T000000Z.db",
        "keep-20200101T000000Z-2.db",
        "keep-20200101T000000Z-10.db",
        "keep-20210101T000000Z.db",
    ];
    for name in others.iter().chain(&old) {
        fs::write(folder.join(name), "x").unwrap();
    }
    fs::create_dir(folder.join("keep-20190101T000000Z.db")).unwrap();
    let made = tool.json(&["backup", "--keep", "3"]);
    let removed: Vec<_> =
        made["removed"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert!(
        removed[0].ends_with("keep-20200101T000000Z.db")
            && removed[1].ends_with("keep-20200101T000000Z-2.db"),
        "{removed:?}"
    );
    let left = names(&folder);
    assert_eq!(left.len(), others.len() + 3, "{left:?}");
    assert!(others.iter().all(|name| left.iter().any(|file| file == name)), "{left:?}");
    assert!(folder.join("keep-20190101T000000Z.db").is_dir());
    // A backup that fails removes none.
    fs::write(tool.path("broken.db"), "no database at all").unwrap();
    let ran = tool.run(&["backup", "--keep", "1", "--database-url", "broken.db"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.complains_of(&["broken.db", "not an SQLite database"]);
    assert_eq!(names(&folder), left);
}

#[test]
fn what_cannot_be_backed_up_is_refused_by_name() {
    let tool = Tool::new();
    tool.fails(3, &["backup"], &["there is no database at", "keep.db"]);
    tool.fails(
        2,
        &["backup", "--database-url", "memory:"],
        &["memory: cannot be backed up", "--database-url"],
    );
    let ran = tool.run(&["restore", "x", "--database-url", "memory:"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    fs::write(tool.path("x"), "").unwrap();
    tool.fails(2, &["restore", "x", "--database-url", "memory:"], &["memory: cannot be restored"]);
    assert!(!tool.database().exists());
}

#[test]
fn a_restore_brings_back_what_the_backup_holds_and_sets_aside_what_was_there() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    let before = tool.json(&["show", &id]);
    tool.ok(&["backup", "--to", "b.db"]);
    tool.ok(&["append", &id, "--user", "later", "--assistant", "later"]);
    let later = tool.json(&["show", &id]);
    let restored = tool.json(&["restore", "b.db"]);
    assert_eq!(tool.json(&["show", &id]), before);
    let aside = path_in(&restored, "set_aside");
    assert!(aside.file_name().unwrap().to_str().unwrap().starts_with("keep-before-restore-2"), "{aside:?}");
    assert_eq!(restored["set_aside_damage"], Value::Null);
    assert_eq!(tool.json(&["show", &id, "--database-url", aside.to_str().unwrap()]), later);
    // And forth again, which text tells of.
    let said = tool.ok(&["restore", aside.to_str().unwrap()]);
    assert!(
        said.contains("set aside: ") && said.contains("restored: ") && said.contains("3 turns"),
        "{said}"
    );
    assert_eq!(tool.json(&["show", &id]), later);
    tool.ok(&["check"]);
    let left: Vec<_> = names(tool.database().parent().unwrap());
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(!left.iter().any(|name| name.ends_with("-wal") || name.ends_with("-journal")), "{left:?}");
}

#[test]
fn a_restore_needs_no_present_database() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    tool.ok(&["backup", "--to", "b.db"]);
    fs::remove_file(tool.database()).unwrap();
    let restored = tool.json(&["restore", "b.db", "--database-url", "new/folder/k.db"]);
    assert_eq!(restored["set_aside"], Value::Null);
    tool.ok(&["restore", "b.db"]);
    assert_eq!(tool.words(&id), ["u0", "u1"]);
    // A log without its database would be taken for the new one's.
    fs::remove_file(tool.database()).unwrap();
    fs::write(tool.path("keep.db-wal"), "left over").unwrap();
    tool.fails(4, &["restore", "b.db"], &["keep.db-wal", "move it away"]);
    assert!(!tool.database().exists());
}

#[test]
fn one_argument_is_a_file_and_two_are_a_session_and_its_checkpoint() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    tool.fails(3, &["restore", &id], &["there is no file", &id, "membrane restore", "CHECKPOINT"]);
    tool.fails(3, &["restore", "b.db"], &["there is no file b.db", "name a backup"]);
    let mark = tool.id(&["checkpoint", &id]);
    tool.ok(&["rewind", &id, "1"]);
    tool.ok(&["restore", &id, &mark]);
    assert_eq!(tool.words(&id).len(), 2);
    tool.fails(2, &["restore", "keep.db"], &["keep.db is the database itself"]);
    let help = tool.ok(&["restore", "--help"]);
    assert!(help.contains("restore [OPTIONS] <FILE>") && help.contains("<ID> <CHECKPOINT>"), "{help}");
}

/// Refuses with these words, and leaves every file as it is.
#[track_caller]
fn refused(tool: &Tool, file: &str, words: &[&str]) {
    let folder = tool.database().parent().unwrap().to_owned();
    let before = files(&folder);
    let ran = tool.run(&["restore", file]);
    assert_eq!(ran.code, Some(1), "{file}: {ran:?}");
    ran.complains_of(words);
    let after = files(&folder);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{file}");
    assert!(before == after, "{file}: the bytes changed");
}

#[test]
fn what_is_no_sound_backup_is_refused_and_nothing_changes() {
    let tool = Tool::new();
    let id = tool.session_of(40);
    tool.ok(&["backup", "--to", "b.db"]);
    let sound = fs::read(tool.path("b.db")).unwrap();
    fs::write(tool.path("text.db"), "dear diary, this is no database\n".repeat(200)).unwrap();
    refused(&tool, "text.db", &["text.db", "not an SQLite database"]);
    fs::write(tool.path("empty.db"), "").unwrap();
    refused(&tool, "empty.db", &["empty.db is no keep", "no tables"]);
    tool.fails(2, &["restore", "."], &["is a folder; name one of the backups in it"]);
    for (number, length) in
        [sound.len() / 2, sound.len() - 4096, sound.len() - 1, 4096, 100].into_iter().enumerate()
    {
        let name = format!("short-{number}.db");
        fs::write(tool.path(&name), &sound[..length]).unwrap();
        refused(&tool, &name, &[&name]);
    }
    // Every page but the first is spoilt in turn, in its head, where it matters always.
    let mut n_refused = 0;
    for page in 1..sound.len() / 4096 {
        let mut bytes = sound.clone();
        bytes[page * 4096..page * 4096 + 12].fill(0xff);
        fs::write(tool.path("spoilt.db"), bytes).unwrap();
        refused(&tool, "spoilt.db", &["spoilt.db"]);
        n_refused += 1;
    }
    assert!(n_refused > 20, "{n_refused} pages");
    assert_eq!(tool.words(&id).len(), 40);
}

#[test]
fn a_damaged_database_is_set_aside_as_it_is_with_its_log() {
    let tool = Tool::new();
    let id = tool.session_of(2);
    tool.ok(&["backup", "--to", "b.db"]);
    let sound = fs::read(tool.database()).unwrap();
    // In its head, and in a page that only its rows need.
    for (place, log) in [(0, Some("left over")), (sound.len() - 4096, None)] {
        let mut bytes = sound.clone();
        bytes[place..place + 12].fill(0xff);
        fs::write(tool.database(), &bytes).unwrap();
        if let Some(log) = log {
            fs::write(tool.path("keep.db-wal"), log).unwrap();
        }
        let restored = tool.json(&["restore", "b.db"]);
        assert!(restored["set_aside_damage"].is_string(), "{restored}");
        let aside = path_in(&restored, "set_aside");
        let kept = fs::read(&aside).unwrap();
        assert_eq!(kept[place..place + 12], bytes[place..place + 12], "the damage is still there");
        if let Some(log) = log {
            let mut path = aside.into_os_string();
            path.push("-wal");
            assert_eq!(fs::read(path).unwrap(), log.as_bytes());
        }
        assert!(!tool.path("keep.db-wal").exists());
        assert_eq!(tool.words(&id), ["u0", "u1"]);
        tool.ok(&["check"]);
    }
}

#[test]
fn stats_say_what_forks_save_and_when_things_began() {
    let tool = Tool::new();
    let id = tool.session_of(4);
    for _ in 0..3 {
        tool.ok(&["fork", &id]);
    }
    tool.ok(&["checkpoint", &id, "--name", "here"]);
    let stats = tool.json(&["stats"]);
    for (key, value) in [
        ("sessions", 4),
        ("turns_shown", 16),
        ("turns_stored", 4),
        ("text_bytes_shown", 64),
        ("text_bytes_stored", 16),
        ("text_bytes_saved", 48),
        ("checkpoints", 1),
        ("crystals", 0),
        ("runs", 0),
    ] {
        assert_eq!(stats[key], value, "{key} of {stats}");
    }
    assert_eq!(stats["text_percent_saved"], 75.0);
    let file = &stats["file"];
    assert_eq!(
        file["bytes"].as_u64().unwrap(),
        file["main_bytes"].as_u64().unwrap() + file["log_bytes"].as_u64().unwrap()
    );
    assert_eq!(
        stats["days"].as_array().unwrap().iter().map(|day| day["turns"].as_u64().unwrap()).sum::<u64>(),
        4
    );
    assert_eq!(stats["months"], serde_json::json!([]));
    let text = tool.ok(&["stats"]);
    assert!(text.contains("saves 48 bytes, 75.0 %") && text.contains("16 shown, 4 stored"), "{text}");
    tool.fails(3, &["stats", "--database-url", "nowhere.db"], &["there is no database at nowhere.db"]);
}
