//! Which database to use, and the forms in which it is named. What the file says of it is in `relational.rs`; opening
//! it is in `wiring.rs`.

use std::path::PathBuf;

use super::environment::Environment;
use super::origin::Origin;
use super::reader::Sources;
use super::relational::in_file;
use super::report::masked_path;
use super::urls::{POSTGRES_FORM, PostgresUrl};
use crate::failure::Failure;

const POSTGRES_VARIABLE: &str = "KGENTS_POSTGRES_URL";

pub(super) const FORMS: &str = "a path, sqlite:PATH, sqlite:///PATH (four slashes for an absolute one), \
                     sqlite+aiosqlite:///PATH, postgresql://USER:PASSWORD@HOST:PORT/NAME (also postgres: and \
                     postgresql+asyncpg:) or memory:";

/// With what PostgreSQL's own form of names and values begins.
const NAMES_OF_LIBPQ: [&str; 9] =
    ["dbname", "host", "hostaddr", "passfile", "password", "port", "service", "sslmode", "user"];

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// In this SQLite file.
    Sqlite(PathBuf),
    /// In this PostgreSQL database.
    Postgres(PostgresUrl),
    /// Nowhere: they go with the process.
    Memory,
}

impl Database {
    /// The first that is named: by the flag, the environment, the file; else the default place.
    pub(super) fn choose(sources: Sources<'_>) -> Result<(Self, Origin), Failure> {
        let Sources { flags, environment, file } = sources;
        if let Some(url) = flags.database_url {
            return Self::parse_at(url, Origin::Flag("--database-url"));
        }
        for name in ["KGENTS_DATABASE_URL", "KGENTS_POSTGRES_URL"] {
            if let Some(chosen) = in_variable(name, environment)? {
                return Ok(chosen);
            }
        }
        if let Some(file) = file
            && let Some(chosen) = in_file(file, environment)?
        {
            return Ok(chosen);
        }
        match environment.xdg_folder("XDG_DATA_HOME") {
            Some(data) => Ok((Self::Sqlite(data.join("kgents").join("membrane.db")), Origin::Default)),
            None => Err(Failure::usage(
                "no database is named and HOME is not set; name one with --database-url PATH",
            )),
        }
    }

    /// The one that a flag names, and nothing else.
    pub(crate) fn named(url: &str, flag: &'static str) -> Result<Self, Failure> {
        Self::parse_at(url, Origin::Flag(flag)).map(|(database, _)| database)
    }

    /// As it may be shown.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite(path) => masked_path(path),
            Self::Postgres(url) => url.to_string(),
        }
    }

    pub(super) fn parse_at(url: &str, origin: Origin) -> Result<(Self, Origin), Failure> {
        match Self::parse(url) {
            Ok(database) => Ok((database, origin)),
            Err(failure) => Err(failure.at(&origin.place())),
        }
    }

    /// Reads a URL or a path. Errors never repeat what may be a password.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = split_scheme(url) else {
            if url.is_empty() {
                return Err(Failure::usage(format!("the database's name is empty; give {FORMS}")));
            }
            if url.split_once('=').is_some_and(|(name, _)| NAMES_OF_LIBPQ.contains(&name.trim())) {
                return Err(Failure::usage(
                    "PostgreSQL's form NAME=VALUE is not known here; give a URL, \
                     postgresql://USER:PASSWORD@HOST:PORT/NAME (a file of such a name: put ./ before it)",
                ));
            }
            return Ok(Self::Sqlite(PathBuf::from(url)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite+aiosqlite" => sqlite_path(rest),
            "memory" if rest.is_empty() || rest == "//" => Ok(Self::Memory),
            "memory" => Err(Failure::usage("memory: takes nothing after the colon; give memory: alone")),
            _ if PostgresUrl::is_scheme(scheme) => Ok(Self::Postgres(PostgresUrl::parse_rest(scheme, rest)?)),
            _ => Err(Failure::usage(format!("{scheme}: is not a known kind of database; give {FORMS}"))),
        }
    }
}

/// Reads a URL that can only be one of PostgreSQL.
pub(super) fn parse_postgres(url: &str) -> Result<PostgresUrl, Failure> {
    match split_scheme(url) {
        Some((scheme, rest)) if PostgresUrl::is_scheme(scheme) => PostgresUrl::parse_rest(scheme, rest),
        Some((scheme, _)) => Err(Failure::usage(format!(
            "{scheme}: does not name a PostgreSQL database; give {POSTGRES_FORM}"
        ))),
        None => Err(Failure::usage(format!("it holds no URL; give {POSTGRES_FORM}"))),
    }
}

