//! Which database to use: the one place that reads the environment. Opening it is in `wiring.rs`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

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
    /// The database that the flag names, else the environment, else the default place.
    pub(crate) fn choose(flag: Option<&str>) -> Result<Self, Failure> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        Self::choose_with(flag, |name| std::env::var_os(name))
    }

    fn choose_with(
        flag: Option<&str>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        if let Some(url) = flag {
            return Self::parse(url).map_err(|failure| failure.at("--database-url"));
        }
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        for name in ["KGENTS_DATABASE_URL", "KGENTS_POSTGRES_URL"] {
            if let Some(value) = set(name) {
                let url = value.into_string().map_err(|_| Failure::usage("it is not text").at(name))?;
                return Self::parse(&url).map_err(|failure| failure.at(name));
            }
        }
        // A relative XDG path counts as unset: so says the specification.
        let data = set("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data = data.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/share")));
        match data {
            Some(data) => Ok(Self::Sqlite(data.join("kgents").join("membrane.db"))),
            None => Err(Failure::usage(
                "no database is named and HOME is not set; name one with --database-url PATH",
            )),
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
            "postgres" | "postgresql" | "postgresql+asyncpg" => Err(Failure::usage(format!(
                "{scheme}: names a PostgreSQL database, and this binary speaks SQLite; give {FORMS}"
            ))),
            _ => Err(Failure::usage(format!("{scheme}: is not a known kind of database; give {FORMS}"))),
        }
    }
}

/// `sqlite:///x` is the relative path x and `sqlite:////x` the absolute /x, as in kgents.
fn sqlite_path(rest: &str) -> Result<Database, Failure> {
    let path = rest.strip_prefix("///").or_else(|| rest.strip_prefix("//")).unwrap_or(rest);
    if path.contains('?') {
        return Err(Failure::usage(
            "options after ? are not known here; leave them out, or give the path alone if ? belongs to it",
        ));
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
    use super::*;

    fn chosen(flag: Option<&str>, environment: &[(&str, &str)]) -> Result<Database, String> {
        let find = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Database::choose_with(flag, find).map_err(|failure| failure.to_string())
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
}
