//! A database for each test, on a server that is there.
//!
//! Not here: whose server it is.

use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use super::url::Url;
use crate::error::ServerError;
use crate::programs;

/// A server on which databases can be made, private or not.
#[derive(Debug, Clone)]
pub struct Databases {
    admin: Url,
}

impl Databases {
    pub(super) fn new(admin: Url) -> Self {
        Self { admin }
    }

    /// The server's own database, as a superuser or whoever the tests may be there.
    pub fn admin_url(&self) -> String {
        self.admin.text()
    }

    /// The same server and user, and the database of this name.
    pub fn url(&self, database: &str) -> String {
        self.admin.with_database(database).text()
    }

    /// Makes an empty database with a name of its own. It is dropped with the value.
    pub fn create_database(&self) -> Result<Database, ServerError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("membrane_test_{}_{number}", process::id());
            match self.execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")) {
                Ok(_) => return Ok(Database { server: self.clone(), name }),
                // An earlier process of the same number was killed and left it behind.
                Err(ServerError::Failed { said, .. }) if said.contains("already exists") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs SQL in the server's own database by `psql`, and returns what it printed: a line for each row.
    pub fn execute(&self, sql: &str) -> Result<String, ServerError> {
        run(&self.admin, sql)
    }
}

/// A database that goes with this value, whoever is still connected to it.
#[derive(Debug)]
pub struct Database {
    server: Databases,
    name: String,
}

impl Database {
    /// Where a client finds it.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in it by `psql`, and returns what it printed: a line for each row.
    pub fn execute(&self, sql: &str) -> Result<String, ServerError> {
        run(&self.server.admin.with_database(&self.name), sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that does not answer any more takes its databases with it.
        let _ = self.server.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn run(url: &Url, sql: &str) -> Result<String, ServerError> {
    let program = programs::psql()?;
    let output = Command::new(&program)
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password"])
        .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
        .arg(url.with_password(None).text())
        .env("PGPASSWORD", url.password.as_deref().unwrap_or_default())
        .env("PGCONNECT_TIMEOUT", "10")
        .env("LC_ALL", "C")
        .output()
        .map_err(ServerError::path("start", &program))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ServerError::Failed { doing: format!("`{sql}`"), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
