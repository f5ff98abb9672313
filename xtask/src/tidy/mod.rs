//! The repository's rules, each a room with its tests: `cargo test -p xtask` checks them all.
//!
//! A rule is a function from what it judges to a list of problems, so that its own tests can show that it
//! reports one. Not here: rules which the compiler or clippy can enforce.

mod imports;
mod layout;
mod manifests;
mod patches;
mod providers;
mod purity;
mod sizes;
mod sources;
mod words;

/// Fails with all problems, one per line, and what the rule is for.
#[track_caller]
fn assert_no_problems(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}:\n  {}\n", problems.join("\n  "));
}
