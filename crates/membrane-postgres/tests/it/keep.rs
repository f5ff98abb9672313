//! Keeps for tests: a database of their own on the shared server.

use std::time::Duration;

use membrane_postgres::{OpenError, PostgresOptions, PostgresStore};
use membrane_testservers::{Database, Postgres};

/// An empty database.
pub(crate) fn database() -> Database {
    Postgres::shared().unwrap().create_database().unwrap()
}

/// How it is opened: with few connections, so that many tests share one server.
pub(crate) fn options(url: impl Into<String>) -> PostgresOptions {
    PostgresOptions { pool_size: 4, ..PostgresOptions::at(url) }
}

/// A store that is there at once.
pub(crate) async fn open(url: impl Into<String>) -> PostgresStore {
    PostgresStore::open(options(url)).await.unwrap()
}

/// Why a store cannot be opened: the error, and what a user reads.
pub(crate) async fn refusal(options: PostgresOptions) -> (OpenError, String) {
    match PostgresStore::open(options).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            (error, text)
        }
    }
}

/// A tenth of what users wait, for tests in which nobody answers.
pub(crate) fn impatient(url: impl Into<String>) -> PostgresOptions {
    let timeout = Duration::from_millis(500);
    PostgresOptions { connect_timeout: timeout, timeout, ..options(url) }
}
