//! A PostgreSQL database as the configuration names it. No server is asked here.

use serde_json::Value;

use crate::configuration::{in_force, run, tool_with};
use crate::tool::Tool;

const SHOWN: &str = "postgresql://me:***@host:5432/db";

#[test]
fn flag_variables_file_and_default_name_a_database_in_this_order() {
    let tool = tool_with(
        "providers:\n  relational:\n    type: postgres\n    connection: postgresql://me:${PW}@host/file\n",
    );
    let home = tool.path("home").display().to_string();
    let environment = [
        ("KGENTS_DATABASE_URL", "postgres://me:secret@host/one"),
        ("KGENTS_POSTGRES_URL", "postgresql+asyncpg://me:secret@host/two"),
        ("PW", "se/cr@et"),
    ];
    let shown = |name: &str| Value::from(SHOWN.replace("/db", &format!("/{name}")));
    let read = |environment: &[(&str, &str)], args: &[&str]| in_force(&tool, environment, args, "database");
    let flag = ["--database-url", "postgresql://me:secret@host/flag"];
    assert_eq!(read(&environment, &flag), (shown("flag"), "flag --database-url".to_owned()));
    assert_eq!(read(&environment, &[]), (shown("one"), "environment KGENTS_DATABASE_URL".to_owned()));
    assert_eq!(read(&environment[1..], &[]), (shown("two"), "environment KGENTS_POSTGRES_URL".to_owned()));
    let file = tool.path("xdg/kgents/infrastructure.yaml").display().to_string();
    assert_eq!(read(&environment[2..], &[]), (shown("file"), format!("file {file}:4")));
    let tool = tool_with("");
    let default = format!("{}/.local/share/kgents/membrane.db", tool.path("home").display());
    assert_eq!(in_force(&tool, &[], &[], "database"), (default.into(), "default".to_owned()));
    assert!(!std::path::Path::new(&home).exists(), "nothing was made");
}

#[test]
fn every_form_is_taken_and_shown_without_its_password() {
    let tool = tool_with("");
    for (url, shown) in [
        ("postgres://me:secret@host/db", SHOWN),
        ("postgresql://me:secret@host:5432/db", SHOWN),
        ("postgresql+asyncpg://me:se%63ret@host/db", SHOWN),
        ("postgresql+psycopg://me:sec@ret@host/db", SHOWN),
        ("postgresql+psycopg2:///db?host=host&user=me&password=secret", SHOWN),
        ("postgresql://host", "postgresql://host:5432"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql://me:secret@[::1]:1,h2/db", "postgresql://me:***@[::1]:1,h2:5432/db"),
        ("postgresql://me@%2Frun%2Fpg/db", "postgresql://me@/db?host=/run/pg&port=5432"),
        ("postgresql://me@/db?host=/run/pg&port=6", "postgresql://me@/db?host=/run/pg&port=6"),
        ("postgresql://h/db?ssl=require", "postgresql://h:5432/db?sslmode=require"),
    ] {
        for (environment, args) in [
            (&[("KGENTS_DATABASE_URL", url)][..], &[][..]),
            (&[("KGENTS_POSTGRES_URL", url)], &[]),
            (&[], &["--database-url", url]),
        ] {
            let ran = run(&tool, environment, &[&["config"], args].concat());
            assert_eq!(ran.code, Some(0), "{url}: {ran:?}");
            let line = ran.stdout.lines().find(|line| line.starts_with("database ")).unwrap();
            assert_eq!(line.split_whitespace().nth(1), Some(shown), "{url}");
            let text = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!text.contains("secret") && !text.contains("se%63"), "{url}: {text}");
            assert_eq!(in_force(&tool, environment, args, "database").0, shown, "{url}");
        }
    }
}

