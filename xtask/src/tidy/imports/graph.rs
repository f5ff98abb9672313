//! Which crate depends on which, as cargo resolves it for this machine.
//!
//! Not here: which of it is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::process::text;
use crate::repository::root;

/// When a dependency is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Always.
    Normal,
    /// For tests, examples and benchmarks.
    Dev,
    /// For the build script.
    Build,
}

/// A crate of ours or of others.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Whether it is a member of the workspace.
    pub(super) is_ours: bool,
    /// Kind and id of each crate it depends on.
    pub(super) dependencies: Vec<(Kind, String)>,
}

/// All crates that the workspace is built from, by an id which tells versions apart.
pub(super) struct Graph(BTreeMap<String, Package>);

impl Graph {
    /// A graph of these packages.
    pub(super) fn new(packages: impl IntoIterator<Item = (String, Package)>) -> Self {
        Self(packages.into_iter().collect())
    }

    /// What cargo resolves here, for the platform of this machine alone: asking for all platforms would
    /// download crates that nobody here builds.
    pub(super) fn of_this_workspace() -> Self {
        let platform = text(Command::new("rustc").arg("-vV")).expect("rustc tells its version");
        let platform = platform
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .expect("rustc tells the platform it is built for");
        let options = ["--locked", "--filter-platform", platform].map(str::to_owned);
        let metadata = MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .other_options(options)
            .exec()
            .expect("cargo metadata describes the workspace");
        let ours: BTreeSet<_> = metadata.workspace_members.iter().collect();
        let nodes = metadata.resolve.as_ref().map(|resolve| resolve.nodes.as_slice()).unwrap_or_default();
        Self::new(nodes.iter().map(|node| {
            let dependencies = node
                .deps
                .iter()
                .flat_map(|dependency| {
                    dependency
                        .dep_kinds
                        .iter()
                        .map(|info| (Kind::from(info.kind), dependency.pkg.repr.clone()))
                })
                .collect();
            let name = metadata[&node.id].name.to_string();
            (node.id.repr.clone(), Package { name, is_ours: ours.contains(&node.id), dependencies })
        }))
    }

    /// The members of the workspace.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.0.values().filter(|package| package.is_ours)
    }

    /// The package of an id that a dependency named.
    pub(super) fn package(&self, id: &str) -> &Package {
        self.0.get(id).unwrap_or_else(|| panic!("cargo names the package {id} and does not describe it"))
    }

    /// The shortest way from the package `start`, a crate of others, to each crate of others which `is_sought` and which it
    /// brings along (or is), as names.
    pub(super) fn paths_from<'graph>(
        &'graph self,
        start: &'graph str,
        is_sought: impl Fn(&str) -> bool,
    ) -> Vec<Vec<&'graph str>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([start]);
        let start = self.package(start);
        let mut level = vec![(start, vec![start.name.as_str()])];
        while !level.is_empty() {
            let mut next = Vec::new();
            for (package, path) in level {
                if is_sought(&package.name) {
                    // What lies behind it is its own matter.
                    found.push(path);
                    continue;
                }
                for (kind, id) in &package.dependencies {
                    let dependency = self.package(id);
                    if *kind != Kind::Dev && !dependency.is_ours && seen.insert(id) {
                        let mut path = path.clone();
                        path.push(&dependency.name);
                        next.push((dependency, path));
                    }
                }
            }
            level = next;
        }
        found
    }
}

impl Kind {
    /// As cargo calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Dev => "dev",
            Self::Build => "build",
        }
    }
}

impl From<DependencyKind> for Kind {
    fn from(kind: DependencyKind) -> Self {
        match kind {
            DependencyKind::Development => Self::Dev,
            DependencyKind::Build => Self::Build,
            // Kinds that cargo may invent are held to the strictest rule.
            _ => Self::Normal,
        }
    }
}

#[test]
fn this_workspace_resolves_with_its_crates_and_those_of_others() {
    let graph = Graph::of_this_workspace();
    let xtask = graph.ours().find(|package| package.name == "xtask").expect("it is a member");
    let metadata = xtask.dependencies.iter().find(|(_, id)| graph.package(id).name == "cargo_metadata");
    assert_eq!(metadata.map(|(kind, _)| *kind), Some(Kind::Dev));
}
