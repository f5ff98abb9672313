//! What can be set, as plain values. Which keys they have, and what each may be, is in `keys.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use membrane::responder::provider::{Account, ProviderKind};
use membrane::{Limits, ModelChoice};
use membrane_http::Origins;

use super::database::Database;
use super::urls::{CacheUrl, PostgresUrl};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) database: Database,
    pub(crate) server: ServerSettings,
    pub(crate) limits: Limits,
    pub(crate) runs: RunSettings,
    pub(crate) echo: EchoSettings,
    pub(crate) sqlite: SqliteSettings,
    pub(crate) postgres: PostgresSettings,
    pub(crate) cache: CacheSettings,
    pub(crate) model: ModelSettings,
    pub(crate) log: LogSettings,
}

/// How the server listens, how much it takes, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) addr: SocketAddr,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_streams: usize,
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) cors_origins: Origins,
}

/// How long an answer under way belongs to the process that makes it. `renew` is less than `lease`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunSettings {
    pub(crate) lease: Duration,
    pub(crate) renew: Duration,
    pub(crate) flush: Duration,
    pub(crate) keep_ended: Duration,
    pub(crate) recover: Duration,
}

/// How the provider `echo` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EchoSettings {
    pub(crate) delay: Duration,
    pub(crate) piece_chars: usize,
}

/// How a SQLite file is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqliteSettings {
    pub(crate) busy_timeout: Duration,
    pub(crate) queue_len: usize,
    pub(crate) max_batch: usize,
    pub(crate) readers: usize,
    pub(crate) cache_kib: u32,
    pub(crate) checkpoint_pages: u32,
}

/// How a PostgreSQL database is used. Without a pooler there is no `direct_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresSettings {
    pub(crate) pooler: Pooler,
    /// Past the pooler, for what it cannot carry.
    pub(crate) direct_url: Option<PostgresUrl>,
    pub(crate) pool_size: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) queue_len: usize,
    pub(crate) max_batch: usize,
}

/// What stands between this process and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooler {
    /// Nothing: a connection is one to the server.
    None,
    /// One that lends a connection to the server for as long as ours lives.
    Session,
    /// One that lends it for a transaction: nothing of a session holds beyond that.
    Transaction,
}

/// What is kept of turns that were read, which never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    /// In this process, in MiB; nothing, if it is 0.
    pub(crate) memory_mib: usize,
    /// Between processes.
    pub(crate) url: Option<CacheUrl>,
    pub(crate) timeout: Duration,
    pub(crate) lifetime: Duration,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelSettings {
    pub(crate) provider: Provider,
    pub(crate) name: Option<String>,
    /// Which model answers in a project, by the project's id.
    pub(crate) projects: Vec<(String, ModelChoice)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) silence_timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) max_retry_wait: Duration,
    /// How much of a conversation a model is shown, in estimated tokens.
    pub(crate) context_size: u64,
    /// What is known of each provider of models.
    pub(crate) accounts: Vec<(ProviderKind, Account)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Echo,
    Model(ProviderKind),
}

/// What is logged, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
}
