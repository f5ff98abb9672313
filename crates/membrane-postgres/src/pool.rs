//! Connections: made as they are needed, kept, given back, and thrown away when something went wrong with them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool as Connections, PoolError, RecyclingMethod, Runtime,
};
use deadpool_postgres::{PoolConfig, QueueMode, TimeoutType, Timeouts};
use membrane_store::{ConnectionGauges, StoreError};
use metrics::{Histogram, histogram};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::connect::{Connector, limits};
use crate::db::Db;
use crate::error::{OpenError, slow, unavailable};
use crate::options::{Pooler, PostgresOptions};
use crate::refusal;
use crate::telemetry::CONNECTION_WAIT_SECONDS;

/// What is told of a server that takes connections and says nothing.
const SILENT: &str = "the database server does not take a connection in time; is it overloaded, or cut off?";

/// The connections of one store.
pub(crate) struct Pool {
    connections: Connections,
    connector: Arc<Connector>,
    is_named: bool,
    timeout: Duration,
    /// What a transaction begins with, where connections have no settings of their own.
    limits: Arc<str>,
    uses: Arc<Uses>,
    /// How long calls waited for a connection.
    waits: Histogram,
}

/// Which connections are out.
struct Uses {
    n_out: AtomicUsize,
    /// When the last one was given out, in milliseconds since `began`.
    last: AtomicU64,
    began: Instant,
}

impl Uses {
    fn new() -> Arc<Self> {
        Arc::new(Self { n_out: AtomicUsize::new(0), last: AtomicU64::new(0), began: Instant::now() })
    }

