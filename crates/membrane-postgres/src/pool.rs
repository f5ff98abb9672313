//! Connections: made as they are needed, kept, given back, and thrown away when something went wrong with them.

use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool as Connections, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use membrane_store::StoreError;
use tokio_postgres::{Config, NoTls};

use crate::db::Db;
use crate::error::{OpenError, slow, store_error, unavailable};
use crate::options::{Pooler, PostgresOptions};

/// The connections of one store.
pub(crate) struct Pool {
    connections: Connections,
    is_named: bool,
    timeout: Duration,
}

impl Pool {
    /// Makes no connection yet.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let mut config = Config::from_str(&options.url)
            .map_err(|error| OpenError::Settings { problem: error.to_string() })?;
        config.connect_timeout(options.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("membrane");
        }
        // A connection is only looked at when it failed: asking before each use would double the round trips.
        let manager =
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let connections = Connections::builder(manager)
            .max_size(options.pool_size.max(1))
            .timeouts(Timeouts {
                wait: Some(options.timeout),
                create: Some(options.connect_timeout),
                recycle: Some(options.connect_timeout),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| OpenError::Settings { problem: error.to_string() })?;
        Ok(Self { connections, is_named: options.pooler == Pooler::None, timeout: options.timeout })
    }

    /// A connection, as soon as one is free.
    pub(crate) async fn get(&self) -> Result<Conn, StoreError> {
        let object = self.connections.get().await.map_err(|error| match error {
            PoolError::Timeout(_) => unavailable("all connections to the database are busy"),
            PoolError::Closed => StoreError::Closed,
            PoolError::Backend(error) => store_error("connect to the database", error),
            _ => unavailable("the database cannot be reached"),
        })?;
        Ok(Conn {
            object: Some(object),
            is_named: self.is_named,
            timeout: self.timeout,
            is_broken: AtomicBool::new(true),
        })
    }

    /// No connections any more, and those that come back go.
    pub(crate) fn close(&self) {
        self.connections.close();
    }
}

/// A connection taken from the pool. Unless [`Conn::within`] has ended well it does not go back.
pub(crate) struct Conn {
    object: Option<Object>,
    is_named: bool,
    timeout: Duration,
    is_broken: AtomicBool,
}

impl Conn {
    /// For statements.
    pub(crate) fn db(&self) -> Option<Db<'_>> {
        self.object.as_ref().map(|object| Db::new(object, self.is_named))
    }

    /// Does work with the connection, for as long as a call may take. What is dropped on the way, or ends badly,
    /// leaves the connection in doubt.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(slow()));
        let in_doubt = matches!(done, Err(StoreError::Unavailable { .. } | StoreError::Backend { .. }));
        self.is_broken.store(in_doubt, Ordering::Relaxed);
        done
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let (Some(object), true) = (self.object.take(), self.is_broken.load(Ordering::Relaxed)) {
            // Dropped, it is closed.
            let _ = Object::take(object);
        }
    }
}
