//! A connection that works on threads for blocking work, one piece after the other.

use membrane_store::StoreError;
use rusqlite::Connection;

/// The connection, while nobody works with it.
#[derive(Debug)]
pub(super) struct Lane(Option<Connection>);

impl Lane {
    pub(super) fn new(conn: Connection) -> Self {
        Self(Some(conn))
    }

    /// Does a piece of work. If the future is dropped the work is done all the same, and the lane is closed.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut conn = self.0.take().ok_or(StoreError::Closed)?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut conn);
            (conn, done)
        });
        // It fails only when the runtime is going.
        let (conn, done) = working.await.map_err(|_| StoreError::Closed)?;
        self.0 = Some(conn);
        Ok(done)
    }
}
