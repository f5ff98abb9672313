//! What a cache is made with.

use std::fmt;
use std::time::Duration;

/// How much is kept, where, and for how long.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// How many bytes of turns this process keeps at most; 0: none.
    pub memory_bytes: u64,
    /// Where instances share what they keep, if anywhere.
    pub shared: Option<SharedOptions>,
    /// How long a page is kept at most, wherever it is.
    pub lifetime: Duration,
    /// A read of fewer turns goes straight to the store: looking where they are costs as much as having them.
    pub min_turns: u64,
    /// Whether the first read of a thread is kept; else the second one is, so that what is read once costs nothing.
    pub keeps_first_read: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            shared: None,
            lifetime: Duration::from_secs(600),
            min_turns: 32,
            keeps_first_read: false,
        }
    }
}

/// A Redis or Valkey server.
#[derive(Clone)]
pub struct SharedOptions {
    /// `redis://USER:PASSWORD@HOST:PORT/NUMBER`, or `rediss:` for TLS.
    pub url: String,
    /// How long it is waited for, in all, at one read.
    pub timeout: Duration,
    /// How long it is left alone once it has failed several times in a row.
    pub pause: Duration,
}

impl SharedOptions {
    /// A server with the defaults.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), timeout: Duration::from_millis(20), pause: Duration::from_secs(2) }
    }
}

impl fmt::Debug for SharedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("SharedOptions")
            .field("timeout", &self.timeout)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

/// Why a cache could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The URL is none that the client understands. It is not shown: it may hold a password.
    #[error("the shared cache's url cannot be used: {problem}; give redis://USER:PASSWORD@HOST:PORT/NUMBER")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// The store did not give its name.
    #[error(transparent)]
    Store(#[from] membrane_store::StoreError),
}
