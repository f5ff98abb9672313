//! Which database to use. Opening it is in `wiring.rs`.

use std::path::PathBuf;

use super::environment::Environment;
use super::file::File;
use super::origin::Origin;
use super::reader::{Sources, cannot_be, find_expanded};
use super::report::masked_path;
use super::yaml::Yaml;
use crate::failure::Failure;

const TYPE: &str = "providers.relational.type";
const CONNECTION: &str = "providers.relational.connection";
const WAL_MODE: &str = "providers.relational.wal_mode";

const FORMS: &str = "a path, sqlite:PATH, sqlite:///PATH (four slashes for an absolute one), \
                     sqlite+aiosqlite:///PATH or memory:";

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// In this SQLite file.
    Sqlite(PathBuf),
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
            if let Some(url) = environment.find(name)? {
                return Self::parse_at(url, Origin::Environment(name.to_owned()));
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

    /// As it may be shown.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite(path) => masked_path(path),
        }
    }

    pub(super) fn parse_at(url: &str, origin: Origin) -> Result<(Self, Origin), Failure> {
        match Self::parse(url) {
            Ok(database) => Ok((database, origin)),
            Err(failure) => Err(failure.at(&origin.place())),
        }
    }

    /// Reads a URL or a path. Errors never repeat more of a URL than its scheme: it may hold a password.
    fn parse(url: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = split_scheme(url) else {
            if url.is_empty() {
                return Err(Failure::usage(format!("the database's name is empty; give {FORMS}")));
            }
            return Ok(Self::Sqlite(PathBuf::from(url)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite+aiosqlite" => sqlite_path(rest),
            "memory" if rest.is_empty() || rest == "//" => Ok(Self::Memory),
            "memory" => Err(Failure::usage("memory: takes nothing after the colon; give memory: alone")),
            "postgres" | "postgresql" | "postgresql+asyncpg" => Err(not_spoken(&format!("{scheme}:"))),
            _ => Err(Failure::usage(format!("{scheme}: is not a known kind of database; give {FORMS}"))),
        }
    }
}

/// What `providers.relational` of the file names, if anything.
pub(super) fn in_file(file: &File, environment: &Environment) -> Result<Option<(Database, Origin)>, Failure> {
    refuse_without_wal(file, environment)?;
    if let Some((kind, origin)) = find_expanded(file, TYPE, environment)? {
        let word = if let Yaml::Text(word) = &kind { word.to_ascii_lowercase() } else { String::new() };
        match word.as_str() {
            "sqlite" => {}
            "postgres" | "postgresql" => {
                return Err(not_spoken(&format!("{TYPE} {word}")).at(&origin.place()));
            }
            _ => return Err(cannot_be(TYPE, &kind, "sqlite, postgres or postgresql").at(&origin.place())),
        }
    }
    match find_expanded(file, CONNECTION, environment)? {
        None => Ok(None),
        Some((Yaml::Text(url), origin)) => match Database::parse(&url) {
            Ok(Database::Sqlite(path)) => {
                Ok(Some((Database::Sqlite(below_home(path, environment)?), origin)))
            }
            Ok(Database::Memory) => Ok(Some((Database::Memory, origin))),
            Err(failure) => Err(failure.at(CONNECTION).at(&origin.place())),
        },
        Some((other, origin)) => Err(cannot_be(CONNECTION, &other, FORMS).at(&origin.place())),
    }
}

fn refuse_without_wal(file: &File, environment: &Environment) -> Result<(), Failure> {
    let Some((wal, origin)) = find_expanded(file, WAL_MODE, environment)? else { return Ok(()) };
    let on = match &wal {
        Yaml::Bool(on) => Some(*on),
        Yaml::Text(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let failure = match on {
        Some(true) => return Ok(()),
        Some(false) => Failure::usage(format!(
            "{WAL_MODE} cannot be false: that nothing acknowledged is lost rests on the write-ahead log; \
             set it to true, or leave it out"
        )),
        None => cannot_be(WAL_MODE, &wal, "true, or leave it out"),
    };
    Err(failure.at(&origin.place()))
}

/// A shell would have read `~`; in a file it is for us to do.
fn below_home(path: PathBuf, environment: &Environment) -> Result<PathBuf, Failure> {
    match path.strip_prefix("~") {
        Err(_) => Ok(path),
        Ok(below) => match environment.home() {
            Some(home) => Ok(home.join(below)),
            None => Err(Failure::usage("~ is the home folder, and HOME is not set; give an absolute path")
                .at(CONNECTION)),
        },
    }
}

fn not_spoken(name: &str) -> Failure {
    Failure::usage(format!("{name} names a PostgreSQL database, and this binary speaks SQLite; give {FORMS}"))
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
        for url in ["mysql://me:secret@host/db", "postgresql+asyncpg://me:secret@host/db"] {
            let error = chosen(Some(url), &[]).unwrap_err();
            assert!(error.contains("--database-url") && error.contains("sqlite:PATH"), "{error}");
            assert!(!error.contains("secret") && error.contains(url.split(':').next().unwrap()), "{error}");
        }
        let error = chosen(None, &[("KGENTS_POSTGRES_URL", "postgres://x")]).unwrap_err();
        assert!(error.contains("KGENTS_POSTGRES_URL") && error.contains("PostgreSQL"), "{error}");
        assert!(chosen(Some("sqlite:///a.db?mode=ro"), &[]).unwrap_err().contains('?'));
    }

    #[test]
    fn the_file_comes_after_the_environment_and_before_the_default_place() {
        let yaml = relational("type: sqlite\nconnection: ${HOME}/in-file.db\nwal_mode: true");
        let home = ("HOME", "/me");
        let both = [home, ("KGENTS_POSTGRES_URL", "env.db")];
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
                &["/c/i.yaml:3", "providers.relational.type", "speaks SQLite", "sqlite:PATH"][..],
            ),
            ("type: postgresql\nconnection: a.db", &["/c/i.yaml:3", "PostgreSQL"]),
            ("connection: postgresql://me:secret@h/d", &["/c/i.yaml:3", "connection", "PostgreSQL"]),
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
