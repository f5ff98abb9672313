//! Finds out what kind of old data a file holds, and opens it. Beside `wiring.rs` the only room that names backends.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::Path;

use membrane::store::kgents::{DumpSource, Source, SourceError};
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
    if path.as_os_str() == "-" {
        return from_stdin();
    }
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
        OldFormat::Universe => universe(path, watch),
        // kgents' documents and a keep can be in one file: both have the same place by default.
        OldFormat::Membrane if holds_documents(path)? => universe(path, watch),
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
        OldFormat::NotSqlite => {
            let file = File::open(path).map_err(|error| Failure::io(&format!("open {shown}"), &error))?;
            json(file, &shown.to_string())
        }
    }
}

fn universe(path: &Path, watch: &mut dyn FnMut(u64)) -> Result<OldSource, Failure> {
    let source =
        UniverseSource::open(path, watch).map_err(|error| failure(&error).at(&path.display().to_string()))?;
    let n_other_rows = source.n_other_rows();
    Ok(OldSource { source: Box::new(source), format: "universe", n_other_rows })
}

/// Whether a file holds documents of kgents' chat, beside a keep or not.
pub(crate) fn holds_documents(path: &Path) -> Result<bool, Failure> {
    membrane_sqlite::holds_documents(path).map_err(|error| cannot_open(&error))
}

/// What comes in goes to a temporary file: sessions are read in another order than they come.
fn from_stdin() -> Result<OldSource, Failure> {
    let mut file = tempfile::tempfile().map_err(|error| Failure::io("make a temporary file", &error))?;
    io::copy(&mut io::stdin().lock(), &mut file)
        .map_err(|error| Failure::io("keep standard input in a temporary file", &error))?;
    json(file, "standard input")
}

fn json(mut file: File, shown: &str) -> Result<OldSource, Failure> {
    let reading = |error| Failure::io(&format!("read {shown}"), &error);
    file.rewind().map_err(reading)?;
    let first = first_character(&mut file).map_err(reading)?;
    if first.is_none() {
        return Err(Failure::usage(format!(
            "{shown} is empty, so what should have filled it may have failed; a kgents without sessions answers []"
        )));
    }
    if !matches!(first, Some(b'[' | b'{')) {
        return Err(Failure::usage(format!(
            "{shown} is neither a database nor JSON; name a database of kgents' Universe, or what \
             GET /api/chat/sessions of the in-memory router answered"
        )));
    }
    let source = DumpSource::open(file).map_err(|error| failure(&error).at(shown))?;
    Ok(OldSource { source: Box::new(source), format: "json", n_other_rows: 0 })
}

/// The first character that is no white space and no byte order mark.
fn first_character(file: &mut File) -> io::Result<Option<u8>> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    for byte in BufReader::new(file).bytes() {
        let byte = byte?;
        if !byte.is_ascii_whitespace() && !MARK.contains(&byte) {
            return Ok(Some(byte));
        }
    }
    Ok(None)
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
