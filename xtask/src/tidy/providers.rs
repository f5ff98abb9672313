//! One crypto provider for TLS in the whole build: with two, rustls cannot tell which one is meant and panics at the first
//! connection.
//!
//! Not here: who hands the provider to rustls.

use std::process::Command;

use super::assert_no_problems;
use crate::process::text;
use crate::repository::root;

/// The provider that is not ours. The lock file may name it, as something that could be switched on; so may what cargo
/// resolves. What is built is told by `cargo tree` alone.
const OTHER: &str = "ring";

/// The crates that have the other provider built, from `cargo tree`'s lines of `name vVERSION (…)`, each crate followed by
/// what it depends on, a step deeper.
fn problems(tree: &str) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut problems = Vec::new();
    for line in tree.lines() {
        let name_at = line.find(|char: char| !char.is_ascii_digit()).unwrap_or(line.len());
        let (depth, rest) = line.split_at(name_at);
        let (Ok(depth), Some(name)) = (depth.parse::<usize>(), rest.split(' ').next()) else { continue };
        way.truncate(depth);
        way.push(name);
        if name == OTHER {
            let way = way.join(" -> ");
            problems.push(format!("{way}: switch these crates' features to aws-lc-rs"));
        }
    }
    problems
}

#[test]
fn the_build_has_one_crypto_provider() {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "depth"]);
    let tree = text(cargo.current_dir(root())).expect("cargo tells what is built");
    assert!(tree.contains("xtask v"), "{tree}");
    assert_no_problems("rustls has one crypto provider, aws-lc-rs", &problems(&tree));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_provider_is_reported_with_the_way_to_it() {
        let tree = "0membrane v0.0.0 (/x)\n1bytes v1.0.0\n1rustls v0.23.0\n2ring v0.17.0\n2sha2 v0.11.0\n\n\
                    0xtask v0.0.0 (/y)\n1client v1.0.0\n2rustls v0.23.0 (*)\n";
        assert_eq!(
            problems(tree),
            ["membrane -> rustls -> ring: switch these crates' features to aws-lc-rs"]
        );
    }

    #[test]
    fn a_build_with_our_provider_alone_is_good() {
        let tree = "0membrane v0.0.0 (/x)\n1rustls v0.23.0\n2aws-lc-rs v1.0.0\n1ring-like v1.0.0\n";
        assert_eq!(problems(tree), Vec::<String>::new());
    }
}
