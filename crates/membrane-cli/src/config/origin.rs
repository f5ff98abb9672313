//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from. Shown as `membrane config` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Environment(String),
    File { path: PathBuf, line: Option<u64> },
    Flag(&'static str),
}

impl Origin {
    /// The place alone, at which an error is to be corrected.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Environment(name) => name.clone(),
            Self::File { path, line: Some(line) } => format!("{}:{line}", path.display()),
            Self::File { path, line: None } => path.display().to_string(),
            Self::Flag(name) => (*name).to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(_) => write!(f, "environment {}", self.place()),
            Self::File { .. } => write!(f, "file {}", self.place()),
            Self::Flag(_) => write!(f, "flag {}", self.place()),
        }
    }
}
