//! `membrane export`: the way back to kgents.

use serde_json::json;

use crate::tool::Tool;

#[test]
fn an_export_says_what_is_in_the_file_and_what_is_not() {
    let tool = Tool::new();
    let id = &tool.session_of(3);
    let fork = &tool.id(&["fork", id, "--at", "2"]);
    tool.ok(&["checkpoint", fork, "--name", "here"]);
    tool.ok(&["delete", id]);
    let said = tool.ok(&["export", "--format", "kgents-v1", "--naive-timezone", "Europe/Berlin", "v1.db"]);
    assert_eq!(
        said,
        "v1.db: 1 session, 2 turns, 1 checkpoint, 0 crystals\n\
         times are local, in the zone Europe/Berlin\n\
         left out: 1 parent, deleted or not in this file; the id is kept beside the evidence\n"
    );
    let document = tool.json(&["export", "--format", "kgents-v1", "--naive-timezone", "UTC", "json.db"]);
    let bytes = std::fs::metadata(tool.path("json.db")).unwrap().len();
    let expected = json!({
        "file": "json.db", "format": "kgents-v1", "naive_timezone": "UTC",
        "sessions": 1, "turns": 2, "checkpoints": 1, "crystals": 0, "bytes": bytes, "times_with_offset": 0,
        "left_out": {
            "unfinished_turns": 0, "parents": 1, "deleted_meanwhile": 0, "cut_checkpoints": 0,
            "huge_checkpoints": 0, "old_values": 0,
        },
    });
    assert_eq!(document, expected);
}

#[test]
fn single_sessions_and_projects_can_be_exported() {
    let tool = Tool::new();
    let (one, other) = (&tool.session_of(1), &tool.session_of(2));
    tool.session_of(3);
    let turns = |args: &[&str], out: &str| {
        let args = [&["export", "--format", "kgents-v1"], args, &[out]].concat();
        tool.json(&args)["turns"].as_u64()
    };
    assert_eq!(turns(&["--session", one, "--session", other], "two.db"), Some(3));
    assert_eq!(turns(&["--project", "none"], "none.db"), Some(0));
    assert_eq!(turns(&[], "all.db"), Some(6));
}

#[test]
fn what_cannot_be_exported_is_refused_and_no_file_is_made() {
    let tool = Tool::new();
    tool.session_of(1);
    let export = |args: &[&'static str]| [&["export", "--format", "kgents-v1"], args].concat();
    tool.fails(3, &export(&["--session", "nope", "out.db"]), &["session nope not found"]);
    tool.fails(2, &export(&["--naive-timezone", "Nowhere", "out.db"]), &["Nowhere", "Europe/Berlin"]);
    tool.fails(1, &export(&["missing/out.db"]), &["missing/out.db", "folder exists"]);
    tool.fails(4, &export(&["keep.db"]), &["keep.db is there already", "name another file"]);
    for args in [
        &["export", "out.db"][..],
        &["export", "--format", "kgents-v2", "out.db"],
        &["export", "--format", "kgents-v1"],
        &["export", "--format", "kgents-v1", "--session", "s", "--project", "p", "out.db"],
    ] {
        assert_eq!(tool.run(args).code, Some(2), "{args:?}");
    }
    assert!(!tool.path("out.db").exists());
    let nowhere = Tool::new();
    nowhere.fails(3, &export(&["out.db"]), &["there is no database"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_an_export_with_5_and_leaves_nothing_behind() {
    use membrane_crashtest::small_disk::on_small_disk;

    let test = "export::a_full_disk_ends_an_export_with_5_and_leaves_nothing_behind";
    let said = on_small_disk(test, 4 << 20, |disk| {
        let tool = Tool::new();
        let text = "x".repeat(1 << 20);
        let line = format!("{{\"user\":\"{text}\",\"assistant\":\"a\"}}\n");
        let turns = line.repeat(6);
        let ran = tool.feed(&["append", "--new", "--stdin"], turns.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let small = tool.session_of(2);
        let out = disk.path().join("out.db");
        let out = out.to_str().unwrap();
        let n_files = || std::fs::read_dir(disk.path()).unwrap().count();
        tool.fails(5, &["export", "--format", "kgents-v1", out], &["out.db", "storage is full"]);
        assert_eq!(n_files(), 0);
        let ballast = disk.fill("ballast", 0).unwrap();
        tool.fails(5, &["export", "--format", "kgents-v1", "--session", &small, out], &["storage is full"]);
        assert_eq!(n_files(), 1);
        ballast.remove().unwrap();
        tool.ok(&["export", "--format", "kgents-v1", "--session", &small, out]);
        assert_eq!(n_files(), 1);
    });
    println!("{}", said.unwrap_or_else(|error| panic!("{error}")));
}
