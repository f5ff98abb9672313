//! The planted defects can be planted: there are enough of them, their heads are readable, they apply.
//!
//! Not here: whether the tests catch them, which takes long (`cargo xtask defects`).

use std::collections::BTreeSet;
use std::path::Path;

use super::assert_no_problems;
use crate::defects::{FOLDER, Patch, read_all};
use crate::process::{git, text};
use crate::repository::root;

/// Fewer say too little about the suite.
const N_REQUIRED: usize = 10;

/// What is wrong with the patches as a whole, and with the packages they name.
fn problems(patches: &[Patch], root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    if patches.len() < N_REQUIRED {
        problems.push(format!("{FOLDER}/ holds {} patches; {N_REQUIRED} are required", patches.len()));
    }
    let mut numbers = BTreeSet::new();
    for patch in patches {
        let number = patch.name.split('-').next().unwrap_or_default();
        if !numbers.insert(number) {
            problems.push(format!("{}: number {number} is taken", patch.name));
        }
        for package in patch.caught_by.iter().flat_map(|tests| &tests.packages).filter(|word| *word != "-p") {
            if !root.join("crates").join(package).join("Cargo.toml").is_file() {
                problems.push(format!("{}: there is no crate {package:?}", patch.name));
            }
        }
    }
    problems
}

#[test]
fn planted_defects_apply_to_this_tree() {
    let patches = read_all(&root()).expect("the patches are readable");
    let mut problems = problems(&patches, &root());
    for patch in &patches {
        let check = text(git(&root()).args(["apply", "--check", "--whitespace=nowarn"]).arg(&patch.path));
        if let Err(failure) = check {
            problems.push(format!("{}: {failure}; make the patch anew", patch.name));
        }
    }
    assert_no_problems("planted defects can be planted", &problems);
}

#[test]
fn too_few_patches_a_number_used_twice_and_an_unknown_crate_are_reported() {
    let patch = |name: &str, package: &str| {
        let head = format!("# what: x\n# caught-by: -p {package}\n");
        Patch::parse(name, Path::new("x.patch"), &head).expect("it is well-formed")
    };
    let problems = problems(&[patch("01-a", "membrane-core"), patch("01-b", "membrane-cor")], &root());
    assert_eq!(problems.len(), 3, "{problems:?}");
    for part in ["holds 2 patches", "number 01 is taken", "\"membrane-cor\""] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part} in {problems:?}");
    }
}
