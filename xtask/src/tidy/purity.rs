//! membrane-core decides and does nothing else: its sources name no part of the standard library that reaches
//! outside.
//!
//! Not here: the crates it may use ([`super::imports`]), and its tests, which may read reference values.

use super::assert_no_problems;
use super::sources::{Source, code, places_of, sources};

/// The folder that must stay pure.
const PURE: &str = "crates/membrane-core/src/";
/// Modules of the standard library that do input or output, or start something.
const OUTSIDE: [&str; 6] = ["fs", "net", "process", "env", "thread", "os"];

fn problems(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(PURE)) {
        for (line, number) in source.text.lines().zip(1..) {
            for module in OUTSIDE {
                let path = format!("std::{module}");
                if !places_of(&path, code(line)).is_empty() {
                    problems.push(format!("{}:{number}: {path}; pass in what it yields", source.path));
                }
            }
        }
    }
    problems
}

#[test]
fn core_reaches_nothing_outside() {
    assert_no_problems("membrane-core does no input and no output", &problems(&sources(&["rs"])));
}

#[test]
fn a_file_opened_in_core_is_reported_and_one_opened_elsewhere_is_not() {
    let source =
        |path: &str| Source { path: path.to_owned(), text: "//! x\nuse std::fs::File;\n".to_owned() };
    let problems =
        problems(&[source("crates/membrane-core/src/a.rs"), source("crates/membrane-cli/src/a.rs")]);
    assert_eq!(problems, ["crates/membrane-core/src/a.rs:2: std::fs; pass in what it yields"]);
}
