//! Where the servers' programs are, and which package brings them where they are not.
//!
//! Not here: starting them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{ServerError, folders};

/// Names the folder of PostgreSQL's server programs, before any other place.
pub const POSTGRES_BIN: &str = "MEMBRANE_TEST_POSTGRES_BIN";

/// Folders of programs that are not in everybody's PATH.
const FOLDERS: [&str; 6] =
    ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin"];
/// Folders that hold a folder for each version of PostgreSQL, with `bin` in it: Debian's, Red Hat's, Homebrew's.
const VERSIONS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];
/// The programs without which a folder is not one of a PostgreSQL server.
const POSTGRES: [&str; 3] = ["postgres", "initdb", "psql"];

/// A server that tests need and that is not installed.
#[derive(Debug)]
pub struct Missing {
    /// Debian's package.
    pub package: &'static str,
    /// What was looked for, and where.
    pub error: ServerError,
}

/// All that is missing at once.
pub fn missing() -> Vec<Missing> {
    let all = [("postgresql", postgres_folder()), ("pgbouncer", pgbouncer()), ("redis-server", redis())];
    all.into_iter()
        .filter_map(|(package, found)| found.err().map(|error| Missing { package, error }))
        .collect()
}

/// The folder of PostgreSQL's server programs: the one that the environment names, one in PATH, the newest of
/// those that are installed.
pub(crate) fn postgres_folder() -> Result<PathBuf, ServerError> {
    choose_postgres_folder(variable(POSTGRES_BIN), &search_path(), &installed_versions(&VERSIONS))
}

/// The client `psql`: the server's own, or any.
pub(crate) fn psql() -> Result<PathBuf, ServerError> {
    match postgres_folder() {
        Ok(folder) => Ok(folder.join("psql")),
        Err(_) => find(&["psql"], &search_path(), "apt-get install postgresql-client"),
    }
}

/// PgBouncer.
pub(crate) fn pgbouncer() -> Result<PathBuf, ServerError> {
    find(&["pgbouncer"], &search_path(), "apt-get install pgbouncer, brew install pgbouncer")
}

/// Redis, or Valkey, which speaks the same language.
pub(crate) fn redis() -> Result<PathBuf, ServerError> {
    find(
        &["redis-server", "valkey-server"],
        &search_path(),
        "apt-get install redis-server or valkey-server, brew install redis",
    )
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "tests are told through the environment where servers are")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn search_path() -> Vec<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let mut folders = Vec::new();
    for folder in env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

fn choose_postgres_folder(
    named: Option<OsString>,
    search_path: &[PathBuf],
    versions: &[PathBuf],
) -> Result<PathBuf, ServerError> {
    let missing = |looked_in: String| ServerError::Missing {
        program: "PostgreSQL's server (postgres, initdb, psql)",
        looked_in,
        install: "apt-get install postgresql, brew install postgresql; or name its folder in \
                  MEMBRANE_TEST_POSTGRES_BIN",
    };
    let is_complete = |folder: &Path| POSTGRES.iter().all(|program| is_program(&folder.join(program)));
    if let Some(named) = named {
        let folder = PathBuf::from(named);
        if is_complete(&folder) {
            return Ok(folder);
        }
        return Err(missing(format!("{POSTGRES_BIN}={}", folder.display())));
    }
    // A link in PATH leads to the folder in which the other programs are.
    let in_path = search_path
        .iter()
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_owned));
    in_path
        .chain(versions.iter().cloned())
        .find(|folder| is_complete(folder))
        .ok_or_else(|| missing(folders(&[search_path, versions].concat())))
}

/// The `bin` folders of the versions that are installed, the newest first.
fn installed_versions(places: &[(&str, &str)]) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for (place, prefix) in places {
        // A place that is not there or not readable holds no version for us.
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(version) =
                name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok())
            {
                found.insert((version, entry.path().join("bin")));
            }
        }
    }
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

fn find(
    programs: &[&'static str],
    search_path: &[PathBuf],
    install: &'static str,
) -> Result<PathBuf, ServerError> {
    programs
        .iter()
        .flat_map(|program| search_path.iter().map(move |folder| folder.join(OsStr::new(program))))
        .find(|path| is_program(path))
        .ok_or_else(|| ServerError::Missing {
            program: programs.first().copied().unwrap_or_default(),
            looked_in: folders(search_path),
            install,
        })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs_in(folder: &Path, programs: &[&str]) {
        fs::create_dir_all(folder).expect("a folder can be made");
        for program in programs {
            let path = folder.join(program);
            fs::write(&path, "").expect("a file can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_the_places_and_the_package() {
        let nowhere = [PathBuf::from("/nowhere/bin")];
        let error = find(&["pgbouncer"], &nowhere, "apt-get install pgbouncer").expect_err("it is not there");
        assert_eq!(
            error.to_string(),
            "pgbouncer: not found in /nowhere/bin; install it (apt-get install pgbouncer)"
        );
        let error = choose_postgres_folder(None, &nowhere, &[]).expect_err("it is not there").to_string();
        assert!(
            error.contains("initdb")
                && error.contains("apt-get install postgresql")
                && error.contains(POSTGRES_BIN),
            "{error}"
        );
    }

    #[test]
    fn a_folder_that_the_environment_names_is_taken_or_refused_but_not_passed_over() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let (good, poor) = (place.path().join("good"), place.path().join("poor"));
        programs_in(&good, &POSTGRES);
        programs_in(&poor, &["postgres"]);
        let choose =
            |named: &Path| choose_postgres_folder(Some(named.into()), std::slice::from_ref(&good), &[]);
        assert_eq!(choose(&good).expect("it is complete"), good);
        let error = choose(&poor).expect_err("initdb is missing").to_string();
        assert!(error.contains("MEMBRANE_TEST_POSTGRES_BIN=") && error.contains("poor"), "{error}");
    }

    #[test]
    fn a_link_in_path_leads_to_the_folder_with_all_programs() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let root = place.path().canonicalize().expect("it is there");
        let (real, linked) = (root.join("16/bin"), root.join("links"));
        programs_in(&real, &POSTGRES);
        programs_in(&linked, &[]);
        std::os::unix::fs::symlink(real.join("postgres"), linked.join("postgres"))
            .expect("a link can be made");
        assert_eq!(choose_postgres_folder(None, &[linked], &[]).expect("it is there"), real);
    }

    #[test]
    fn the_newest_version_is_taken_by_number_not_by_text() {
        let place = tempfile::tempdir().expect("a folder can be made");
        for version in ["9", "17", "15", "common"] {
            programs_in(&place.path().join(version).join("bin"), &POSTGRES);
        }
        let versions = installed_versions(&[(place.path().to_str().expect("it is text"), "")]);
        assert_eq!(versions, ["17", "15", "9"].map(|version| place.path().join(version).join("bin")));
        let folder = choose_postgres_folder(None, &[], &versions).expect("it is there");
        assert_eq!(folder, place.path().join("17/bin"));
    }
}
