//! The files that rules look at.
//!
//! Not here: rules.

use std::fs;
use std::path::Path;

use crate::repository::{files, root};

/// A text file of the checkout.
pub(super) struct Source {
    /// Below the root, with `/` between folders.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// What stands behind the last dot of its name.
    pub(super) fn ending(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, ending)| ending)
    }
}

/// All files with one of these endings, tracked or new.
pub(super) fn sources(endings: &[&str]) -> Vec<Source> {
    files(&root())
        .expect("git lists the checkout")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)))
        .map(|path| read(&path))
        .collect()
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{} cannot be read as text: {error}", path.display()));
    Source { path: path.to_string_lossy().replace('\\', "/"), text }
}

/// The part of a line of Rust before a line comment. A `//` in a string ends it too early, which the rules can
/// live with.
pub(super) fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The places of a word in a text, where neither a letter, a digit nor `_` touches it.
pub(super) fn places_of(word: &str, text: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !text[..*at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
        .collect()
}

#[test]
fn a_word_is_found_whole_and_not_inside_another() {
    assert_eq!(places_of("cat", "cat concat cat_s (cat)"), [0, 18]);
    assert_eq!(code("let a = 1; // cat"), "let a = 1; ");
}

#[test]
fn the_sources_of_this_checkout_are_found_by_their_ending() {
    let found = sources(&["rs"]);
    assert!(found.iter().any(|source| source.path == "xtask/src/tidy/sources.rs"));
    assert!(found.iter().all(|source| source.ending() == "rs" && !source.path.starts_with("target")));
}