#[test]
fn a_url_that_cannot_be_stops_every_command_and_its_password_stays_unsaid() {
    let tool = tool_with("");
    for (url, words) in [
        ("postgresql://me:secret@host:x/db", &["***@host:x/db", "\"x\"", "1 to 65535"][..]),
        ("postgresql://me:secret%@host/db", &["the password", "%25"]),
        ("postgresql://me:se/cret@host/db", &["%2F"]),
        (
            "postgresql://me:secret@host/db?sslmode=on",
            &["\"on\"", "disable, allow, prefer, require, verify-ca"],
        ),
        ("postgresql://me:secret@host/db?pasword=secret", &["pasword", "did you mean password?"]),
        ("host=host user=me password=secret", &["NAME=VALUE"]),
        ("mysql://me:secret@host/db", &["mysql:", "postgresql+asyncpg:"]),
    ] {
        for command in ["config", "sessions", "serve", "backup"] {
            for format in [&[][..], &["--json"]] {
                let ran = run(&tool, &[("KGENTS_DATABASE_URL", url)], &[&[command], format].concat());
                assert_eq!(ran.code, Some(2), "{url} {command}: {ran:?}");
                assert!(ran.stderr.contains("KGENTS_DATABASE_URL: "), "{ran:?}");
                if format.is_empty() {
                    ran.complains_of(words);
                }
                assert!(!ran.stderr.contains("secret") && !ran.stderr.contains("cret@"), "{ran:?}");
            }
        }
    }
    let ran = run(&tool, &[("KGENTS_POSTGRES_URL", "/a.db")], &["sessions"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.complains_of(&["KGENTS_POSTGRES_URL: ", "KGENTS_DATABASE_URL"]);
    let contradiction =
        "providers:\n  relational:\n    type: sqlite\n    connection: postgres://me:secret@h/d\n";
    let ran = run(&tool_with(contradiction), &[], &["sessions"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.complains_of(&["infrastructure.yaml:4", "PostgreSQL", "infrastructure.yaml:3", "sqlite"]);
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
}

#[test]
fn settings_of_database_and_cache_are_shown_masked_with_their_origin() {
    let tool = tool_with(
        "chat:\n  postgres:\n    pooler: transaction\n    direct_url: postgres://me:${PW}@h/d\n  cache:\n    url: \
         redis://:${PW}@c\n    memory_mib: 0\n",
    );
    let environment = [
        ("PW", "secret/"),
        ("KGENTS_CHAT_CACHE_URL", "rediss://me:secret@c2:1/3"),
        ("KGENTS_CHAT_POSTGRES_TIMEOUT_MS", "700"),
    ];
    let file = tool.path("xdg/kgents/infrastructure.yaml").display().to_string();
    let by_file = |line| format!("file {file}:{line}");
    for (key, value, origin) in [
        ("chat.postgres.pooler", Value::from("transaction"), by_file(3)),
        ("chat.postgres.direct_url", "postgresql://me:***@h:5432/d".into(), by_file(4)),
        ("chat.postgres.pool_size", 16.into(), "default".into()),
        ("chat.postgres.timeout_ms", 700.into(), "environment KGENTS_CHAT_POSTGRES_TIMEOUT_MS".into()),
        ("chat.cache.url", "rediss://me:***@c2:1/3".into(), "environment KGENTS_CHAT_CACHE_URL".into()),
        ("chat.cache.memory_mib", 0.into(), by_file(7)),
    ] {
        assert_eq!(in_force(&tool, &environment, &[], key), (value, origin), "{key}");
    }
    let (value, origin) = in_force(&tool, &environment[..1], &[], "chat.cache.url");
    assert_eq!((value, origin), ("redis://:***@c:6379/0".into(), by_file(6)));
    for args in [&["config"][..], &["config", "--json"], &["config", "--keys"]] {
        let ran = run(&tool, &environment, args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!format!("{ran:?}").contains("secret"), "{ran:?}");
        assert!(ran.stdout.contains("chat.postgres.direct_url") && ran.stdout.contains("chat.cache.url"));
    }
}

#[test]
fn what_a_setting_cannot_be_stops_with_variable_value_and_remedy() {
    let tool = tool_with("");
    for (name, value, words) in [
        ("POSTGRES_POOLER", "statement", &["\"statement\"", "none, session, transaction"][..]),
        ("POSTGRES_DIRECT_URL", "sqlite:a.db", &["sqlite:", "postgresql://USER"]),
        ("POSTGRES_DIRECT_URL", "postgres://me:secret@h/d", &["chat.postgres.pooler is none (default)"]),
        ("POSTGRES_POOL_SIZE", "0", &["\"0\"", "from 1 to 10000"]),
        ("POSTGRES_CONNECT_TIMEOUT_MS", "3s", &["\"3s\"", "from 10 to 600000"]),
        ("POSTGRES_TIMEOUT_MS", "-1", &["\"-1\"", "from 10 to 600000"]),
        ("POSTGRES_QUEUE_LEN", "0", &["from 1 to 1000000"]),
        ("POSTGRES_MAX_BATCH", "all", &["\"all\"", "from 1 to 100000"]),
        ("CACHE_URL", "memcached://:secret@h", &["memcached:", "redis://"]),
        ("CACHE_URL", "redis://:secret@h:x", &["redis://:***@h:x", "\"x\""]),
        ("CACHE_URL", "redis://secret@h", &[":PASSWORD@"]),
        ("CACHE_MEMORY_MIB", "64M", &["\"64M\"", "from 0 to 1048576"]),
        ("CACHE_TIMEOUT_MS", "0", &["from 1 to 10000"]),
        ("CACHE_LIFETIME_MS", "1", &["from 1000 to 86400000"]),
        ("CACHE_URLS", "redis://h", &["did you mean KGENTS_CHAT_CACHE_URL?"]),
        ("POSTGRES_POOL", "1", &["did you mean KGENTS_CHAT_POSTGRES_POOL"]),
    ] {
        let name = format!("KGENTS_CHAT_{name}");
        let ran = run(&tool, &[(name.as_str(), value)], &["sessions"]);
        assert_eq!(ran.code, Some(2), "{name}={value}: {ran:?}");
        ran.complains_of(&[&name]);
        ran.complains_of(words);
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
}

#[test]
fn what_works_on_files_alone_says_what_to_use_for_a_postgresql_database() {
    let tool = Tool::new();
    for (args, words) in [
        (&["backup"][..], &["pg_dump"][..]),
        (&["backup", "--to", "a.db"], &["pg_dump"]),
        (&["restore", "a.dump"], &["pg_restore"]),
        (&["check", "--repair"], &["membrane check", "pg_restore"]),
    ] {
        let ran = run(&tool, &[("KGENTS_POSTGRES_URL", "postgres://me:secret@host/db")], args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        ran.complains_of(words);
        ran.complains_of(&[SHOWN]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
}

#[test]
fn doctor_says_which_database_is_meant_and_where_the_way_to_it_ends() {
    let tool = Tool::new();
    let environment = [
        ("KGENTS_DATABASE_URL", "postgres://me:secret@host.invalid/db"),
        ("KGENTS_POSTGRES_URL", "postgres://me:secret@host.invalid/other"),
    ];
    let ran = run(&tool, &environment, &["doctor", "--addr", "127.0.0.1:1", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let said = |name: &str| -> Vec<String> {
        let checks = found["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
        checks.map(|check| format!("{} {}", check["status"], check["found"])).collect()
    };
    let configuration = said("configuration");
    let shown = SHOWN.replace("@host", "@host.invalid");
    assert!(configuration[0].contains(&shown) && configuration[0].contains("KGENTS_DATABASE_URL"), "{found}");
    let other = "postgresql://me:***@host.invalid:5432/other (KGENTS_POSTGRES_URL), which is not used";
    assert!(configuration.iter().any(|line| line.contains(other)), "{found}");
    assert_eq!(configuration.len(), 2, "{found}");
    let name = said("name");
    assert!(name[0].starts_with("\"problem\"") && name[0].contains("host.invalid"), "{found}");
    assert!(said("login").is_empty() && !ran.stdout.contains("secret"), "{found}");
}
