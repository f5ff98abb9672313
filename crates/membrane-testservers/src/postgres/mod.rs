//! PostgreSQL: a private cluster, or databases on one that is there.
//!
//! - [`options`] says how a cluster differs from the plain one;
//! - [`cluster`] makes and runs it;
//! - [`databases`] makes a database for each test;
//! - [`shared`] is the server that most tests use;
//! - [`url`] reads what is between `postgres://` and the end.

mod cluster;
mod databases;
mod options;
mod shared;
pub(crate) mod url;

pub use cluster::Postgres;
pub use databases::{Database, Databases};
pub use options::PostgresOptions;
pub use shared::SHARED_URL;

/// The superuser of a private cluster, and the database that is always there.
pub(crate) const SUPERUSER: &str = "postgres";
