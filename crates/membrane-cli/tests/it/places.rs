//! Which database is used, and in which form it may be named.

use crate::tool::{Ran, Tool};

fn append(tool: &Tool, environment: &[(&str, String)], args: &[&str]) -> Ran {
    let mut command = tool.bare();
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    command.args(args).args(["append", "--new", "--user", "a", "--assistant", "b"]);
    command.output().unwrap().into()
}

#[test]
fn the_first_place_that_is_named_is_used() {
    let tool = Tool::new();
    let place = |name: &str| tool.path(name).display().to_string();
    let environment = [
        ("KGENTS_DATABASE_URL", format!("sqlite+aiosqlite:///{}", place("one.db"))),
        ("KGENTS_POSTGRES_URL", format!("sqlite:{}", place("two.db"))),
        ("XDG_DATA_HOME", place("xdg")),
        ("HOME", place("home")),
    ];
    let made = |name: &str| tool.path(name).exists();
    assert_eq!(append(&tool, &environment, &["--database-url", "flag.db"]).code, Some(0));
    assert!(made("flag.db") && !made("one.db"));
    assert_eq!(append(&tool, &environment, &[]).code, Some(0));
    assert!(made("one.db") && !made("two.db"));
    assert_eq!(append(&tool, &environment[1..], &[]).code, Some(0));
    assert!(made("two.db") && !made("xdg"));
    assert_eq!(append(&tool, &environment[2..], &[]).code, Some(0));
    assert!(made("xdg/kgents/membrane.db") && !made("home"), "folders are made");
    assert_eq!(append(&tool, &environment[3..], &[]).code, Some(0));
    assert!(made("home/.local/share/kgents/membrane.db"));
    let nowhere = append(&tool, &[], &[]);
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    nowhere.complains_of(&["--database-url"]);
}

#[test]
fn relative_and_absolute_urls_name_the_same_file() {
    let tool = Tool::new();
    let absolute = tool.path("a.db").display().to_string();
    for url in ["a.db", "./a.db", "sqlite:a.db", "sqlite:///a.db", "sqlite+aiosqlite:///a.db"] {
        assert_eq!(append(&tool, &[], &["--database-url", url]).code, Some(0), "{url}");
    }
    for url in [absolute.clone(), format!("sqlite:///{absolute}"), format!("sqlite+aiosqlite:///{absolute}")]
    {
        assert_eq!(append(&tool, &[], &["--database-url", &url]).code, Some(0), "{url}");
    }
    let listed = tool.bare().args(["--database-url", "a.db", "sessions", "--json"]).output().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["total"], 8);
}

#[test]
fn memory_keeps_nothing() {
    let tool = Tool::new();
    assert_eq!(append(&tool, &[], &["--database-url", "memory:"]).code, Some(0));
    let listed = tool.bare().args(["--database-url", "memory:", "sessions"]).output().unwrap();
    assert_eq!((listed.status.code(), listed.stdout.len()), (Some(0), 0));
    let migrated = tool.bare().args(["--database-url", "memory:", "migrate", "--json"]).output().unwrap();
    assert_eq!(
        String::from_utf8(migrated.stdout).unwrap().split_whitespace().collect::<String>(),
        "{\"migrations\":[]}"
    );
    assert_eq!(std::fs::read_dir(tool.path("")).unwrap().count(), 0);
}

#[test]
fn another_database_is_refused_without_repeating_its_password() {
    let tool = Tool::new();
    for url in ["postgresql+pg8000://me:secret@host/db", "mysql://me:secret@host/db"] {
        for ran in [
            append(&tool, &[], &["--database-url", url]),
            append(&tool, &[("KGENTS_POSTGRES_URL", url.to_owned())], &[]),
        ] {
            assert_eq!(ran.code, Some(2), "{ran:?}");
            ran.complains_of(&["sqlite:PATH", "postgresql+asyncpg:", "memory:"]);
            assert!(!ran.stderr.contains("secret"), "{ran:?}");
        }
    }
}
