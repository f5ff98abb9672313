//! The rules of precedence and of values, each on flags, an environment and a file that the test brings.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use membrane::ModelChoice;
use membrane::responder::provider::ProviderKind;
use serde_json::{Value as Json, json};

use super::environment::Environment;
use super::file::File;
use super::load::{Flags, default_settings, known_keys, resolve};
use super::names;
use super::report::Entry;
use super::settings::{LogFormat, LogLevel, Pooler, Provider, Settings};

const DOCUMENTATION: &str = include_str!("../../../../docs/configuration.md");

fn resolved(
    addr: Option<&str>,
    environment: &[(&str, &str)],
    yaml: &str,
) -> Result<(Settings, Vec<Entry>), String> {
    let file = File::parse(Path::new("/c/i.yaml"), yaml).map_err(|failure| failure.to_string())?;
    let flags = Flags { database_url: Some("a.db"), addr };
    resolve(flags, &Environment::of(environment), Some(&file)).map_err(|failure| failure.to_string())
}

fn from_yaml(yaml: &str) -> Result<Settings, String> {
    resolved(None, &[], yaml).map(|(settings, _)| settings)
}

fn from_environment(name: &str, value: &str) -> Result<Settings, String> {
    resolved(None, &[(name, value)], "").map(|(settings, _)| settings)
}

fn entry<'a>(entries: &'a [Entry], key: &str) -> (&'a Json, String) {
    let entry = entries.iter().find(|entry| entry.key == key).unwrap();
    (&entry.value, entry.origin.to_string())
}

/// A key below `chat` with this value, as the file has it.
fn yaml_of(key: &str, value: &str) -> String {
    let [chat, section, name] = key.split('.').collect::<Vec<_>>()[..] else { panic!("{key}") };
    format!("{chat}:\n  {section}:\n    {name}: {value}\n")
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    const KEY: &str = "chat.server.addr";
    let environment = [("KGENTS_CHAT_SERVER_ADDR", "127.0.0.2:2")];
    let yaml = "chat:\n  server:\n    addr: 127.0.0.3:3\n";
    let read = |addr, environment: &[(&str, &str)], yaml| {
        let (settings, entries) = resolved(addr, environment, yaml).unwrap();
        let (value, origin) = entry(&entries, KEY);
        assert_eq!(*value, json!(settings.server.addr.to_string()));
        (settings.server.addr.to_string(), origin)
    };
    let expected = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(read(Some("[::1]:1"), &environment, yaml), expected("[::1]:1", "flag --addr"));
    assert_eq!(
        read(None, &environment, yaml),
        expected("127.0.0.2:2", "environment KGENTS_CHAT_SERVER_ADDR")
    );
    assert_eq!(read(None, &[], yaml), expected("127.0.0.3:3", "file /c/i.yaml:3"));
    assert_eq!(read(None, &[], ""), expected("127.0.0.1:8642", "default"));
    let empty = [("KGENTS_CHAT_SERVER_ADDR", "")];
    assert_eq!(read(None, &empty, yaml), expected("127.0.0.3:3", "file /c/i.yaml:3"), "empty is not set");
}

#[test]
fn what_a_better_place_decides_is_not_read_in_a_worse_one() {
    let environment = [("KGENTS_CHAT_SERVER_DRAIN_MS", "1")];
    for value in ["wrong", "${NOPE}", "-1"] {
        let yaml = yaml_of("chat.server.drain_ms", value);
        assert_eq!(resolved(None, &environment, &yaml).unwrap().0.server.drain, Duration::from_millis(1));
    }
}

