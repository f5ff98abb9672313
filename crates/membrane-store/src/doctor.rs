//! What a doctor says of a database, whichever it is: checks, and where a session is that was not found.
//!
//! Not here: looking. Each backend knows its own.

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something has to be done.
    Problem,
}

impl Status {
    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// What was looked at, what was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: a stable word.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found, in one line.
    pub found: String,
    /// What to type, or to do; every problem has one.
    pub remedy: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), remedy: None }
    }

    /// Worth knowing.
    pub fn note(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Note, found: found.into(), remedy: None }
    }

    /// Something has to be done.
    pub fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, status: Status::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The same with something that could be done.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("bytes", 0)];
    let (unit, shift) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0).unwrap_or(("bytes", 0));
    let whole = bytes >> shift;
    let tenth = if shift == 0 { 0 } else { (bytes >> (shift - 10) & 1023) * 10 / 1024 };
    if whole < 10 && shift > 0 { format!("{whole}.{tenth} {unit}") } else { format!("{whole} {unit}") }
}

/// What a database knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionTrace {
    /// There is no such file, or no database in it.
    NoDatabase,
    /// It cannot be looked into: why.
    Unreadable(String),
    /// It is there, with so many turns.
    Here(i64),
    /// It was deleted, at this time.
    Deleted(String),
    /// It is not, but these differ by case or blanks alone.
    Similar(Vec<String>),
    /// It is in kgents' Universe layout.
    InUniverse,
    /// The database knows nothing of it.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
