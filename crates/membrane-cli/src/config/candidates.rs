//! Every database that the configuration could have meant, the one in force first: for whoever looks for a session in
//! the wrong one.

use std::path::PathBuf;

use super::database::{Database, in_variable};
use super::environment::Environment;
use super::file::{self, File};
use super::load::Flags;
use super::origin::Origin;
use super::relational::in_file;
use crate::failure::Failure;

/// A database that could have been meant.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Where it is named.
    pub(crate) place: String,
    pub(crate) database: Result<Database, Failure>,
}

/// kgents' own file, below the home folder whatever the XDG variables say.
const UNIVERSE: &str = ".local/share/kgents/default.db.db";

/// All of them, in the order in which they count.
pub(crate) fn candidates(flags: Flags<'_>) -> Vec<Candidate> {
    let environment = Environment::of_process();
    let file = file::location(&environment).map(|path| File::read(&path));
    list(flags, &environment, file)
}

fn list(
    flags: Flags<'_>,
    environment: &Environment,
    file: Option<Result<Option<File>, Failure>>,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |place: &str, database| all.push(Candidate { place: place.to_owned(), database });
    if let Some(url) = flags.database_url {
        let parsed = Database::parse_at(url, Origin::Flag("--database-url"));
        add("--database-url", parsed.map(|(database, _)| database));
    }
    for name in ["KGENTS_DATABASE_URL", "KGENTS_POSTGRES_URL"] {
        match in_variable(name, environment) {
            Ok(Some((database, _))) => add(name, Ok(database)),
            Ok(None) => {}
            Err(failure) => add(name, Err(failure)),
        }
    }
    match file {
        Some(Ok(Some(file))) => match in_file(&file, environment) {
            Ok(Some((database, _))) => add("infrastructure.yaml", Ok(database)),
            Ok(None) => {}
            Err(failure) => add("infrastructure.yaml", Err(failure)),
        },
        Some(Ok(None)) | None => {}
        Some(Err(failure)) => add("infrastructure.yaml", Err(failure)),
    }
    let ours = |folder: PathBuf| Database::Sqlite(folder.join("kgents").join("membrane.db"));
    let by_variable = environment.xdg_folder("XDG_DATA_HOME").map(ours);
    if let Some(database) = &by_variable {
        add("the default place", Ok(database.clone()));
    }
    if let Some(home) = environment.home() {
        let by_home = ours(home.join(".local").join("share"));
        if by_variable.as_ref() != Some(&by_home) {
            add("the default place without XDG_DATA_HOME", Ok(by_home));
        }
        add("kgents' own file", Ok(Database::Sqlite(home.join(UNIVERSE))));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_place_is_a_candidate_in_the_order_in_which_they_count() {
        let environment = Environment::of(&[
            ("KGENTS_DATABASE_URL", "one.db"),
            ("KGENTS_POSTGRES_URL", "postgres://me:secret@host/db"),
            ("XDG_DATA_HOME", "/xdg"),
            ("HOME", "/me"),
        ]);
        let yaml = "providers:\n  relational:\n    connection: ~/two.db\n";
        let file = File::parse(Path::new("/c/i.yaml"), yaml).unwrap();
        let flags = Flags { database_url: Some("flag.db"), ..Flags::default() };
        let all = list(flags, &environment, Some(Ok(Some(file))));
        let shown: Vec<String> = all
            .iter()
            .map(|candidate| match &candidate.database {
                Ok(database) => format!("{}: {}", candidate.place, database.shown()),
                Err(failure) => format!("{}: {failure}", candidate.place),
            })
            .collect();
        assert_eq!(shown[0], "--database-url: flag.db");
        assert_eq!(shown[1], "KGENTS_DATABASE_URL: one.db");
        assert_eq!(shown[2], "KGENTS_POSTGRES_URL: postgresql://me:***@host:5432/db");
        assert_eq!(
            shown[3..],
            [
                "infrastructure.yaml: /me/two.db",
                "the default place: /xdg/kgents/membrane.db",
                "the default place without XDG_DATA_HOME: /me/.local/share/kgents/membrane.db",
                "kgents' own file: /me/.local/share/kgents/default.db.db",
            ]
        );
    }
}
