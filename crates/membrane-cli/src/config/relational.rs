//! What `providers.relational` of the file says of the database. The file is kgents' too: what it says may not
//! contradict itself. Not here: the forms of a connection (`database.rs`), and the tests, which are there as well.

use std::path::PathBuf;

use super::database::{Database, FORMS};
use super::environment::Environment;
use super::file::File;
use super::origin::Origin;
use super::reader::{cannot_be, find_expanded};
use super::urls::POSTGRES_FORM;
use super::yaml::Yaml;
use crate::failure::Failure;

const TYPE: &str = "providers.relational.type";
const CONNECTION: &str = "providers.relational.connection";
const WAL_MODE: &str = "providers.relational.wal_mode";

/// What `providers.relational` of the file names, if anything.
pub(super) fn in_file(file: &File, environment: &Environment) -> Result<Option<(Database, Origin)>, Failure> {
    refuse_without_wal(file, environment)?;
    let kind = find_expanded(file, TYPE, environment)?;
    let is_postgres = match &kind {
        None => None,
        Some((Yaml::Text(word), _)) if word.eq_ignore_ascii_case("sqlite") => Some(false),
        Some((Yaml::Text(word), _))
            if word.eq_ignore_ascii_case("postgres") || word.eq_ignore_ascii_case("postgresql") =>
        {
            Some(true)
        }
        Some((kind, origin)) => {
            return Err(cannot_be(TYPE, kind, "sqlite, postgres or postgresql").at(&origin.place()));
        }
    };
    let (url, origin) = match find_expanded(file, CONNECTION, environment)? {
        Some((Yaml::Text(url), origin)) => (url, origin),
        Some((other, origin)) => return Err(cannot_be(CONNECTION, &other, FORMS).at(&origin.place())),
        None => {
            return match kind {
                Some((_, origin)) if is_postgres == Some(true) => Err(Failure::usage(format!(
                    "{TYPE} names PostgreSQL, and {CONNECTION} is missing; give {POSTGRES_FORM} there"
                ))
                .at(&origin.place())),
                _ => Ok(None),
            };
        }
    };
    let at_connection = |failure: Failure| failure.at(CONNECTION).at(&origin.place());
    let contradiction = |ours: &str, other: &str| {
        let place = kind.as_ref().map(|(_, origin)| origin.place()).unwrap_or_default();
        let problem =
            format!("it names {ours}, and {TYPE} ({place}) says {other}; correct the one or the other");
        Err(at_connection(Failure::usage(problem)))
    };
    let database = match (Database::parse(&url).map_err(at_connection)?, is_postgres) {
        (Database::Postgres(_), Some(false)) => return contradiction("a PostgreSQL database", "sqlite"),
        (Database::Sqlite(_), Some(true)) => return contradiction("a SQLite file", "postgres"),
        (Database::Memory, Some(true)) => return contradiction("memory:", "postgres"),
        (Database::Sqlite(path), _) => Database::Sqlite(below_home(path, environment)?),
        (other, _) => other,
    };
    Ok(Some((database, origin)))
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
