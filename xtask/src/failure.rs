//! Why something here did not work, as a sentence for the person who ran it.
//!
//! Not here: kinds of failure. Nothing in this program branches on one; it stops and says it.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// What every fallible function here returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A message which names what was wrong and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: doing something with the file or folder `path` did not work.
    pub(crate) fn with_path<E: Error>(doing: &str, path: &Path) -> impl FnOnce(E) -> Self {
        let what = format!("cannot {doing} {}", path.display());
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}