#[test]
fn every_default_is_the_promised_one() {
    let settings = default_settings();
    let defaults: Vec<(&str, Json)> =
        known_keys().unwrap().into_iter().map(|known| (known.key, known.default)).collect();
    let expected = [
        ("chat.server.addr", json!("127.0.0.1:8642")),
        ("chat.server.max_body_bytes", json!(33_554_432)),
        ("chat.server.max_streams", json!(10_000)),
        ("chat.server.max_connections", json!(10_000)),
        ("chat.server.header_timeout_ms", json!(30_000)),
        ("chat.server.body_timeout_ms", json!(60_000)),
        ("chat.server.write_timeout_ms", json!(60_000)),
        ("chat.server.drain_ms", json!(30_000)),
        ("chat.server.heartbeat_ms", json!(15_000)),
        ("chat.server.cors_origins", json!(null)),
        ("chat.limits.max_message_bytes", json!(4_194_304)),
        ("chat.limits.max_turn_bytes", json!(67_108_864)),
        ("chat.limits.max_name_bytes", json!(65_536)),
        ("chat.limits.max_metadata_bytes", json!(4_194_304)),
        ("chat.limits.max_tags", json!(1000)),
        ("chat.runs.lease_ms", json!(30_000)),
        ("chat.runs.renew_ms", json!(10_000)),
        ("chat.runs.flush_ms", json!(200)),
        ("chat.runs.keep_ended_ms", json!(60_000)),
        ("chat.runs.recover_ms", json!(10_000)),
        ("chat.echo.delay_ms", json!(0)),
        ("chat.echo.piece_chars", json!(16)),
        ("chat.sqlite.busy_timeout_ms", json!(5000)),
        ("chat.sqlite.queue_len", json!(1024)),
        ("chat.sqlite.max_batch", json!(256)),
        ("chat.sqlite.readers", json!(2)),
        ("chat.sqlite.cache_kib", json!(65_536)),
        ("chat.sqlite.checkpoint_pages", json!(1000)),
        ("chat.postgres.pooler", json!("none")),
        ("chat.postgres.direct_url", Json::Null),
        ("chat.postgres.pool_size", json!(16)),
        ("chat.postgres.connect_timeout_ms", json!(3000)),
        ("chat.postgres.timeout_ms", json!(5000)),
        ("chat.postgres.queue_len", json!(1024)),
        ("chat.postgres.max_batch", json!(256)),
        ("chat.cache.memory_mib", json!(64)),
        ("chat.cache.url", Json::Null),
        ("chat.cache.timeout_ms", json!(20)),
        ("chat.cache.lifetime_ms", json!(600_000)),
        ("chat.model.provider", json!("echo")),
        ("chat.model.name", Json::Null),
        ("chat.model.base_url", Json::Null),
        ("chat.model.api_key", Json::Null),
        ("chat.model.projects", Json::Null),
        ("chat.model.connect_timeout_ms", json!(10_000)),
        ("chat.model.silence_timeout_ms", json!(120_000)),
        ("chat.model.max_retries", json!(2)),
        ("chat.model.max_retry_wait_ms", json!(20_000)),
        ("chat.model.context_size", json!(160_000)),
        ("chat.openai.base_url", Json::Null),
        ("chat.openai.api_key", Json::Null),
        ("chat.anthropic.base_url", Json::Null),
        ("chat.anthropic.api_key", Json::Null),
        ("chat.gemini.base_url", Json::Null),
        ("chat.gemini.api_key", Json::Null),
        ("chat.ollama.base_url", Json::Null),
        ("chat.ollama.api_key", Json::Null),
        ("chat.log.level", json!("info")),
        ("chat.log.format", json!("text")),
    ];
    assert_eq!(defaults, expected);
    assert_eq!(settings.limits, membrane::Limits::default());
    assert_eq!((settings.model.provider, settings.model.name), (Provider::Echo, None));
    assert_eq!((settings.log.level, settings.log.format), (LogLevel::Info, LogFormat::Text));
}

#[test]
fn turns_are_kept_in_memory_by_default_only_where_that_was_measured_to_gain() {
    for (url, mib) in [("sqlite:/tmp/k.db", 64), ("postgresql://me@h/d", 0), ("memory:", 64)] {
        let flags = Flags { database_url: Some(url), ..Flags::default() };
        let (settings, entries) = resolve(flags, &Environment::default(), None).unwrap();
        assert_eq!(settings.cache.memory_mib, mib, "{url}");
        assert_eq!(entry(&entries, "chat.cache.memory_mib"), (&json!(mib), "default".to_owned()), "{url}");
    }
}

