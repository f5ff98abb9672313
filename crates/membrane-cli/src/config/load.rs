//! From flags, the environment and the file to settings. [`resolve`] decides, and is what tests call; [`load`]
//! fetches what it decides on.

use serde_json::{Value as Json, json};

use super::database::Database;
use super::environment::Environment;
use super::file::{self, File};
use super::keys;
use super::origin::Origin;
use super::reader::{Known, Reader, Sources, cannot_be, find_expanded};
use super::report::{Entry, Report};
use super::settings::Settings;
use super::yaml::Yaml;
use crate::failure::Failure;

/// What the command line says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flags<'a> {
    /// `--database-url`
    pub(crate) database_url: Option<&'a str>,
    /// `--addr`, of the commands that have it.
    pub(crate) addr: Option<&'a str>,
}

impl<'a> Flags<'a> {
    /// The flag for this key, if it is given, with its text.
    pub(super) fn find(&self, key: &str) -> Option<(&'static str, &'a str)> {
        match key {
            "chat.server.addr" => self.addr.map(|text| ("--addr", text)),
            _ => None,
        }
    }
}

/// Reads the environment and the file, and decides.
pub(crate) fn load(flags: Flags<'_>) -> Result<(Settings, Report), Failure> {
    let environment = Environment::of_process();
    let path = file::location(&environment);
    let file = path.as_deref().map(File::read).transpose()?.flatten();
    let (settings, entries) = resolve(flags, &environment, file.as_ref())?;
    Ok((settings, Report { entries, file: path.map(|path| (path, file.is_some())) }))
}

/// What is in force, and where each value came from.
pub(super) fn resolve(
    flags: Flags<'_>,
    environment: &Environment,
    file: Option<&File>,
) -> Result<(Settings, Vec<Entry>), Failure> {
    let sources = Sources { flags, environment, file };
    let (database, origin) = Database::choose(sources)?;
    let mut entries = vec![profile(sources)?, Entry::new("database", json!(database.shown()), origin)];
    let mut reader = Reader::new(sources);
    let settings = keys::read(database, &mut reader);
    entries.extend(reader.finish()?.into_iter().map(Entry::from));
    Ok((settings, entries))
}

/// Every key that there is, each with its default.
pub(crate) fn known_keys() -> Result<Vec<Known>, Failure> {
    let environment = Environment::default();
    let mut reader = Reader::new(Sources { flags: Flags::default(), environment: &environment, file: None });
    keys::read(Database::Memory, &mut reader);
    reader.finish()
}

/// What is in force when nothing is set.
#[cfg(test)]
pub(crate) fn default_settings() -> Settings {
    let flags = Flags { database_url: Some("memory:"), ..Flags::default() };
    resolve(flags, &Environment::default(), None).unwrap().0
}

/// kgents' word for what the file is for. Nothing here depends on it.
fn profile(Sources { environment, file, .. }: Sources<'_>) -> Result<Entry, Failure> {
    const KEY: &str = "profile";
    let found = file.map(|file| find_expanded(file, KEY, environment)).transpose()?.flatten();
    let (value, origin) = match found {
        None => (Json::Null, Origin::Default),
        Some((Yaml::Text(name), origin)) => (json!(name), origin),
        Some((other, origin)) => return Err(cannot_be(KEY, &other, "a name").at(&origin.place())),
    };
    Ok(Entry::new(KEY, value, origin))
}
