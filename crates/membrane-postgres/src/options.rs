//! How a PostgreSQL keep is reached and driven.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use membrane_store::kgents::UpgradeOptions;

/// What stands between Membrane and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooler {
    /// Nothing, or something that leaves a client its connection.
    #[default]
    None,
    /// A pooler that gives a server connection away after each transaction (PgBouncer's `transaction` mode): no
    /// session locks, no `LISTEN`, no named statements.
    Transaction,
}

/// How a connection is encrypted, as libpq names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server offers it; its certificate is not looked at.
    #[default]
    Prefer,
    /// Always; the certificate is not looked at, unless there is a root certificate.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for the host's name.
    VerifyFull,
}

/// Settings of a [`crate::PostgresStore`].
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgresql://user:password@host:port/database`, with the parameters that `tokio-postgres` knows.
    pub url: String,
    /// How connections are encrypted.
    pub ssl_mode: SslMode,
    /// Authorities to trust, in PEM form, instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// What stands between.
    pub pooler: Pooler,
    /// A way past the pooler, for what needs a connection of its own.
    pub direct_url: Option<String>,
    /// How many connections at most.
    pub pool_size: usize,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a call may wait for the database in all.
    pub timeout: Duration,
    /// How many changes may wait.
    pub queue_len: usize,
    /// How many appends go as one statement at most.
    pub max_batch: usize,
    /// What becomes of kgents' V1 tables.
    pub upgrade: UpgradeOptions,
}

impl PostgresOptions {
    /// The defaults, for a server.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            pooler: Pooler::None,
            direct_url: None,
            pool_size: 16,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            queue_len: 4096,
            max_batch: 256,
            upgrade: UpgradeOptions::default(),
        }
    }
}

/// Without the URLs, which may hold a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("ssl_mode", &self.ssl_mode)
            .field("pooler", &self.pooler)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("queue_len", &self.queue_len)
            .field("max_batch", &self.max_batch)
            .finish_non_exhaustive()
    }
}
