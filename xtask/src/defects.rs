//! Planted defects: patches that break the product, each of which named tests must catch.
//!
//! A suite that passes proves little until it is seen to fail. Not here: the patches (`defects/`), and what
//! makes a test fail.

mod patch;
mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::arguments::DefectOptions;
use crate::failure::{Failure, Outcome};
use crate::process::{git, output, shown};
use crate::repository::root;
use crate::runner::{Profile, Runner, Selection, Setting};
use crate::seed;
use crate::servers::{self, Postgres};
use tree::Tree;

pub(crate) use patch::{FOLDER, Patch, read_all};

/// How many defects were planted, and how many of them the tests caught.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Count {
    n_planted: usize,
    missed: Vec<String>,
}

/// What the tests said to one defect.
enum Verdict {
    /// These tests failed.
    CaughtBy(Vec<String>),
    /// None failed, or it could not be tried.
    Missed { why: String },
}

/// `cargo xtask defects`: tries the named defects, or all.
///
/// # Errors
/// One is not caught, or could not be tried.
pub(crate) fn run(options: &DefectOptions) -> Outcome {
    let root = &root();
    let seed = options.seed.unwrap_or_else(seed::fresh);
    let again = format!("cargo xtask defects --seed {seed} {}", options.names.join(" "));
    let again = again.trim_end();
    println!("seed {seed}; to repeat this run: {again}");
    let repeat = |failure| Failure::new(format!("{failure}\nseed {seed}; to repeat this run: {again}"));
    servers::provide(root)?;
    let postgres = Postgres::start(root)?;
    let count =
        try_all(root, Runner::installed(root), seed, postgres.url(), &options.names).map_err(repeat)?;
    println!("{count}");
    count.verdict().map_err(repeat)
}

/// Plants the defects of `names` (all if empty) one after the other in a copy of the tree, and prints for each
/// whether it was caught.
///
/// # Errors
/// There is no such defect, its patch is misshapen, the tests fail without any defect, or something that has
/// nothing to do with defects went wrong.
pub(crate) fn try_all(
    root: &Path,
    runner: Runner,
    seed: u64,
    postgres: Option<&str>,
    names: &[String],
) -> Outcome<Count> {
    let patches = chosen(read_all(root)?, names)?;
    let folder = root.join("target/defects");
    let tree = Tree::copy(root, &folder.join("tree"))?;
    let setting = Setting {
        folder: tree.folder(),
        target: Some(folder.join("target")),
        profile: Profile::Defects,
        seed,
        postgres,
        loud: false,
    };

    let selections: BTreeSet<&Selection> = patches.iter().flat_map(|patch| &patch.caught_by).collect();
    for selection in selections {
        pass_without_defects(runner, &setting, selection)?;
    }

    let mut count = Count { n_planted: patches.len(), missed: Vec::new() };
    for patch in &patches {
        let verdict = try_one(&tree, runner, &setting, patch);
        tree.restore()?;
        match verdict? {
            Verdict::CaughtBy(tests) => println!("defect {} caught by {}", patch.name, tests.join(", ")),
            Verdict::Missed { why } => {
                println!("defect {} NOT CAUGHT: {} ({why})", patch.name, patch.what);
                count.missed.push(patch.name.clone());
            }
        }
    }
    Ok(count)
}

fn chosen(patches: Vec<Patch>, names: &[String]) -> Outcome<Vec<Patch>> {
    for name in names {
        if !patches.iter().any(|patch| patch.is_called(name)) {
            let known: Vec<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
            return Err(Failure::new(format!(
                "no defect {name:?} in {FOLDER}/; there are: {}",
                known.join(", ")
            )));
        }
    }
    let chosen: Vec<Patch> = patches
        .into_iter()
        .filter(|patch| names.is_empty() || names.iter().any(|name| patch.is_called(name)))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!("{FOLDER}/ holds no patch; see {FOLDER}/README.md")));
    }
    Ok(chosen)
}

/// A test that fails anyway catches nothing.
fn pass_without_defects(runner: Runner, setting: &Setting<'_>, selection: &Selection) -> Outcome {
    let report = runner.run(setting, selection)?;
    if report.n_failed == 0 {
        println!("without defects {selection}: {} passed", report.n_passed);
        return Ok(());
    }
    Err(Failure::new(format!(
        "without any defect, {} of the tests {selection} fail, so they cannot catch one:\n{}",
        report.n_failed,
        report.said.trim_end()
    )))
}

fn try_one(tree: &Tree, runner: Runner, setting: &Setting<'_>, patch: &Patch) -> Outcome<Verdict> {
    if let Some(why) = plant(tree, patch)? {
        return Ok(Verdict::Missed { why });
    }
    for selection in &patch.caught_by {
        if let Err(said) = runner.build(setting, selection)? {
            return Ok(Verdict::Missed { why: format!("it does not compile:\n{}", said.trim_end()) });
        }
        let report = runner.run(setting, selection)?;
        if report.n_failed > 0 {
            return Ok(Verdict::CaughtBy(report.failed));
        }
    }
    let all: Vec<String> = patch.caught_by.iter().map(ToString::to_string).collect();
    Ok(Verdict::Missed { why: format!("all tests pass: {}", all.join("; ")) })
}

/// Applies the patch to the copy; returns what git said if that did not work.
fn plant(tree: &Tree, patch: &Patch) -> Outcome<Option<String>> {
    let mut apply = git(tree.folder());
    // The copy lies inside a checkout, whose root git would else take the paths to start from.
    apply.env("GIT_CEILING_DIRECTORIES", tree.folder().parent().unwrap_or(tree.folder()));
    apply.args(["apply", "--whitespace=nowarn"]).arg(&patch.path);
    let output = output(&mut apply)?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Some(format!("`{}` failed: {}", shown(&apply), said.trim())))
}

impl Count {
    /// Whether all were caught.
    ///
    /// # Errors
    /// Names those that were not.
    pub(crate) fn verdict(&self) -> Outcome {
        if self.missed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("not caught: {}; strengthen the tests they name", self.missed.join(", "))))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "campaign: defects planted={} caught={}",
            self.n_planted,
            self.n_planted - self.missed.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches() -> Vec<Patch> {
        ["01-lost-page", "02-stale-total"]
            .map(|name| {
                let text = "# what: it breaks\n# caught-by: -p membrane-core laws\n";
                Patch::parse(name, Path::new("x.patch"), text).expect("it is well-formed")
            })
            .into()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn defects_are_chosen_by_name_or_number_and_all_by_default() {
        let chosen = |wanted: &[&str]| {
            let patches = chosen(patches(), &names(wanted)).map_err(|failure| failure.to_string())?;
            Ok::<_, String>(patches.into_iter().map(|patch| patch.name).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]), Ok(names(&["01-lost-page", "02-stale-total"])));
        assert_eq!(chosen(&["02"]), Ok(names(&["02-stale-total"])));
        assert_eq!(chosen(&["01-lost-page"]), Ok(names(&["01-lost-page"])));
        let answer = chosen(&["03"]).expect_err("there is no third");
        assert!(answer.contains("\"03\"") && answer.contains("02-stale-total"), "{answer}");
    }

    #[test]
    fn one_missed_defect_is_named_and_fails_the_count() {
        let count = Count { n_planted: 10, missed: names(&["03-x"]) };
        assert_eq!(count.to_string(), "campaign: defects planted=10 caught=9");
        assert!(count.verdict().expect_err("one was missed").to_string().contains("03-x"));
        assert!(Count { n_planted: 10, missed: vec![] }.verdict().is_ok());
    }
}
