//! The manifests of the crates: each takes version, edition, licence and lints from the workspace.
//!
//! Not here: dependencies ([`super::imports`]).

use std::collections::BTreeMap;
use std::fs;

use super::assert_no_problems;
use super::sources::sources;
use crate::repository::root;

/// What every crate takes over from `[workspace.package]`.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];
/// The crate with lints of its own: it needs `unsafe`, and cargo cannot inherit lints and override one.
const OWN_LINTS: &str = "membrane-crashtest";
/// What that crate may say otherwise than the workspace, and how.
const OWN_LINT: (&str, &str) = ("rust.unsafe_code", "\"deny\"");

/// The `key = value` lines of a manifest by `section.key`. Values of several lines are cut after the first.
type Entries = BTreeMap<String, String>;

fn entries(manifest: &str) -> Entries {
    let mut section = "";
    let mut entries = Entries::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']);
        } else if let Some((key, value)) = line.split_once('=') {
            entries.insert(format!("{section}.{}", key.trim()), value.trim().to_owned());
        }
    }
    entries
}

/// What is wrong with the manifest of the crate in the folder `folder`.
fn problems(folder: &str, manifest: &str, workspace: &str) -> Vec<String> {
    let crate_entries = entries(manifest);
    let get = |key: &str| crate_entries.get(key).map(String::as_str);
    let mut problems = Vec::new();
    for field in INHERITED {
        if get(&format!("package.{field}.workspace")) != Some("true") {
            problems.push(format!("{folder}/Cargo.toml: write `{field}.workspace = true` in [package]"));
        }
    }
    let name = folder.rsplit('/').next().unwrap_or(folder);
    if get("package.name") != Some(&format!("\"{name}\"")) {
        problems.push(format!("{folder}/Cargo.toml: the crate is named as its folder, {name:?}"));
    }
    if get("package.description").is_none() {
        problems.push(format!("{folder}/Cargo.toml: write `description` in [package]"));
    }
    if name == OWN_LINTS {
        problems.extend(drifted_lints(folder, &crate_entries, &entries(workspace)));
    } else if get("lints.workspace") != Some("true") {
        problems.push(format!("{folder}/Cargo.toml: write `workspace = true` in [lints]"));
    }
    problems
}

/// The lints of the workspace that a crate with lints of its own lacks or sets otherwise.
fn drifted_lints(folder: &str, own: &Entries, workspace: &Entries) -> Vec<String> {
    workspace
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("workspace.lints.")?, value)))
        .map(|(lint, value)| (lint, if lint == OWN_LINT.0 { OWN_LINT.1 } else { value }))
        .filter(|(lint, value)| own.get(&format!("lints.{lint}")).map(String::as_str) != Some(*value))
        .map(|(lint, value)| {
            format!("{folder}/Cargo.toml: lints.{lint} is to be {value}, as in the workspace")
        })
        .collect()
}

#[test]
fn every_crate_takes_its_package_fields_and_lints_from_the_workspace() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let mut all = Vec::new();
    for source in sources(&["toml"]) {
        if let Some(folder) = source.path.strip_suffix("/Cargo.toml")
            && (folder.starts_with("crates/") || folder == "xtask")
        {
            all.extend(problems(folder, &source.text, &workspace));
        }
    }
    assert_no_problems("manifests take from the workspace what is common", &all);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n";
    const PACKAGE: &str = "[package]\nname = \"a\"\ndescription = \"x\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n";

    #[test]
    fn a_manifest_that_takes_everything_over_is_good() {
        let manifest = format!("{PACKAGE}\n[lints]\nworkspace = true\n");
        assert_eq!(problems("crates/a", &manifest, WORKSPACE), Vec::<String>::new());
    }

    #[test]
    fn each_field_that_is_not_taken_over_is_reported() {
        let good = format!("{PACKAGE}\n[lints]\nworkspace = true\n");
        for (from, to) in [
            ("version.workspace = true\n", "version = \"1.0.0\"\n"),
            ("license.workspace = true\n", ""),
            ("name = \"a\"", "name = \"b\""),
            ("description = \"x\"\n", ""),
            ("[lints]\nworkspace = true", "[lints.rust]\nunsafe_code = \"allow\""),
        ] {
            let manifest = good.replacen(from, to, 1);
            let problems = problems("crates/a", &manifest, WORKSPACE);
            assert_eq!(problems.len(), 1, "{to}: {problems:?}");
        }
    }

    #[test]
    fn the_crate_with_lints_of_its_own_differs_in_unsafe_code_alone() {
        let manifest = |lints: &str| {
            format!("{}[lints.rust]\n{lints}", PACKAGE.replace("\"a\"", "\"membrane-crashtest\""))
        };
        let folder = "crates/membrane-crashtest";
        let good = manifest("unsafe_code = \"deny\"\nmissing_docs = \"warn\"\n");
        assert_eq!(problems(folder, &good, WORKSPACE), Vec::<String>::new());
        for lints in ["unsafe_code = \"allow\"\nmissing_docs = \"warn\"\n", "unsafe_code = \"deny\"\n"] {
            assert_eq!(problems(folder, &manifest(lints), WORKSPACE).len(), 1, "{lints}");
        }
    }
}
