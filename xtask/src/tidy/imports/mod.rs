//! Who may import whom: the table of crates, held against what cargo resolves.
//!
//! A crate is judged by what its own manifest names, and by what the crates of others behind that name bring
//! along; what another crate of ours brings along is judged there. Not here: use of a crate inside the sources,
//! which cannot go further than the manifest.

mod graph;
mod table;

use super::assert_no_problems;
use graph::{Graph, Kind};
use table::{Ours, Rule};

/// Everything in the graph that the table does not allow.
fn problems(graph: &Graph, table: &[Rule]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in graph.ours() {
        let Some(rule) = table.iter().find(|rule| rule.name == package.name) else {
            problems.push(format!(
                "{}: it is not in the table; add it to xtask/src/tidy/imports/table.rs and say what it may import",
                package.name
            ));
            continue;
        };
        for (kind, id) in &package.dependencies {
            let dependency = graph.package(id);
            if dependency.is_ours {
                if dependency.name != package.name && !rule.allows_ours(&dependency.name, *kind) {
                    problems.push(forbidden(&package.name, *kind, &[&dependency.name]));
                }
                continue;
            }
            for path in graph.paths_from(id, |name| rule.forbids(name)) {
                problems.push(forbidden(&package.name, *kind, &path));
            }
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

fn forbidden(from: &str, kind: Kind, path: &[&str]) -> String {
    format!("{from}: {} dependency on {} is not in the table", kind.name(), path.join(" -> "))
}

#[test]
fn the_crates_import_what_the_table_allows() {
    let graph = Graph::of_this_workspace();
    assert_no_problems("the import table holds (CONTRIBUTING.md)", &problems(&graph, table::TABLE));
}

#[test]
fn every_fenced_dependency_is_in_somebodys_row_and_every_row_names_known_crates() {
    for fenced in table::FENCED {
        let n_rows = table::TABLE.iter().filter(|rule| !rule.forbids(fenced)).count();
        assert!(n_rows > 0 && n_rows < table::TABLE.len(), "{fenced} is fenced for {n_rows} rows");
    }
    for rule in table::TABLE {
        let (Ours::Only(may), Ours::Only(tests_may)) = (rule.ours, rule.ours_in_tests) else { continue };
        for name in may.iter().chain(tests_may) {
            assert!(table::TABLE.iter().any(|other| other.name == *name), "{} names {name}", rule.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::Package;

    /// A graph of these packages, each with its dependencies as `kind name`; ours are called `membrane…`.
    fn graph(packages: &[(&str, &[(Kind, &str)])]) -> Graph {
        Graph::new(packages.iter().map(|(name, dependencies)| {
            let package = Package {
                name: (*name).to_owned(),
                is_ours: name.starts_with("membrane"),
                dependencies: dependencies.iter().map(|(kind, id)| (*kind, (*id).to_owned())).collect(),
            };
            ((*name).to_owned(), package)
        }))
    }

    fn found(packages: &[(&str, &[(Kind, &str)])]) -> Vec<String> {
        problems(&graph(packages), table::TABLE)
    }

    #[test]
    fn an_edge_between_our_crates_that_the_table_lacks_is_reported() {
        let problems = found(&[
            ("membrane-core", &[(Kind::Normal, "membrane-store")]),
            ("membrane-store", &[(Kind::Normal, "membrane-core")]),
            ("membrane-sqlite", &[(Kind::Normal, "membrane-store"), (Kind::Normal, "membrane-core")]),
            ("membrane-http", &[(Kind::Normal, "membrane-store"), (Kind::Dev, "membrane-store")]),
        ]);
        assert_eq!(
            problems,
            [
                "membrane-core: normal dependency on membrane-store is not in the table",
                "membrane-http: normal dependency on membrane-store is not in the table",
            ]
        );
    }

    #[test]
    fn tests_may_use_what_a_build_may_not() {
        let packages: [(&str, &[(Kind, &str)]); 2] = [
            ("membrane", &[(Kind::Dev, "membrane-sqlite"), (Kind::Build, "membrane-sqlite")]),
            ("membrane-sqlite", &[]),
        ];
        assert_eq!(found(&packages), ["membrane: build dependency on membrane-sqlite is not in the table"]);
    }

    #[test]
    fn the_binary_starts_no_servers_of_the_machine_though_its_tests_and_the_benchmarks_may() {
        let packages: [(&str, &[(Kind, &str)]); 3] = [
            ("membrane-cli", &[(Kind::Normal, "membrane-testservers"), (Kind::Dev, "membrane-testservers")]),
            ("membrane-bench", &[(Kind::Normal, "membrane-testservers")]),
            ("membrane-testservers", &[]),
        ];
        assert_eq!(
            found(&packages),
            ["membrane-cli: normal dependency on membrane-testservers is not in the table"]
        );
    }

    #[test]
    fn a_fenced_dependency_is_reported_directly_and_behind_another_crate() {
        let packages: [(&str, &[(Kind, &str)]); 7] = [
            ("membrane", &[(Kind::Normal, "r2d2_sqlite")]),
            ("membrane-cache", &[(Kind::Normal, "moka")]),
            ("membrane-sqlite", &[(Kind::Normal, "rusqlite")]),
            ("membrane-store", &[(Kind::Dev, "rusqlite")]),
            ("r2d2_sqlite", &[(Kind::Normal, "rusqlite"), (Kind::Dev, "axum")]),
            ("rusqlite", &[]),
            ("moka", &[]),
        ];
        let mut packages = packages.to_vec();
        packages.push(("axum", &[]));
        assert_eq!(
            found(&packages),
            [
                "membrane-store: dev dependency on rusqlite is not in the table",
                "membrane: normal dependency on r2d2_sqlite -> rusqlite is not in the table",
            ]
        );
    }

    #[test]
    fn core_may_not_reach_a_runtime_even_in_its_tests() {
        let packages: [(&str, &[(Kind, &str)]); 5] = [
            ("membrane-core", &[(Kind::Dev, "tokio-test"), (Kind::Normal, "statrs")]),
            ("membrane-store", &[(Kind::Normal, "tokio")]),
            ("tokio-test", &[(Kind::Normal, "tokio")]),
            ("tokio", &[]),
            ("statrs", &[]),
        ];
        assert_eq!(
            found(&packages),
            ["membrane-core: dev dependency on tokio-test -> tokio is not in the table"]
        );
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_told_to_be_added() {
        let problems = found(&[("membrane-new", &[])]);
        assert!(problems.len() == 1 && problems[0].contains("membrane-new: it is not in the table; add it"));
    }
}
