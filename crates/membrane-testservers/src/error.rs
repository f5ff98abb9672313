//! Why a server for a test could not be had or made to do something.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What every server writes to its log if somebody else listens on its port.
pub(crate) const TAKEN_PORT: &str = "Address already in use";

/// Why a server could not be started, or did not do as it was told.
#[derive(Debug, Error)]
pub enum ServerError {
    /// A program is not installed, or not where it is looked for.
    #[error("{program}: not found in {looked_in}; install it ({install})")]
    Missing {
        /// The program.
        program: &'static str,
        /// The folders, or the variable that names one.
        looked_in: String,
        /// The command that installs it.
        install: &'static str,
    },
    /// Something with a file, a process or a socket did not work.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server did not come up.
    #[error("{server} {why}; its log ends with:\n{log}")]
    NotReady {
        /// The server.
        server: &'static str,
        /// It ended, or it answered nobody.
        why: String,
        /// The end of what it wrote since it was started.
        log: String,
    },
    /// A program that ends by itself ended with a failure.
    #[error("{doing} failed: {said}")]
    Failed {
        /// What it was to do.
        doing: String,
        /// What it wrote.
        said: String,
    },
    /// A server is asked for something while it is not running.
    #[error("{server} is not running; start it again first")]
    Stopped {
        /// The server.
        server: &'static str,
    },
    /// A server did not end or stand still when it was told to.
    #[error("{server} did not {what} within {} s", .seconds)]
    Stubborn {
        /// The server.
        server: &'static str,
        /// What it was told.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The URL of a server cannot be understood. It is not repeated here, because it may hold a password.
    #[error("{from}: {why}; write it as postgres://user:password@host:port/database")]
    BadUrl {
        /// Where it came from.
        from: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ServerError {
    /// For `map_err`: `doing` did not work.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }

    /// For `map_err`: doing something with the file or folder `path` did not work.
    pub(crate) fn path(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{doing} {}", path.display()))
    }

    /// Whether a server did not come up because somebody else had taken its port meanwhile.
    pub(crate) fn is_taken_port(&self) -> bool {
        matches!(self, Self::NotReady { log, .. } if log.contains(TAKEN_PORT))
    }
}

/// Folders in one line, for [`ServerError::Missing`].
pub(crate) fn folders(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    names.join(", ")
}