#[test]
fn every_number_takes_both_ends_of_its_range_and_nothing_beyond() {
    let mut numbers = 0;
    for known in known_keys().unwrap() {
        let Some(range) = known.allowed.strip_prefix("a whole number from ") else { continue };
        let (min, max) = range.split_once(" to ").unwrap();
        let (min, max): (u64, u64) = (min.parse().unwrap(), max.parse().unwrap());
        numbers += 1;
        let variable = names::variable(known.key);
        // The lease bounds what renews it, and the other way round.
        let other = match known.key {
            "chat.runs.renew_ms" => [("KGENTS_CHAT_RUNS_LEASE_MS", "3600000")].to_vec(),
            "chat.runs.lease_ms" => [("KGENTS_CHAT_RUNS_RENEW_MS", "10")].to_vec(),
            _ => Vec::new(),
        };
        let accepted = |value: u64| {
            let value = value.to_string();
            let in_environment = [&other[..], &[(variable.as_str(), value.as_str())]].concat();
            let by_environment = resolved(None, &in_environment, "");
            let by_file = resolved(None, &other, &yaml_of(known.key, &value));
            let values = [by_environment, by_file].map(|read| {
                read.map(|(_, entries)| entry(&entries, known.key).0.as_u64().unwrap().to_string())
            });
            assert_eq!(values[0].is_ok(), values[1].is_ok(), "{}: {values:?}", known.key);
            values[0] == Ok(value)
        };
        assert!(accepted(min), "{} takes {min}", known.key);
        let max_alone = if known.key == "chat.runs.renew_ms" { max - 1 } else { max };
        assert!(accepted(max_alone), "{} takes {max_alone}", known.key);
        assert!(!accepted(max + 1), "{} takes no {}", known.key, max + 1);
        assert!(min == 0 || !accepted(min - 1), "{} takes no {}", known.key, min - 1);
    }
    assert_eq!(numbers, 39);
}

#[test]
fn each_key_reaches_its_own_field() {
    // Every number gets a value of its own; a mistaken pair would show twice.
    let numbers: Vec<_> =
        known_keys().unwrap().into_iter().filter(|known| known.allowed.starts_with("a whole")).collect();
    let before = format!("{:?}", default_settings());
    let mut changed = BTreeSet::new();
    for known in &numbers {
        let default = known.default.as_u64().unwrap();
        let value = if default == 0 { 1 } else { default - 1 };
        let after = format!(
            "{:?}",
            Settings {
                database: super::Database::Memory,
                ..from_environment(&names::variable(known.key), &value.to_string()).unwrap()
            }
        );
        assert_ne!(after, before, "{} changes nothing", known.key);
        assert!(changed.insert(after), "{} changes what another key changes", known.key);
        let field = known.key.rsplit('.').next().unwrap().trim_end_matches("_ms");
        assert!(before.contains(&format!("{field}: ")), "{field} is the name of its field");
    }
}

#[test]
fn numbers_may_be_quoted_and_texts_expanded() {
    let environment = [("PORT", "9000"), ("MS", "7")];
    let yaml = "chat:\n  server:\n    addr: 127.0.0.1:${PORT}\n    drain_ms: '5'\n    header_timeout_ms: \"500\"\n  \
                echo:\n    delay_ms: ${env:MS}\n  model:\n    name: '4'\n  log:\n    level: DEBUG\n";
    let (settings, _) = resolved(None, &environment, yaml).unwrap();
    assert_eq!(settings.server.addr.port(), 9000);
    assert_eq!(settings.server.drain, Duration::from_millis(5));
    assert_eq!(settings.echo.delay, Duration::from_millis(7));
    assert_eq!(settings.model.name.as_deref(), Some("4"));
    assert_eq!(settings.log.level, LogLevel::Debug);
}

