//! Backups and restores beside a server, killed in the middle, and on a disk that is full.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use membrane_crashtest::small_disk::on_small_disk;
use serde_json::Value;

use super::server::{PATIENCE, Serving, until};
use crate::tool::Tool;

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The files in a folder, without those of a workshop, which are hidden.
fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// A keep of some megabytes, so that copying it takes a while.
fn fill(tool: &Tool, turns: usize) -> String {
    let text = "word ".repeat(800);
    let line = |n| format!("{{\"user\":\"u{n}\",\"assistant\":\"{text}\"}}");
    let lines = (0..turns).map(line).collect::<Vec<_>>().join("\n");
    let ran = tool.feed(&["append", "--new", "--stdin"], lines.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

#[test]
fn a_running_server_is_backed_up_and_not_restored_over() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keep.db");
    let serving = Serving::on(&database);
    let (server, client) = serving.start();
    let id = client.create();
    assert_eq!(client.send(&id, "first").last()["type"], "done");
    let target = folder.path().join("b.db");
    let made = json(&run(serving.command(&["backup", "--json", "--to"]).arg(&target)));
    assert_eq!((&made["sessions"], &made["turns"]), (&1.into(), &1.into()));
    assert_eq!(client.send(&id, "second").last()["type"], "done");
    let refused = run(serving.command(&["restore"]).arg(&target));
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("keep.db is in use by process") && said.contains("membrane"), "{said}");
    assert_eq!(client.turns(&id).len(), 2, "the server goes on");
    assert_eq!(client.send(&id, "third").last()["type"], "done");
    server.signal("TERM");
    assert!(server.wait_for_end().status.success());
    json(&run(serving.command(&["restore", "--json"]).arg(&target)));
    let (_server, client) = serving.start();
    assert_eq!(client.turns(&id).len(), 1);
    serving.must_be_sound();
}

#[test]
fn a_restore_killed_at_any_moment_leaves_the_old_keep_or_the_new_one_whole() {
    let tool = Tool::new();
    let id = fill(&tool, 400);
    tool.ok(&["backup", "--to", "b.db"]);
    tool.ok(&["append", &id, "--user", "newest", "--assistant", "newest"]);
    let backup = tool.path("b.db");
    let args = ["restore", backup.to_str().unwrap()];
    // How long a whole one takes, from start to end.
    let start = Instant::now();
    tool.ok(&args);
    let whole = start.elapsed();
    let (mut n_old, mut n_new) = (0, 0);
    for moment in 0..24_u32 {
        // The old keep is one turn longer than the backup.
        if tool.json(&["show", &id, "--limit", "0"])["turn_count"] == 400 {
            tool.ok(&["append", &id, "--user", "newest", "--assistant", "newest"]);
        }
        if moment % 2 == 0 {
            leave_a_log(&tool, &id);
        }
        let turns = tool.json(&["show", &id, "--limit", "0"])["turn_count"].as_u64().unwrap();
        let mut child = tool.spawn(&args);
        thread::sleep(whole * moment / 22);
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = tool.json(&["show", &id, "--limit", "0"])["turn_count"].as_u64().unwrap();
        assert!(kept == turns || kept == 400, "{kept} of {turns} turns after moment {moment}");
        if kept == turns {
            n_old += 1;
        } else {
            n_new += 1;
        }
        tool.ok(&["check"]);
    }
    println!("killed restores: {n_old} left the old keep, {n_new} the new one");
    assert!(n_old > 0, "none was killed before the end");
    tool.ok(&args);
    assert_eq!(tool.words(&id).len(), 400);
    let hidden = fs::read_dir(tool.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".membrane-copy-"));
    assert_eq!(hidden.count(), 0, "what killed ones left behind goes with the next");
}

/// Leaves a write-ahead log with content beside the keep, as a killed server does.
fn leave_a_log(tool: &Tool, id: &str) {
    let serving = Serving::on(&tool.database());
    let (server, client) = serving.start();
    assert_eq!(client.send(id, "in the log").last()["type"], "done");
    // It is killed.
    drop(server);
    assert!(serving.log_bytes() > 0, "the test needs a log with content");
}