/// What the variable names, if it is set. The one that is called after PostgreSQL may name another kind of database,
/// as it could in kgents, but no bare path: what stands there without a scheme was hardly meant for a file.
pub(super) fn in_variable(
    name: &str,
    environment: &Environment,
) -> Result<Option<(Database, Origin)>, Failure> {
    let Some(url) = environment.find(name)? else { return Ok(None) };
    if name == POSTGRES_VARIABLE && split_scheme(url).is_none() {
        return Err(Failure::usage(format!(
            "it holds no URL; give {POSTGRES_FORM}, or name a file with KGENTS_DATABASE_URL"
        ))
        .at(name));
    }
    Database::parse_at(url, Origin::Environment(name.to_owned())).map(Some)
}

/// `sqlite:///x` is the relative path x and `sqlite:////x` the absolute /x, as in kgents.
fn sqlite_path(rest: &str) -> Result<Database, Failure> {
    let path = rest.strip_prefix("///").or_else(|| rest.strip_prefix("//")).unwrap_or(rest);
    if path.contains('?') {
        return Err(Failure::usage(
            "options after ? are not known here; leave them out, or give the path alone if ? belongs to it",
        ));
    }
    if path.is_empty() && rest != "//" {
        return Err(Failure::usage(format!("no file is named; give {FORMS}")));
    }
    match path {
        "" | ":memory:" => Ok(Database::Memory),
        path => Ok(Database::Sqlite(PathBuf::from(path))),
    }
}