#[test]
fn what_a_key_cannot_be_is_refused_with_place_key_value_and_remedy() {
    for (key, value, shown, remedy) in [
        ("chat.server.drain_ms", "5.0", "5.0", "a whole number from 0 to 3600000"),
        ("chat.server.drain_ms", "-5", "-5", "a whole number from 0 to 3600000"),
        ("chat.server.drain_ms", "3600001", "3600001", "a whole number from 0 to 3600000"),
        ("chat.server.drain_ms", "soon", "\"soon\"", "a whole number from 0 to 3600000"),
        ("chat.server.drain_ms", "true", "true", "a whole number"),
        ("chat.server.drain_ms", "[1]", "a list", "a whole number"),
        ("chat.server.drain_ms", "{a: 1}", "a map", "a whole number"),
        ("chat.server.addr", "8642", "8642", "an IP address with a port"),
        ("chat.server.addr", "localhost:8642", "\"localhost:8642\"", "127.0.0.1:8642"),
        ("chat.model.provider", "nobody", "\"nobody\"", "one of: echo, openai, anthropic, gemini, ollama"),
        ("chat.model.projects", "p=", "\"p=\"", "PROJECT=MODEL or PROJECT=PROVIDER:MODEL"),
        ("chat.model.api_key", "[a]", "what it is", "text"),
        ("chat.model.name", "4", "4", "in quotes"),
        ("chat.model.name", "' '", "\" \"", "text"),
        ("chat.postgres.pooler", "statement", "\"statement\"", "one of: none, session, transaction"),
        ("chat.postgres.pool_size", "0", "0", "a whole number from 1 to 10000"),
        ("chat.postgres.direct_url", "5", "5", "postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("chat.cache.url", "[a]", "a list", "redis://USER:PASSWORD@HOST:PORT/NUMBER"),
        ("chat.log.level", "loud", "\"loud\"", "one of: error, warn, info, debug, trace"),
        ("chat.log.format", "json", "\"json\"", "one of: text"),
    ] {
        let error = from_yaml(&yaml_of(key, value)).unwrap_err();
        let expected = format!("/c/i.yaml:3: {key} cannot be {shown}; give ");
        assert!(error.starts_with(&expected) && error.contains(remedy), "{error}");
    }
    let error = from_environment("KGENTS_CHAT_ECHO_DELAY_MS", "1.5").unwrap_err();
    let expected = "KGENTS_CHAT_ECHO_DELAY_MS: chat.echo.delay_ms cannot be \"1.5\"; give a whole number";
    assert!(error.starts_with(expected), "{error}");
    let error = resolved(Some("here"), &[], "").unwrap_err();
    assert!(error.starts_with("--addr: chat.server.addr cannot be \"here\"; give an IP address"), "{error}");
    let error = from_yaml(&yaml_of("chat.echo.delay_ms", "${NOPE}")).unwrap_err();
    assert!(error.starts_with("/c/i.yaml:3: chat.echo.delay_ms: NOPE is not set"), "{error}");
}

#[test]
fn a_url_is_refused_with_its_place_and_without_its_password() {
    for (key, value, remedy) in [
        ("chat.postgres.direct_url", "'sqlite:a.db'", "sqlite: does not name a PostgreSQL database"),
        ("chat.postgres.direct_url", "'mysql://me:secret@h/d'", "mysql: does not name a PostgreSQL database"),
        ("chat.postgres.direct_url", "me:secret@h/d", "postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("chat.postgres.direct_url", "postgres://me:secret@h:x/d", "postgres://me:***@h:x/d cannot be \"x\""),
        ("chat.cache.url", "'memory:'", "redis://USER:PASSWORD@HOST:PORT/NUMBER"),
        ("chat.cache.url", "redis://:secret@h/x", "redis://:***@h/x cannot be \"x\""),
    ] {
        let error = from_yaml(&yaml_of(key, value)).unwrap_err();
        let is_told = error.starts_with(&format!("/c/i.yaml:3: {key}: ")) && error.contains(remedy);
        assert!(is_told && !error.contains("secret"), "{error}");
        let variable = names::variable(key);
        let error = from_environment(&variable, value.trim_matches('\'')).unwrap_err();
        let is_told = error.starts_with(&format!("{variable}: {key}: ")) && error.contains(remedy);
        assert!(is_told && !error.contains("secret"), "{error}");
    }
}

#[test]
fn urls_are_shown_without_their_passwords_and_empty_ones_are_none() {
    let yaml = "chat:\n  postgres:\n    pooler: Transaction\n    direct_url: postgres://me:${PW}@h/d\n  cache:\n    \
                url: valkey://:${PW}@c\n";
    let (settings, entries) = resolved(None, &[("PW", "se/cret")], yaml).unwrap();
    let origin = |line| format!("file /c/i.yaml:{line}");
    assert_eq!(settings.postgres.pooler, Pooler::Transaction);
    let direct = settings.postgres.direct_url.clone().unwrap();
    assert_eq!(direct.for_driver(), "postgresql://me:se%2Fcret@h:5432/d");
    let shown = (&json!("postgresql://me:***@h:5432/d"), origin(4));
    assert_eq!(entry(&entries, "chat.postgres.direct_url"), shown);
    let cache = settings.cache.url.clone().unwrap();
    assert_eq!(cache.for_driver(), "redis://:se%2Fcret@c:6379/0");
    assert_eq!(entry(&entries, "chat.cache.url"), (&json!("redis://:***@c:6379/0"), origin(6)));
    assert!(!format!("{settings:?} {entries:?}").contains("cret"));
    for empty in ["''", "' '", ""] {
        for key in ["chat.cache.url", "chat.postgres.direct_url"] {
            let settings = from_yaml(&yaml_of(key, empty)).unwrap();
            assert_eq!((settings.cache.url, settings.postgres.direct_url), (None, None));
        }
    }
}

#[test]
fn a_way_past_the_pooler_needs_a_pooler() {
    let direct = ("KGENTS_CHAT_POSTGRES_DIRECT_URL", "postgres://me:secret@h/d");
    let error = resolved(None, &[direct], "").unwrap_err();
    assert!(error.starts_with("KGENTS_CHAT_POSTGRES_DIRECT_URL: chat.postgres.direct_url leads"), "{error}");
    assert!(error.contains("chat.postgres.pooler is none (default)") && !error.contains("secret"), "{error}");
    for pooler in ["session", "transaction"] {
        resolved(None, &[direct, ("KGENTS_CHAT_POSTGRES_POOLER", pooler)], "").unwrap();
        from_environment("KGENTS_CHAT_POSTGRES_POOLER", pooler).unwrap();
    }
}

#[test]
fn a_lease_must_outlast_its_renewal() {
    let yaml = "chat:\n  runs:\n    lease_ms: 5000\n";
    let error = from_yaml(yaml).unwrap_err();
    assert!(error.contains("chat.runs.renew_ms (10000, default)"), "{error}");
    assert!(error.contains("chat.runs.lease_ms (5000, file /c/i.yaml:3)"), "{error}");
    let equal = [("KGENTS_CHAT_RUNS_RENEW_MS", "5000")];
    assert!(resolved(None, &equal, yaml).is_err(), "as long is too long");
    let less = [("KGENTS_CHAT_RUNS_RENEW_MS", "4999")];
    assert_eq!(resolved(None, &less, yaml).unwrap().0.runs.renew, Duration::from_millis(4999));
}

#[test]
fn an_unknown_key_of_ours_names_file_line_and_the_nearest_known_one() {
    for (yaml, place, name, nearest) in [
        (yaml_of("chat.server.adr", "x"), "/c/i.yaml:3", "chat.server.adr", "chat.server.addr"),
        (yaml_of("chat.sever.addr", "x"), "/c/i.yaml:2", "chat.sever", "chat.server"),
        (yaml_of("chat.server.lease_ms", "1"), "/c/i.yaml:3", "chat.server.lease_ms", "chat.runs.lease_ms"),
        (yaml_of("chat.log.levl", ""), "/c/i.yaml:3", "chat.log.levl", "chat.log.level"),
        ("chat: {addr: 1}".to_owned(), "/c/i.yaml:1", "chat.addr", "chat.server.addr"),
    ] {
        let error = from_yaml(&yaml).unwrap_err();
        assert!(
            error.starts_with(&format!("{place}: {name} is not a known key; did you mean {nearest}?")),
            "{error}"
        );
    }
    let both = "chat:\n  server:\n    drain_ms: wrong\n    adr: x\n";
    assert!(from_yaml(both).unwrap_err().contains("chat.server.adr"), "a typo is told before a value");
}

#[test]
fn an_unknown_variable_of_ours_names_the_nearest_known_one() {
    let error = from_environment("KGENTS_CHAT_SERVER_ADR", "x").unwrap_err();
    let expected = "KGENTS_CHAT_SERVER_ADR is not a known variable; did you mean KGENTS_CHAT_SERVER_ADDR?";
    assert!(error.starts_with(expected), "{error}");
    from_environment("KGENTS_CHAT_SERVER_ADR", "").unwrap();
    from_environment("KGENTS_OTHER", "x").unwrap();
}

#[test]
fn a_providers_key_is_that_of_the_file_or_of_its_usual_variable_and_never_shown() {
    let usual = [("OPENAI_API_KEY", "usual"), ("GOOGLE_API_KEY", "google"), ("ANTHROPIC_API_KEY", "ant")];
    let yaml = "chat:\n  model: {provider: openai, base_url: 'http://here', projects: 'a=gpt:1, b=anthropic:claude'}\n  \
                anthropic: {api_key: '${MINE}'}\n";
    let (settings, entries) = resolved(None, &[&usual[..], &[("MINE", "mine")]].concat(), yaml).unwrap();
    let account = |kind| {
        let (_, account) = settings.model.accounts.iter().find(|(known, _)| *known == kind).unwrap();
        (account.base_url.as_deref(), account.api_key.as_deref())
    };
    assert_eq!(account(ProviderKind::OpenAi), (Some("http://here"), Some("usual")));
    assert_eq!(account(ProviderKind::Anthropic), (None, Some("mine")), "the file comes first");
    assert_eq!(account(ProviderKind::Gemini), (None, Some("google")));
    assert_eq!(account(ProviderKind::Ollama), (None, None));
    assert_eq!(
        entry(&entries, "chat.openai.api_key"),
        (&json!("***"), "environment OPENAI_API_KEY".to_owned())
    );
    assert_eq!(entry(&entries, "chat.ollama.api_key").0, &Json::Null);
    let choice = |provider: Option<&str>, name: &str| ModelChoice {
        provider: provider.map(str::to_owned),
        name: Some(name.to_owned()),
    };
    let expected = [("a", choice(None, "gpt:1")), ("b", choice(Some("anthropic"), "claude"))];
    assert_eq!(settings.model.projects, expected.map(|(project, model)| (project.to_owned(), model)));
}

#[test]
fn a_section_may_be_empty_but_nothing_else_than_a_map() {
    for yaml in ["chat:", "chat: {}", "chat:\n  server:\n", "chat:\n  server:\n    addr:\n"] {
        from_yaml(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    }
    for (yaml, place) in [("chat: 5", "/c/i.yaml:1: chat "), ("chat:\n  log: [a]", "/c/i.yaml:2: chat.log ")]
    {
        let error = from_yaml(yaml).unwrap_err();
        assert!(error.starts_with(place) && error.contains("give a map of keys"), "{error}");
    }
}

#[test]
fn what_belongs_to_kgents_is_not_looked_at() {
    let yaml = "profile: ${STAGE}\nprofiles: {work: {chat: {odd: 1}}}\nproviders:\n  relational: {pool: 7}\n  \
                vector: ['${NOPE}', .nan]\nchatty: {server: 1}\n";
    let (settings, entries) = resolved(None, &[("STAGE", "work")], yaml).unwrap();
    let expected = default_settings();
    assert_eq!(settings, Settings { database: settings.database.clone(), ..expected });
    assert_eq!(entry(&entries, "profile"), (&json!("work"), "file /c/i.yaml:1".to_owned()));
    assert!(from_yaml("profile: {a: 1}").unwrap_err().contains("profile cannot be a map"));
}

#[test]
fn the_documentation_lists_every_key_as_it_is() {
    let row = |cells: [&str; 5]| format!("| {} |", cells.join(" | "));
    let expected: Vec<String> = known_keys()
        .unwrap()
        .iter()
        .map(|known| {
            let default = match &known.default {
                Json::Null => "-".to_owned(),
                Json::String(word) => word.clone(),
                other => other.to_string(),
            };
            let (key, variable) = (format!("`{}`", known.key), format!("`{}`", names::variable(known.key)));
            row([&key, &variable, known.about, &known.allowed, &default])
        })
        .collect();
    let found: Vec<&str> = DOCUMENTATION.lines().filter(|line| line.starts_with("| `chat.")).collect();
    assert_eq!(found, expected, "as it should be:\n{}", expected.join("\n"));
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let (_, example) = DOCUMENTATION.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let file = File::parse(Path::new("example"), example).unwrap();
    let environment = Environment::of(&[("HOME", "/me")]);
    let (settings, entries) = resolve(Flags::default(), &environment, Some(&file)).unwrap();
    assert!(entry(&entries, "database").1.starts_with("file example:"), "{entries:?}");
    assert_ne!(settings.server, default_settings().server);
}
