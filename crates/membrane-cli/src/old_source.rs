//! Finds out what kind of old data a file holds, and opens it. Beside `wiring.rs` the only room that names backends.

use std::io::ErrorKind;
use std::path::Path;

use membrane::store::kgents::{Source, SourceError};
use membrane_sqlite::universe::UniverseSource;
use membrane_sqlite::v1::V1Source;
use membrane_sqlite::{OldFormat, OpenError, detect};

use crate::failure::{Exit, Failure};
use crate::text::count;

/// Old data, ready to be loaded.
pub(crate) struct OldSource {
    pub(crate) source: Box<dyn Source + Send>,
    /// What it was found to be.
    pub(crate) format: &'static str,
    /// Rows beside it that are no concern of the chat's.
    pub(crate) n_other_rows: u64,
}

/// Opens old data. `watch` is told from time to time how many rows were looked at.
pub(crate) fn open(path: &Path, watch: &mut dyn FnMut(u64)) -> Result<OldSource, Failure> {
    let shown = path.display();
    // A missing file is told from one that cannot be opened.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("there is no file {shown}; name another one")));
        }
        Err(error) => return Err(Failure::io(&format!("look at {shown}"), &error)),
        Ok(found) if found.is_dir() => {
            return Err(Failure::usage(format!("{shown} is a folder; name a file in it")));
        }
        Ok(_) => {}
    }
    match detect(path).map_err(|error| cannot_open(&error))? {
        OldFormat::Universe => {
            let source = UniverseSource::open(path, watch).map_err(|error| failure(&error))?;
            let n_other_rows = source.n_other_rows();
            Ok(OldSource { source: Box::new(source), format: "universe", n_other_rows })
        }
        OldFormat::V1 => {
            let source = V1Source::open(path).map_err(|error| cannot_open(&error))?;
            Ok(OldSource { source: Box::new(source), format: "v1", n_other_rows: 0 })
        }
        OldFormat::Membrane => Err(Failure::usage(format!(
            "{shown} is a keep already; use it with --database-url {shown}, or name another file"
        ))),
        OldFormat::Unknown { tables } if tables.is_empty() => {
            Err(Failure::usage(format!("{shown} is a database without tables; name another file")))
        }
        OldFormat::Unknown { tables } => Err(Failure::usage(format!(
            "{shown} holds nothing of kgents' chat but {} ({}); name another file",
            count(u64::try_from(tables.len()).unwrap_or(u64::MAX), "other table"),
            some(&tables),
        ))),
        OldFormat::NotSqlite => Err(Failure::usage(format!("{shown} is neither a database nor JSON"))),
    }
}

/// The first few names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        shown += ", …";
    }
    shown
}

/// Why old data cannot be read on.
pub(crate) fn failure(error: &SourceError) -> Failure {
    let code = match error {
        SourceError::Damaged { .. } => "damaged",
        SourceError::Read(_) => "failed",
    };
    Failure::caused(Exit::Failure, code, error)
}

fn cannot_open(error: &OpenError) -> Failure {
    Failure::caused(Exit::Failure, "failed", error)
}