    fn begin(&self) {
        self.n_out.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn end(&self) {
        self.n_out.fetch_sub(1, Ordering::Relaxed);
    }

    /// For how long nobody was given one.
    fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

impl Pool {
    /// Makes no connection yet.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let connector = Connector::new(options)?;
        // A connection is only looked at when it failed: asking before each use would double the round trips.
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(connector.config().clone(), connector.clone(), config);
        let connections = Connections::builder(manager)
            .config(PoolConfig {
                max_size: options.pool_size.max(1),
                timeouts: Timeouts {
                    wait: Some(options.timeout),
                    create: Some(options.connect_timeout),
                    recycle: Some(options.connect_timeout),
                },
                // The one that was used last has its statements prepared.
                queue_mode: QueueMode::Lifo,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| OpenError::Settings { problem: error.to_string() })?;
        let is_pooled = options.pooler == Pooler::Transaction;
        let limits = if is_pooled { limits("LOCAL", options) } else { String::new() };
        Ok(Self {
            connections,
            connector: Arc::new(connector),
            is_named: !is_pooled,
            timeout: options.timeout,
            limits: limits.into(),
            uses: Uses::new(),
            waits: histogram!(CONNECTION_WAIT_SECONDS),
        })
    }

    /// A connection, as soon as one is free. The time of the call begins here.
    pub(crate) async fn get(&self) -> Result<Conn, StoreError> {
        self.get_until(Instant::now() + self.timeout).await
    }

    /// The same for a call that began earlier.
    pub(crate) async fn get_until(&self, deadline: Instant) -> Result<Conn, StoreError> {
        let begun = Instant::now();
        let taken = tokio::time::timeout_at(deadline, self.take()).await;
        self.waits.record(begun.elapsed());
        match taken {
            Ok(taken) => Ok(self.conn(taken.map_err(|error| self.error(error))?, deadline)),
            Err(_) => Err(self.none_free()),
        }
    }

    /// The same for who waits no longer than `patience`, and then has until the deadline.
    pub(crate) async fn get_within(&self, patience: Duration, deadline: Instant) -> Result<Conn, StoreError> {
        match tokio::time::timeout(patience, self.get_until(deadline)).await {
            Ok(taken) => taken,
            Err(_) => Err(self.none_free()),
        }
    }

    /// Why somebody has waited in vain.
    fn none_free(&self) -> StoreError {
        let limit = self.connections.status().max_size;
        if self.uses.n_out.load(Ordering::Relaxed) < limit {
            // The next one is being made.
            return unavailable(SILENT);
        }
        let n_waiting = self.connections.status().waiting;
        let idle = self.uses.idle();
        unavailable(format!(
            "all {limit} connections to the database are busy, {n_waiting} more calls wait for one, and none was free \
             for {:.1} s; see what holds them with \"membrane doctor\", or raise chat.postgres.pool_size",
            idle.as_secs_f64()
        ))
    }

    fn error(&self, error: PoolError) -> StoreError {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => self.none_free(),
            PoolError::Timeout(_) => unavailable(SILENT),
            PoolError::Closed => StoreError::Closed,
            // A store that was open once waits for its server, whatever that says meanwhile.
            PoolError::Backend(error) => unavailable(refusal::reason(&error)),
            _ => unavailable("the database cannot be reached"),
        }
    }

    /// The first connection, with PostgreSQL's own word on why there is none.
    pub(crate) async fn get_first(&self) -> Result<Conn, PoolError> {
        let deadline = Instant::now() + self.timeout;
        Ok(self.conn(self.take().await?, deadline))
    }

    async fn take(&self) -> Result<Object, PoolError> {
        self.connections.get().await
    }

    fn conn(&self, object: Object, deadline: Instant) -> Conn {
        self.uses.begin();
        Conn {
            object: Some(object),
            is_named: self.is_named,
            limits: Arc::clone(&self.limits),
            deadline,
            connector: Arc::clone(&self.connector),
            is_broken: AtomicBool::new(true),
            is_at_work: AtomicBool::new(false),
            uses: Arc::clone(&self.uses),
        }
    }

    /// How connections are made.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// How many connections there are, and how many wait for one.
    pub(crate) fn gauges(&self) -> ConnectionGauges {
        let status = self.connections.status();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        ConnectionGauges {
            limit: count(status.max_size),
            open: count(status.size),
            in_use: count(status.size.saturating_sub(status.available)),
            waiting: count(status.waiting),
        }
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
    limits: Arc<str>,
    deadline: Instant,
    connector: Arc<Connector>,
    is_broken: AtomicBool,
    is_at_work: AtomicBool,
    uses: Arc<Uses>,
}

impl Conn {
    /// For statements.
    pub(crate) fn db(&self) -> Result<Db<'_>, StoreError> {
        let object = self.object.as_ref().ok_or(StoreError::Closed)?;
        Ok(Db::new(object, self.is_named, &self.limits))
    }

    /// Does work with the connection, for as long as the call may last. What is dropped on the way, or ends badly,
    /// leaves the connection in doubt.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.is_at_work.store(true, Ordering::Relaxed);
        let Ok(done) = tokio::time::timeout_at(self.deadline, work).await else { return Err(slow()) };
        self.note(&done);
        done
    }

    /// The same for what has to go through everything, however long that takes.
    pub(crate) async fn at_leisure<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.is_at_work.store(true, Ordering::Relaxed);
        let done = work.await;
        self.note(&done);
        done
    }

    fn note<T>(&self, done: &Result<T, StoreError>) {
        self.is_at_work.store(false, Ordering::Relaxed);
        let in_doubt = matches!(done, Err(StoreError::Unavailable { .. } | StoreError::Backend { .. }));
        self.is_broken.store(in_doubt, Ordering::Relaxed);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.uses.end();
        let Some(object) = self.object.take() else { return };
        if !self.is_broken.load(Ordering::Relaxed) {
            return;
        }
        let client = Object::take(object);
        if !self.is_at_work.load(Ordering::Relaxed) {
            return;
        }
        // The server would go on with what nobody waits for, and hold its locks. A pooler is not asked to cancel: PgBouncer
        // 1.18 to 1.20 end as a whole when the statement is over by then (pgbouncer/pgbouncer#822). Behind it a transaction's
        // own limits end what is left.
        if !self.is_named {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let connector = Arc::clone(&self.connector);
        runtime.spawn(async move {
            let cancel = client.cancel_token();
            let cancelled =
                tokio::time::timeout(connector.timeout(), cancel.cancel_query(connector.tls())).await;
            if let Ok(Err(error)) = cancelled {
                tracing::debug!(%error, "a statement could not be cancelled");
            }
            drop(client);
        });
    }
}
