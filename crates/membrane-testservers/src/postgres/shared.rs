//! The server that most tests use together, each with a database of its own.
//!
//! Not here: the databases.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::cluster::Postgres;
use super::databases::Databases;
use super::url::Url;
use crate::error::ServerError;
use crate::programs::variable;

/// Names a server on which tests make and drop databases, as `postgres://user:password@host:port/database`.
/// `cargo xtask test` sets it to a cluster that it starts once for all tests.
pub const SHARED_URL: &str = "MEMBRANE_TEST_POSTGRES_URL";

/// The server, found or started once. If it is ours, it ends a moment after this process.
pub(super) fn get() -> Result<&'static Databases, ServerError> {
    static OWN: OnceLock<Postgres> = OnceLock::new();
    static SHARED: OnceLock<Databases> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());

    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(databases) = SHARED.get() {
        return Ok(databases);
    }
    let databases = if let Some(url) = variable(SHARED_URL) {
        Databases::new(Url::parse(SHARED_URL, &url.to_string_lossy())?)
    } else {
        let own = Postgres::start()?;
        OWN.get_or_init(|| own).databases().clone()
    };
    Ok(SHARED.get_or_init(|| databases))
}
