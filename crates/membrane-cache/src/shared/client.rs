//! Asking the shared cache, and giving up in time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Mutex, Semaphore};
use xxhash_rust::xxh3::xxh3_128;

use super::breaker::{Breaker, News};
use super::wire;
use crate::options::{CacheError, SharedOptions};
use crate::page::{Page, PageKey};
use crate::telemetry::Meters;

/// How many pages are asked for at once: a long thread is not in the way of others for long.
const AT_ONCE: usize = 8;

/// A page that is longer stays where it is.
const MAX_BYTES: usize = 1 << 20;

/// How many reads may be putting pages at the same time; others do without.
const MAX_PUTTING: usize = 16;

/// The shared cache, as one keep sees it.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    breaker: Breaker,
    timeout: Duration,
    lifetime: Duration,
    /// What the keep is called, and what its keys begin with.
    keep: String,
    prefix: String,
    pub(crate) putting: Arc<Semaphore>,
    meters: Meters,
}

impl Shared {
    /// Nothing is asked yet: whether the server is there shows at the first read.
    pub(crate) fn new(
        options: &SharedOptions,
        lifetime: Duration,
        keep: String,
        meters: Meters,
    ) -> Result<Self, CacheError> {
        let client = Client::open(options.url.as_str())
            .map_err(|error| CacheError::Url { problem: error.category().to_owned() })?;
        meters.shared_up.set(1.0);
        Ok(Self {
            client,
            connection: Mutex::new(None),
            breaker: Breaker::new(options.pause),
            timeout: options.timeout,
            lifetime,
            prefix: format!("membrane:1:{:032x}", xxh3_128(keep.as_bytes())),
            keep,
            putting: Arc::new(Semaphore::new(MAX_PUTTING)),
            meters,
        })
    }

    fn name(&self, key: PageKey) -> String {
        format!("{}:{}:{}", self.prefix, key.segment.0, key.number)
    }

    fn names(&self, keys: &[PageKey]) -> Vec<String> {
        keys.iter().map(|key| self.name(*key)).collect()
    }

    /// Those of the pages that are there, and that are what they should be; as many as can be had in time.
    pub(crate) async fn get(&self, keys: &[PageKey]) -> Vec<(PageKey, Page)> {
        let by = Instant::now() + self.timeout;
        let mut pages = Vec::new();
        for keys in keys.chunks(AT_ONCE) {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // It answered; there is only too much of it.
                break;
            }
            let mut command = redis::cmd("MGET");
            command.arg(self.names(keys));
            let asked = |mut connection: MultiplexedConnection| async move {
                command.query_async::<Vec<Option<Vec<u8>>>>(&mut connection).await
            };
            let Some(values) = self.ask(left, asked).await else { break };
            let found = keys
                .iter()
                .zip(values)
                .filter_map(|(key, value)| Some((*key, wire::decode(&value?, &self.keep, *key)?)));
            pages.extend(found);
        }
        pages
    }

    /// Puts pages there.
    pub(crate) async fn put(&self, pages: &[(PageKey, Arc<Page>)]) {
        for (key, page) in pages {
            let Some(value) = wire::encode(page, &self.keep, *key).filter(|value| value.len() <= MAX_BYTES)
            else {
                continue;
            };
            let mut command = redis::cmd("SET");
            let lifetime_ms = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
            command.arg(self.name(*key)).arg(value).arg("PX").arg(lifetime_ms);
            let asked = |mut connection: MultiplexedConnection| async move {
                command.query_async::<()>(&mut connection).await
            };
            if self.ask(self.timeout, asked).await.is_none() {
                return;
            }
        }
    }

    /// Removes pages.
    pub(crate) async fn remove(&self, keys: &[PageKey]) {
        for keys in keys.chunks(1000) {
            let mut command = redis::cmd("UNLINK");
            command.arg(self.names(keys));
            let asked = |mut connection: MultiplexedConnection| async move {
                command.query_async::<()>(&mut connection).await
            };
            if self.ask(self.timeout, asked).await.is_none() {
                return;
            }
        }
    }

    /// Has something done within a time; `None` if it was not, for whatever reason.
    async fn ask<T, F>(&self, within: Duration, work: impl FnOnce(MultiplexedConnection) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        if !self.breaker.lets_through(Instant::now()) {
            return None;
        }
        let done = tokio::time::timeout(within, async {
            let connection = self.connection().await?;
            work(connection).await
        });
        let problem = match done.await {
            Ok(Ok(value)) => {
                if self.breaker.went_well() == News::Back {
                    self.meters.shared_up.set(1.0);
                    tracing::info!("the shared cache answers again");
                }
                return Some(value);
            }
            Ok(Err(error)) => {
                self.meters.errors.increment(1);
                error.to_string()
            }
            Err(_) => {
                self.meters.timeouts.increment(1);
                format!("no answer within {} ms", within.as_millis())
            }
        };
        // What is on its way on the old connection is nobody's any more.
        *self.connection.lock().await = None;
        if self.breaker.failed(Instant::now()) == News::Gone {
            self.meters.shared_up.set(0.0);
            tracing::warn!(%problem, "the shared cache is left alone until it answers; turns are read from the database");
        }
        None
    }

    /// The one connection, which all use at once.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        // Whoever asks has a time limit for all of it.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(slot.insert(connection).clone())
    }
}
