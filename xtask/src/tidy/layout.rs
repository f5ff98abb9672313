//! Where things stand: every room says at its head what it is for, and a crate has one integration binary.
//!
//! Not here: who may import whom ([`super::imports`]).

use super::assert_no_problems;
use super::sources::{Source, sources};

/// Files of `crates/*/src` and `xtask/src` that do not begin with the documentation of their module.
fn without_a_head(sources: &[Source]) -> Vec<String> {
    let is_room = |path: &str| {
        let mut parts = path.split('/');
        match parts.next() {
            Some("crates") => parts.nth(1) == Some("src"),
            Some("xtask") => parts.next() == Some("src"),
            _ => false,
        }
    };
    sources
        .iter()
        .filter(|source| is_room(&source.path) && !source.text.starts_with("//!"))
        .map(|source| format!("{}: begin it with `//! what this room is for`", source.path))
        .collect()
}

/// Integration tests outside of `tests/it/`: each is a program that is linked by itself.
fn stray_test_binaries(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| match source.path.split('/').collect::<Vec<_>>()[..] {
            ["crates", _, "tests", _] => true,
            ["crates", _, "tests", folder, "main.rs"] => folder != "it",
            _ => false,
        })
        .map(|source| format!("{}: make it a module of tests/it/main.rs", source.path))
        .collect()
}

#[test]
fn every_room_says_at_its_head_what_it_is_for() {
    assert_no_problems("a source file begins with //!", &without_a_head(&sources(&["rs"])));
}

#[test]
fn a_crate_has_one_integration_binary() {
    assert_no_problems(
        "integration tests are modules of one binary",
        &stray_test_binaries(&sources(&["rs"])),
    );
}

#[test]
fn a_room_without_a_head_and_a_second_test_binary_are_reported() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [
        source("crates/a/src/lib.rs", "//! Good.\n"),
        source("crates/a/src/deep/er.rs", "use std::fs;\n//! Late.\n"),
        source("xtask/src/main.rs", ""),
        source("crates/a/tests/it/main.rs", "mod laws;\n"),
        source("crates/a/tests/it/laws.rs", "use super::*;\n"),
        source("crates/a/tests/more.rs", ""),
        source("crates/a/tests/other/main.rs", ""),
    ];
    let heads = without_a_head(&sources);
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(heads[0].starts_with("crates/a/src/deep/er.rs") && heads[1].starts_with("xtask/src/main.rs"));
    let strays = stray_test_binaries(&sources);
    assert_eq!(strays.len(), 2, "{strays:?}");
    assert!(strays[0].starts_with("crates/a/tests/more.rs"), "{strays:?}");
}
