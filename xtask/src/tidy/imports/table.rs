//! The table: for each crate of ours, which others of ours it may import, and which fenced dependencies.
//!
//! Not here: dependencies that nobody fences. Any crate may use `serde` or `thiserror`.

use super::graph::Kind;

/// Crates of ours that a crate may import.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ours {
    /// All of them.
    Any,
    /// These alone.
    Only(&'static [&'static str]),
}

/// Fenced dependencies that a crate may import.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heavy {
    /// All of them.
    Any,
    /// These alone.
    Only(&'static [&'static str]),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// The crate.
    pub(super) name: &'static str,
    /// Crates of ours that it may depend on.
    pub(super) ours: Ours,
    /// Crates of ours that its tests may use besides.
    pub(super) ours_in_tests: Ours,
    /// Fenced dependencies that it may use, its tests included.
    pub(super) heavy: Heavy,
    /// What it may not reach though others may freely.
    pub(super) never: &'static [&'static str],
}

/// Dependencies that cost much, or that would tie the crate which names them to one way of doing things. Each
/// may be used only where a row lists it.
pub(super) const FENCED: &[&str] = &[
    "statrs",
    "rusqlite",
    "libsqlite3-sys",
    "tokio-postgres",
    "deadpool-postgres",
    "genai",
    "moka",
    "redis",
    "axum",
    "utoipa",
    "clap",
];

/// Runtimes, the network and the file system: what a crate needs to do something rather than decide it.
const IO: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "async-io",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "ureq",
    "notify",
    "walkdir",
];

/// Crates of ours that start programs of the machine: for tests, and for crates that are tools themselves.
const FOR_TESTS: &[&str] = &["membrane-testservers"];

const NOTHING: Rule = Rule {
    name: "",
    ours: Ours::Only(&[]),
    ours_in_tests: Ours::Only(&[]),
    heavy: Heavy::Only(&[]),
    never: &[],
};

/// Every crate of the workspace, those included that come later.
pub(super) const TABLE: &[Rule] = &[
    Rule { name: "membrane-core", heavy: Heavy::Only(&["statrs"]), never: IO, ..NOTHING },
    Rule { name: "membrane-store", ours: Ours::Only(&["membrane-core"]), ..NOTHING },
    Rule {
        name: "membrane-sqlite",
        ours: Ours::Only(&["membrane-core", "membrane-store"]),
        heavy: Heavy::Only(&["rusqlite", "libsqlite3-sys"]),
        ..NOTHING
    },
    Rule {
        name: "membrane-postgres",
        ours: Ours::Only(&["membrane-core", "membrane-store"]),
        ours_in_tests: Ours::Only(&["membrane-sqlite", "membrane-testservers"]),
        heavy: Heavy::Only(&["tokio-postgres", "deadpool-postgres"]),
        ..NOTHING
    },
    Rule {
        name: "membrane-cache",
        ours: Ours::Only(&["membrane-core", "membrane-store"]),
        ours_in_tests: Ours::Only(&["membrane-sqlite", "membrane-postgres", "membrane-testservers"]),
        heavy: Heavy::Only(&["moka", "redis"]),
        ..NOTHING
    },
    Rule {
        name: "membrane-responder",
        ours: Ours::Only(&["membrane-core"]),
        ours_in_tests: Ours::Only(&["membrane-testservers"]),
        heavy: Heavy::Only(&["genai"]),
        ..NOTHING
    },
    Rule {
        name: "membrane",
        ours: Ours::Only(&["membrane-core", "membrane-store", "membrane-responder"]),
        ours_in_tests: Ours::Only(&["membrane-sqlite", "membrane-testservers"]),
        ..NOTHING
    },
    Rule {
        name: "membrane-http",
        ours: Ours::Only(&["membrane-core", "membrane"]),
        ours_in_tests: Ours::Only(&["membrane-store", "membrane-sqlite"]),
        heavy: Heavy::Only(&["axum", "utoipa"]),
        ..NOTHING
    },
    Rule { name: "membrane-cli", ours: Ours::Any, heavy: Heavy::Only(&["clap"]), ..NOTHING },
    Rule { name: "membrane-bench", ours: Ours::Any, heavy: Heavy::Any, ..NOTHING },
    Rule { name: "membrane-crashtest", ours: Ours::Any, heavy: Heavy::Any, ..NOTHING },
    Rule { name: "membrane-testservers", heavy: Heavy::Only(&["tokio-postgres"]), ..NOTHING },
    Rule { name: "xtask", ours: Ours::Any, heavy: Heavy::Any, ..NOTHING },
];

impl Rule {
    /// Whether the crate may have a dependency of this kind on the crate of ours `name`. A build script counts
    /// as the crate itself: whoever builds the one runs the other.
    pub(super) fn allows_ours(&self, name: &str, kind: Kind) -> bool {
        let is_tool = matches!(self.heavy, Heavy::Any);
        if FOR_TESTS.contains(&name) && kind != Kind::Dev && !is_tool {
            return false;
        }
        self.ours.holds(name) || (kind == Kind::Dev && self.ours_in_tests.holds(name))
    }

    /// Whether the crate may not reach the crate `name`, which is not ours.
    pub(super) fn forbids(&self, name: &str) -> bool {
        let fenced_off = match self.heavy {
            Heavy::Any => false,
            Heavy::Only(allowed) => FENCED.contains(&name) && !allowed.contains(&name),
        };
        fenced_off || self.never.contains(&name)
    }
}

impl Ours {
    fn holds(self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.contains(&name),
        }
    }
}
