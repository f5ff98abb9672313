//! Lists of sessions: what to filter by, where to go on.

use crate::error::ValueError;
use crate::ids::SessionId;
use crate::session::Session;
use crate::time::Timestamp;

/// Which sessions a list shows. Everything that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// Those of this project.
    pub project_id: Option<String>,
    /// Those with this branch name.
    pub branch_name: Option<String>,
}

/// Which part of the list, newest `last_active` first, ties by id descending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many.
    pub limit: u32,
    /// Go on after this place; wins over `offset`.
    pub after: Option<Cursor>,
    /// Skip this many.
    pub offset: u64,
}

impl PageRequest {
    /// The first page.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None, offset: 0 }
    }
}

/// A place in the list that stays where it is while sessions are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The last one's activity.
    pub last_active: Timestamp,
    /// The last one's id.
    pub id: SessionId,
}

impl Cursor {
    /// The opaque text that clients hand back.
    pub fn encode(&self) -> String {
        format!("{}.{}", self.last_active.as_micros(), self.id)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`ValueError::Unknown`] when it is not one that a list gave out.
    pub fn decode(text: &str) -> Result<Self, ValueError> {
        let unknown = || ValueError::Unknown {
            what: "cursor",
            value: text.chars().take(64).collect(),
            allowed: "the next_cursor of an earlier page",
        };
        let (micros, id) = text.split_once('.').ok_or_else(unknown)?;
        let micros: i64 = micros.parse().map_err(|_| unknown())?;
        Ok(Self {
            last_active: Timestamp::from_micros(micros),
            id: SessionId::parse(id).map_err(|_| unknown())?,
        })
    }
}

/// One page of sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPage {
    /// In order.
    pub sessions: Vec<Session>,
    /// How many the filter finds in all.
    pub total: u64,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_whatever_the_id() {
        let cursor =
            Cursor { last_active: Timestamp::from_micros(-5), id: SessionId::from_stored("a.b/ü.c") };
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        for text in ["", "x", "1.", "1x.a"] {
            assert!(Cursor::decode(text).is_err(), "{text}");
        }
    }
}