/// A scheme has two letters at least: one is a drive.
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let mut chars = scheme.chars();
    let is_scheme = scheme.len() > 1
        && chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && chars.all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    is_scheme.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::File;
    use super::super::load::Flags;
    use super::*;

    fn chosen(flag: Option<&str>, environment: &[(&str, &str)]) -> Result<Database, String> {
        chosen_with(flag, environment, None).map(|(database, _)| database)
    }

    fn chosen_with(
        flag: Option<&str>,
        environment: &[(&str, &str)],
        yaml: Option<&str>,
    ) -> Result<(Database, String), String> {
        let file = yaml.map(|text| File::parse(Path::new("/c/i.yaml"), text).unwrap());
        let environment = Environment::of(environment);
        let flags = Flags { database_url: flag, ..Flags::default() };
        Database::choose(Sources { flags, environment: &environment, file: file.as_ref() })
            .map(|(database, origin)| (database, origin.to_string()))
            .map_err(|failure| failure.to_string())
    }

    fn relational(rest: &str) -> String {
        format!("providers:\n  relational:\n    {}\n", rest.replace('\n', "\n    "))
    }

    fn file(path: &str) -> Database {
        Database::Sqlite(PathBuf::from(path))
    }

    #[test]
    fn the_first_that_is_set_is_taken() {
        let all = [
            ("KGENTS_DATABASE_URL", "one.db"),
            ("KGENTS_POSTGRES_URL", "sqlite:two.db"),
            ("XDG_DATA_HOME", "/xdg"),
            ("HOME", "/home/me"),
        ];
        assert_eq!(chosen(Some("flag.db"), &all), Ok(file("flag.db")));
        assert_eq!(chosen(None, &all), Ok(file("one.db")));
        assert_eq!(chosen(None, &all[1..]), Ok(file("two.db")));
        assert_eq!(chosen(None, &all[2..]), Ok(file("/xdg/kgents/membrane.db")));
        assert_eq!(chosen(None, &all[3..]), Ok(file("/home/me/.local/share/kgents/membrane.db")));
        assert!(chosen(None, &[]).unwrap_err().contains("--database-url"));
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set_and_a_relative_xdg_path_neither() {
        let environment = [("KGENTS_DATABASE_URL", ""), ("XDG_DATA_HOME", "rel"), ("HOME", "/h")];
        assert_eq!(chosen(None, &environment), Ok(file("/h/.local/share/kgents/membrane.db")));
        assert!(chosen(Some(""), &environment).is_err(), "an empty flag was meant to say something");
    }

    #[test]
    fn every_documented_form_is_read() {
        for (url, path) in [
            ("a.db", "a.db"),
            ("/a b/ü?.db", "/a b/ü?.db"),
            ("./odd:name", "./odd:name"),
            ("C:\\a.db", "C:\\a.db"),
            ("sqlite:a.db", "a.db"),
            ("sqlite:/a.db", "/a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///a.db", "a.db"),
            ("SQLite:////a.db", "/a.db"),
            ("sqlite+aiosqlite:////a.db", "/a.db"),
        ] {
            assert_eq!(chosen(Some(url), &[]), Ok(file(path)), "{url}");
        }
        for url in ["memory:", "memory://", "sqlite::memory:", "sqlite:///:memory:", "sqlite://"] {
            assert_eq!(chosen(Some(url), &[]), Ok(Database::Memory), "{url}");
        }
    }

    #[test]
    fn other_forms_are_refused_with_the_known_ones_and_without_the_password() {
        for url in
            ["mysql://me:secret@host/db", "postgresql+pg8000://me:secret@host/db", "jdbc:postgresql://x"]
        {
            let error = chosen(Some(url), &[]).unwrap_err();
            assert!(error.contains("--database-url") && error.contains("sqlite:PATH"), "{error}");
            assert!(error.contains("postgresql+asyncpg:"), "{error}");
            assert!(!error.contains("secret") && error.contains(url.split(':').next().unwrap()), "{error}");
        }
        for form in ["host=h dbname=d password=secret", "dbname = d", "password='secret' host=h"] {
            let error = chosen(Some(form), &[]).unwrap_err();
            assert!(error.contains("--database-url: ") && error.contains("postgresql://USER"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(chosen(Some("./host=a.db"), &[]), Ok(file("./host=a.db")));
        assert!(chosen(Some("sqlite:///a.db?mode=ro"), &[]).unwrap_err().contains('?'));
    }

    #[test]
    fn a_postgresql_database_is_named_by_flag_variable_and_file() {
        let url = "postgresql+asyncpg://me:secret@h1:1,h2/db?sslmode=require";
        let Ok(Database::Postgres(read)) = chosen(Some(url), &[]) else { panic!("{url}") };
        assert_eq!(read.to_string(), "postgresql://me:***@h1:1,h2:5432/db?sslmode=require");
        for name in ["KGENTS_DATABASE_URL", "KGENTS_POSTGRES_URL"] {
            assert_eq!(chosen(None, &[(name, url)]), Ok(Database::Postgres(read.clone())));
            let error = chosen(None, &[(name, "postgres://me:secret@h:x/db")]).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")) && error.contains("***@h:x/db"), "{error}");
        }
        for kind in ["", "type: postgres\n", "type: PostgreSQL\n", "wal_mode: true\n"] {
            let yaml = relational(&format!("{kind}connection: {url}"));
            let chosen = chosen_with(None, &[], Some(&yaml)).unwrap();
            assert_eq!(chosen.0, Database::Postgres(read.clone()), "{yaml}");
        }
        let debug = format!("{:?}", Database::Postgres(read));
        assert!(!debug.contains("secret") && debug.contains("***"), "{debug}");
    }

    #[test]
    fn the_variable_called_after_postgresql_takes_any_url_and_no_bare_path() {
        assert_eq!(chosen(None, &[("KGENTS_POSTGRES_URL", "sqlite:///a.db")]), Ok(file("a.db")));
        for text in ["a.db", "host/db", "/a.db", "host=h password=secret"] {
            let error = chosen(None, &[("KGENTS_POSTGRES_URL", text)]).unwrap_err();
            assert!(error.starts_with("KGENTS_POSTGRES_URL: it holds no URL"), "{error}");
            assert!(error.contains("KGENTS_DATABASE_URL") && !error.contains("secret"), "{error}");
        }
        for text in ["localhost:5432/db", "me:secret@host/db"] {
            let error = chosen(None, &[("KGENTS_POSTGRES_URL", text)]).unwrap_err();
            assert!(
                error.contains("is not a known kind of database") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_password_of_the_environment_may_hold_anything() {
        let yaml =
            relational("type: postgres\nconnection: postgresql://me:${PGPASSWORD}@${HOST:-db}:5432/keep");
        for (password, told) in
            [("s/e@c:r?t#%", "s%2Fe%40c%3Ar%3Ft%23%25"), ("p%40ss", "p%40ss"), ("a+b", "a%2Bb")]
        {
            let (chosen, _) = chosen_with(None, &[("PGPASSWORD", password)], Some(&yaml)).unwrap();
            let Database::Postgres(url) = chosen else { panic!("{chosen:?}") };
            assert_eq!(url.for_driver(), format!("postgresql://me:{told}@db:5432/keep"));
        }
        let error = chosen_with(None, &[], Some(&yaml)).unwrap_err();
        assert!(error.contains("/c/i.yaml:4") && error.contains("PGPASSWORD is not set"), "{error}");
    }

    #[test]
    fn the_file_comes_after_the_environment_and_before_the_default_place() {
        let yaml = relational("type: sqlite\nconnection: ${HOME}/in-file.db\nwal_mode: true");
        let home = ("HOME", "/me");
        let both = [home, ("KGENTS_POSTGRES_URL", "sqlite:env.db")];
        assert_eq!(
            chosen_with(None, &both, Some(&yaml)),
            Ok((file("env.db"), "environment KGENTS_POSTGRES_URL".into()))
        );
        assert_eq!(
            chosen_with(None, &[home], Some(&yaml)),
            Ok((file("/me/in-file.db"), "file /c/i.yaml:4".into()))
        );
        let default = Ok((file("/me/.local/share/kgents/membrane.db"), "default".into()));
        for nothing in ["", "providers:", "providers: {other: 1}", &relational("type: sqlite"), "chat: {}"] {
            assert_eq!(chosen_with(None, &[home], Some(nothing)), default, "{nothing}");
        }
    }

    #[test]
    fn the_file_may_give_every_form_and_the_home_folder_as_a_tilde() {
        for (yaml, expected) in [
            ("connection: a.db", file("a.db")),
            ("connection: sqlite:////a.db", file("/a.db")),
            ("connection: 'memory:'", Database::Memory),
            ("connection: ~/a.db", file("/me/a.db")),
            ("type: SQLite\nconnection: sqlite:///~/a.db", file("/me/a.db")),
            ("connection: ~other/a.db", file("~other/a.db")),
            ("connection: x/~/a.db", file("x/~/a.db")),
            ("connection: a.db\nwal_mode:", file("a.db")),
            ("connection: a.db\nwal_mode: yes", file("a.db")),
            ("connection: a.db\nwal_mode: 'true'", file("a.db")),
        ] {
            let chosen = chosen_with(None, &[("HOME", "/me")], Some(&relational(yaml)));
            assert_eq!(chosen.map(|(database, _)| database), Ok(expected), "{yaml}");
        }
        assert_eq!(chosen(Some("~/a.db"), &[("HOME", "/me")]), Ok(file("~/a.db")), "a shell has read flags");
    }

    #[test]
    fn what_the_file_cannot_mean_is_refused_with_its_line() {
        for (yaml, words) in [
            (
                "type: postgres",
                &["/c/i.yaml:3", "providers.relational.connection is missing", "postgresql://USER"][..],
            ),
            (
                "type: postgresql\nconnection: a.db",
                &["/c/i.yaml:4: ", "connection: it names a SQLite file", "(/c/i.yaml:3) says postgres"],
            ),
            ("type: postgres\nconnection: 'memory:'", &["/c/i.yaml:4: ", "memory:", "says postgres"]),
            (
                "type: sqlite\nconnection: postgresql://me:secret@h/d",
                &["/c/i.yaml:4: ", "it names a PostgreSQL database", "(/c/i.yaml:3) says sqlite"],
            ),
            (
                "connection: postgresql://me:secret@h:x/d",
                &["/c/i.yaml:3", "connection", "***@h:x/d", "65535"],
            ),
            ("type: postgres\nconnection: host=h password=secret", &["/c/i.yaml:4", "NAME=VALUE"]),
            ("type: postgres\nconnection: 'mysql://me:secret@h/d'", &["/c/i.yaml:4", "mysql: is not"]),
            ("type: mongo", &["/c/i.yaml:3", "\"mongo\"", "sqlite, postgres or postgresql"]),
            ("type: [sqlite]", &["/c/i.yaml:3", "a list", "sqlite, postgres or postgresql"]),
            ("type: sqlite\nconnection: 5", &["/c/i.yaml:4", "connection", "5", "sqlite:PATH"]),
            ("connection: ''", &["/c/i.yaml:3", "connection", "empty"]),
            ("connection: ${NOPE}/a.db", &["/c/i.yaml:3", "connection", "NOPE"]),
            ("connection: ~/a.db", &["HOME", "connection"]),
            ("connection: a.db\nwal_mode: false", &["/c/i.yaml:4", "wal_mode", "write-ahead log"]),
            ("wal_mode: off", &["/c/i.yaml:3", "wal_mode", "write-ahead log"]),
            ("wal_mode: 7", &["/c/i.yaml:3", "wal_mode", "7"]),
        ] {
            let error = chosen_with(None, &[], Some(&relational(yaml))).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{yaml}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = chosen_with(None, &[], Some("providers:\n  relational: a.db\n")).unwrap_err();
        assert!(error.contains("/c/i.yaml:2") && error.contains("a map"), "{error}");
    }

    #[test]
    fn the_file_is_not_looked_at_when_the_database_is_named_elsewhere() {
        for yaml in ["type: postgres", "connection: ${NOPE}", "wal_mode: false"] {
            assert_eq!(chosen_with(Some("a.db"), &[], Some(&relational(yaml))).unwrap().0, file("a.db"));
        }
    }
}
