//! `copy` with PostgreSQL on one side or on both, by the real binary: told, refused, killed, and gone on with.

use std::process::{Child, Command, Stdio};

use membrane_testservers::{Database, Postgres};

use crate::tool::{Ran, Tool};

fn database() -> Database {
    Postgres::shared().unwrap().create_database().unwrap()
}

/// A copy, by the binary without a database of its own.
fn command(tool: &Tool, from: &str, to: &str) -> Command {
    let mut command = tool.bare();
    command.env("HOME", tool.path("")).args(["copy", "--from", from, "--to", to]).stdin(Stdio::null());
    command
}

fn copy(tool: &Tool, from: &str, to: &str) -> Ran {
    command(tool, from, to).output().unwrap().into()
}

/// The lines with the hashes.
fn hashes(told: &Ran) -> Vec<String> {
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
    let lines =
        told.stdout.lines().filter(|line| line.split("  ").next().is_some_and(|hash| hash.len() == 64));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    assert!(lines.len() >= 5, "{told:?}");
    lines
}

#[test]
fn a_keep_goes_to_postgres_and_to_another_and_comes_back() {
    let tool = Tool::new();
    let id = tool.session_of(3);
    let fork = tool.id(&["fork", &id]);
    tool.ok(&["append", &fork, "--user", "é日本🦀", "--assistant", "\u{1}"]);
    let shown = tool.json(&["show", &fork]);
    let (one, other) = (database(), database());
    let first = copy(&tool, "keep.db", &one.url());
    assert!(
        first.stdout.starts_with("copied: 2 sessions, 4 turns from keep.db to postgresql://"),
        "{first:?}"
    );
    let second = copy(&tool, &one.url(), &other.url());
    let third = copy(&tool, &other.url(), "back.db");
    assert_eq!(hashes(&first), hashes(&second));
    assert_eq!(hashes(&first), hashes(&third));
    for place in [one.url(), other.url(), "back.db".to_owned()] {
        assert_eq!(tool.json(&["show", &fork, "--database-url", &place]), shown);
        tool.ok(&["check", "--database-url", &place]);
    }
}

#[test]
fn a_database_is_not_copied_onto_itself_however_it_is_spelled() {
    let tool = Tool::new();
    let database = database();
    let url = database.url();
    tool.ok(&["append", "--new", "--user", "u", "--assistant", "a", "--database-url", &url]);
    let same = [
        url.clone(),
        url.replace("127.0.0.1", "localhost"),
        format!("{url}?application_name=another"),
        url.replacen("postgresql:", "postgres:", 1),
    ];
    for to in &same {
        let ran = copy(&tool, &url, to);
        assert_eq!(ran.code, Some(2), "{to}: {ran:?}");
        ran.complains_of(&["same database", "--to"]);
    }
    // Another schema of it is another place.
    database.execute("CREATE SCHEMA beside").unwrap();
    let ran = copy(&tool, &url, &format!("{url}?options=-c%20search_path%3Dbeside"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn what_cannot_be_copied_is_refused_and_nothing_is_changed() {
    let tool = Tool::new();
    tool.session_of(2);
    let (held, empty) = (database(), database());
    tool.ok(&["append", "--new", "--user", "u", "--assistant", "a", "--database-url", &held.url()]);
    let gone = Postgres::shared().unwrap().url("never_made");
    for (from, to, code, words) in [
        ("keep.db", held.url().as_str(), 4, ["the target has rows already", "empty database"]),
        ("keep.db", gone.as_str(), 3, ["no such database", "createdb never_made"]),
        (gone.as_str(), "new.db", 3, ["no such database", "createdb never_made"]),
        (empty.url().as_str(), "new.db", 1, ["holds no keep of this version", "membrane migrate"]),
    ] {
        let ran = copy(&tool, from, to);
        assert_eq!(ran.code, Some(code), "{from} {to}: {ran:?}");
        ran.complains_of(&words);
    }
    assert!(!tool.path("new.db").exists());
    assert_eq!(held.execute("SELECT count(*) FROM turns").unwrap(), "1");
    assert_eq!(empty.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(), "0");
}

/// The settings know one way past one pooler, and a copy has two databases.
#[test]
fn a_direct_url_in_the_settings_leads_no_copy_astray() {
    let tool = Tool::new();
    tool.session_of(2);
    let (one, other, elsewhere) = (database(), database(), database());
    let ran = |from: &str, to: &str| -> Ran {
        let mut command = command(&tool, from, to);
        command.env("KGENTS_CHAT_POSTGRES_POOLER", "session");
        command.env("KGENTS_CHAT_POSTGRES_DIRECT_URL", elsewhere.url());
        command.output().unwrap().into()
    };
    assert_eq!(hashes(&ran("keep.db", &one.url())), hashes(&ran(&one.url(), &other.url())));
    assert_eq!(elsewhere.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(), "0");
}

/// How many bytes a database holds.
fn bytes(database: &Database) -> u64 {
    database.execute("SELECT pg_database_size(current_database())").unwrap().parse().unwrap()
}

fn spawn(tool: &Tool, from: &str, to: &str) -> Child {
    command(tool, from, to).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_copy_into_postgres_killed_at_any_moment_is_no_keep_until_it_is_finished() {
    let tool = Tool::new();
    let id = tool.session_of(20_000);
    let whole = database();
    let empty = bytes(&whole);
    let expected = hashes(&copy(&tool, "keep.db", &whole.url()));
    let size = bytes(&whole) - empty;
    let mut n_cut = 0;
    for part in 0..6 {
        let to = database();
        let url = to.url();
        let mut child = spawn(&tool, "keep.db", &url);
        while bytes(&to) < empty + size * part / 8 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let shown = tool.run(&["show", &id, "--limit", "0", "--database-url", &url]);
        if shown.code == Some(4) {
            n_cut += 1;
            shown.complains_of(&["holds an unfinished copy of ", "keep.db", "\"membrane copy\""]);
            let coded = tool.run(&["check", "--json", "--database-url", &url]);
            assert_eq!(coded.code, Some(4), "{coded:?}");
            assert!(coded.stderr.contains("\"unfinished_copy\""), "{coded:?}");
            let other = copy(&tool, &whole.url(), &url);
            assert_eq!(other.code, Some(4), "{other:?}");
            other.complains_of(&["unfinished copy of ", "keep.db", "finish that one with the same --from"]);
            let onward = copy(&tool, &url, "onward.db");
            assert_eq!(onward.code, Some(4), "{onward:?}");
        }
        // Killed before it began, it left nothing; after it had ended, a keep.
        let again = copy(&tool, "keep.db", &url);
        match again.code {
            Some(0) => assert_eq!(hashes(&again), expected),
            _ => again.complains_of(&["the target has rows already"]),
        }
        tool.ok(&["check", "--database-url", &url]);
    }
    println!("killed copies into PostgreSQL: {n_cut} of 6 were unfinished");
    assert!(n_cut > 0, "none was killed on the way");
}
