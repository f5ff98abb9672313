//! Entries: numbered things that writers append and that can be recognised, whole, when they are read back.
//!
//! Not here: how a store keeps one; that is its [`crate::campaign::Target`].

use std::fmt;

use thiserror::Error;

use crate::seed::Choices;

/// The longest text of an entry, in bytes. Above SQLite's page size, so that some rows spill over pages.
const MAX_TEXT_BYTES: usize = 6_000;

/// One append: which writer made it and the how-manieth of that writer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The writer, from 0.
    pub writer: u32,
    /// The writer's own count, from 1; a writer makes its entries in this order, one at a time.
    pub number: u64,
}

/// A text that is not the whole text of any entry.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{n_bytes} bytes that begin with {beginning:?} are no whole entry")]
pub struct NotAnEntry {
    n_bytes: usize,
    beginning: String,
}

impl Entry {
    /// The entry's text: it names the entry, and its length and every byte depend on the entry, so that a
    /// missing, foreign or changed piece shows. ASCII, some dozen to 6,000 bytes.
    #[must_use]
    pub fn text(self) -> String {
        let mut choices = Choices::of_item(u64::from(self.writer), self.number);
        // Most chats are short and some are long: half of the entries stay below a tenth of the limit.
        let limit = if choices.one_in(2) { MAX_TEXT_BYTES / 10 } else { MAX_TEXT_BYTES };
        let n_bytes = choices.below(limit);
        let mut text = format!("{self}:");
        while text.len() < n_bytes {
            let word = format!(" {:016x}", choices.next_number());
            text.push_str(&word);
        }
        text
    }

    /// Recognises the text of an entry.
    ///
    /// # Errors
    /// [`NotAnEntry`] when a single byte differs from what [`Entry::text`] gives.
    pub fn parse(text: &str) -> Result<Self, NotAnEntry> {
        Self::named_by(text)
            .filter(|entry| entry.text() == text)
            .ok_or_else(|| NotAnEntry { n_bytes: text.len(), beginning: text.chars().take(40).collect() })
    }

    fn named_by(text: &str) -> Option<Self> {
        let (name, _) = text.split_once(':')?;
        let (writer, number) = name.strip_prefix("writer ")?.split_once(" entry ")?;
        Some(Self { writer: writer.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer {} entry {}", self.writer, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_entry_is_recognised() {
        for number in 1..200 {
            let entry = Entry { writer: 3, number };
            assert_eq!(Entry::parse(&entry.text()), Ok(entry));
        }
    }

    #[test]
    fn a_shortened_or_changed_text_is_not_recognised() {
        let whole = Entry { writer: 1, number: 5 }.text();
        assert!(whole.len() > 100, "the example must have a body: {whole}");
        assert!(Entry::parse(&whole[..whole.len() - 1]).is_err());
        assert!(Entry::parse(&whole.replace("entry 5", "entry 6")).is_err());
        assert!(Entry::parse(&format!("{}z", &whole[..whole.len() - 1])).is_err());
        assert!(Entry::parse("").is_err());
    }
}