#[test]
fn a_backup_killed_in_the_middle_leaves_no_file_of_its_name() {
    let tool = Tool::new();
    fill(&tool, 400);
    let folder = tool.path("backups");
    tool.ok(&["backup"]);
    let mut whole = names(&folder);
    let mut n_killed = 0;
    for _ in 0..12 {
        let mut child = tool.spawn(&["backup"]);
        // As soon as it has begun to copy.
        let is_copying =
            || names_hidden(&folder).iter().any(|name| folder.join(name).join("copy.db").exists());
        let begun = until(PATIENCE, || is_copying() || child.try_wait().unwrap().is_some());
        assert!(begun, "a backup must begin");
        child.kill().unwrap();
        n_killed += u32::from(!child.wait().unwrap().success());
        let found = names(&folder);
        for name in found.iter().filter(|name| !whole.contains(name)) {
            let path = folder.join(name);
            tool.ok(&["check", "--database-url", path.to_str().unwrap()]);
        }
        whole = found;
    }
    assert!(n_killed > 0, "none was killed");
    tool.ok(&["backup"]);
    assert_eq!(names_hidden(&folder), Vec::<String>::new());
}

fn names_hidden(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
    entries.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with('.')).collect()
}

const DISK_BYTES: u64 = 24 << 20;

#[test]
fn on_a_full_disk_a_backup_and_a_restore_fail_and_leave_nothing() {
    let name = "served::backups::on_a_full_disk_a_backup_and_a_restore_fail_and_leave_nothing";
    let ran = on_small_disk(name, DISK_BYTES, |disk| {
        let tool = Tool::new();
        let id = fill(&tool, 400);
        tool.ok(&["backup", "--to", "b.db"]);
        let bytes = fs::metadata(tool.path("b.db")).unwrap().len();
        let database = disk.path().join("keep.db");
        fs::copy(tool.path("b.db"), &database).unwrap();
        let serving = Serving::on(&database);
        // From no room at all to nearly enough: for the copy itself, and for a restore for two copies.
        for (round, left) in [0, 4096, 40_000, bytes / 2, bytes - 8192].into_iter().enumerate() {
            let mut ballast = disk.fill("ballast", left).unwrap();
            for args in
                [["backup", "--to", "x.db"], ["backup", "--to", "folder"], ["restore", "b.db", "--json"]]
            {
                let last = if args[0] == "restore" { tool.path("b.db") } else { disk.path().join(args[2]) };
                let mut command = serving.command(&args[..1]);
                if args[0] == "backup" {
                    command.arg("--to");
                }
                let failed = run(command.arg(&last));
                assert_eq!(failed.status.code(), Some(5), "round {round}, {args:?}: {failed:?}");
                let said = String::from_utf8(failed.stderr).unwrap();
                assert!(said.contains("the storage is full"), "{said}");
                assert!(names_hidden(disk.path()).is_empty());
                assert_eq!(names(disk.path()), ["ballast", "keep.db"], "round {round}, {args:?}");
            }
            ballast.shrink(u64::MAX).unwrap();
            ballast.remove().unwrap();
        }
        // Room for one copy and not for the second: the old keep stays.
        let ballast = disk.fill("ballast", bytes + bytes / 2).unwrap();
        let failed = run(serving.command(&["restore"]).arg(tool.path("b.db")));
        assert_eq!(failed.status.code(), Some(5), "{failed:?}");
        assert_eq!(names(disk.path()), ["ballast", "keep.db"]);
        ballast.remove().unwrap();
        serving.must_be_sound();
        json(&run(serving.command(&["restore", "--json"]).arg(tool.path("b.db"))));
        let shown = json(&run(&mut serving.command(&["show", &id, "--limit", "0", "--json"])));
        assert_eq!(shown["turn_count"], 400);
    });
    println!("{}", ran.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn writers_go_on_while_a_backup_is_made() {
    let tool = Tool::new();
    let id = fill(&tool, 800);
    let serving = Serving::on(&tool.database());
    let (_server, client) = serving.start();
    let mut child = tool.spawn(&["backup", "--json"]);
    let mut slowest = Duration::ZERO;
    let mut n_sent = 0;
    while child.try_wait().unwrap().is_none() {
        let start = Instant::now();
        assert_eq!(client.send(&id, "meanwhile").last()["type"], "done");
        slowest = slowest.max(start.elapsed());
        n_sent += 1;
    }
    let made = json(&child.wait_with_output().unwrap());
    println!("{n_sent} messages while {} bytes were backed up, the slowest in {slowest:?}", made["bytes"]);
    assert!(n_sent > 1, "nobody wrote meanwhile");
}
