//! Making connections: where to, how encrypted, with which settings. Who keeps them is in `pool.rs`.

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode as DriverSslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Error, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;
use crate::hosts::Hosts;
use crate::options::{Pooler, PostgresOptions, SslMode};
use crate::tls;

/// The port that a URL without one means.
const DEFAULT_PORT: u16 = 5432;

/// What names the database.
const NAMED: &str = "--database-url";

/// How often a peer that keeps silent is asked before it counts as gone.
const KEEPALIVE_RETRIES: u32 = 3;

pub(crate) type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// Makes connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    hosts: Hosts,
    tls: MakeRustlsConnect,
    /// What a connection is told first. Empty behind a pooler, which would tell it to a connection of others.
    greeting: String,
    connect_timeout: Duration,
    is_verified: bool,
    /// What names the server.
    setting: &'static str,
}

/// A client, and what drives it.
pub(crate) struct Link {
    pub(crate) client: Client,
    task: JoinHandle<()>,
}

impl Link {
    /// The one value of a question, which is not prepared: whatever the way may lead through.
    pub(crate) async fn value(&self, sql: &str) -> Result<String, Error> {
        let answer = self.client.simple_query(sql).await?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(row.unwrap_or_default().to_owned())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connector {
    /// For the connections of the pool.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let is_pooled = options.pooler == Pooler::Transaction;
        Self::to(&options.url, NAMED, is_pooled, options)
    }

    /// For connections that hold what belongs to a session; `None` if there is no way past the pooler.
    pub(crate) fn direct(options: &PostgresOptions) -> Result<Option<Self>, OpenError> {
        match (&options.direct_url, options.pooler) {
            (Some(url), _) => Self::to(url, "chat.postgres.direct_url", false, options).map(Some),
            (None, Pooler::None) => Self::to(&options.url, NAMED, false, options).map(Some),
            (None, Pooler::Transaction) => Ok(None),
        }
    }

    fn to(
        url: &str,
        setting: &'static str,
        is_pooled: bool,
        options: &PostgresOptions,
    ) -> Result<Self, OpenError> {
        let mut config = Config::from_str(url).map_err(|error| unreadable(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        if config.get_hosts().is_empty() {
            // TLS wants a name.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        let mode = mode(&config, options.ssl_mode);
        config.ssl_mode(match mode {
            SslMode::Disable => DriverSslMode::Disable,
            SslMode::Prefer => DriverSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverSslMode::Require,
        });
        // Of several servers one is the primary; to be asked in their order, however their parts change.
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_application_name().is_none() {
            config.application_name("membrane");
        }
        // A cut that nobody announces is noticed by the time a call gives up.
        let interval = (options.timeout / (KEEPALIVE_RETRIES + 1)).max(Duration::from_secs(1));
        config
            .connect_timeout(options.connect_timeout)
            .tcp_user_timeout(options.timeout)
            .keepalives(true)
            .keepalives_idle(options.timeout.max(Duration::from_secs(1)))
            .keepalives_interval(interval)
            .keepalives_retries(KEEPALIVE_RETRIES);
        let greeting = if is_pooled { String::new() } else { limits("", options) };
        let tls = tls::connector(mode, options)?;
        let is_verified = match mode {
            SslMode::Disable | SslMode::Prefer => false,
            SslMode::Require => options.ssl_root_cert.is_some(),
            SslMode::VerifyCa | SslMode::VerifyFull => true,
        };
        // A call makes a connection in half of its own time, so that it can be used.
        let hosts = Hosts::of(&config, options.connect_timeout.min(options.timeout / 2));
        Ok(Self {
            config,
            hosts,
            tls,
            greeting,
            connect_timeout: options.connect_timeout,
            is_verified,
            setting,
        })
    }

    /// A connection that nobody keeps; whoever has it drives it.
    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, Stream>), Error> {
        self.hosts.connect(&self.tls).await
    }

    /// A connection outside the pool, which is driven for as long as it is there.
    pub(crate) async fn link(&self) -> Result<Link, Error> {
        let (client, connection) = self.connect().await?;
        let task = tokio::spawn(async move {
            // Whoever uses it is told.
            let _ = connection.await;
        });
        Ok(Link { client, task })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// For cancelling, which takes a connection of its own.
    pub(crate) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Whether the server has to prove who it is.
    pub(crate) fn is_verified(&self) -> bool {
        self.is_verified
    }

    /// How long making a connection may take in all.
    pub(crate) fn timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// What names the server, for who has to name another.
    pub(crate) fn setting(&self) -> &'static str {
        self.setting
    }

    /// Hosts, ports and database, without user and password.
    pub(crate) fn server(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(number, host)| {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        format!("{}/{}", hosts.collect::<Vec<_>>().join(","), self.database())
    }

    /// Who asks.
    pub(crate) fn user(&self) -> String {
        self.config.get_user().unwrap_or("(of the system)").to_owned()
    }

    /// The database's name; by default the user's.
    pub(crate) fn database(&self) -> String {
        let name = self.config.get_dbname().or(self.config.get_user());
        name.unwrap_or_default().to_owned()
    }
}

/// Lifts limits that an administrator may have set, and that some versions do not know: a connection at rest is not to be
/// cut off, nor a long check.
pub(crate) const LIFT_LIMITS: &str = "SELECT set_config(name, '0', FALSE) FROM pg_settings \
     WHERE name IN ('idle_session_timeout', 'transaction_timeout') AND setting <> '0'";

/// What the server is to give up on by itself, for when nobody is there any more to cancel it; no compiling, which takes
/// longer than any of these statements; and the isolation that the order of locks is made for. With `LOCAL`, for one
/// transaction.
pub(crate) fn limits(local: &str, options: &PostgresOptions) -> String {
    // A little more than what this side waits, so that this side says so first.
    let millis = options.timeout.as_millis() + 1000;
    let of_session = if local.is_empty() {
        format!("; SET default_transaction_isolation = 'read committed'; {LIFT_LIMITS}")
    } else {
        String::new()
    };
    format!(
        "SET {local} statement_timeout = {millis}; SET {local} idle_in_transaction_session_timeout = {millis}; \
         SET {local} lock_timeout = 0; SET {local} jit = off{of_session}"
    )
}

/// Why a URL cannot be read. Nothing of it is repeated that could be a password.
fn unreadable(error: &Error) -> OpenError {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let cause = if cause.contains(['@', '/']) { String::new() } else { format!(" ({cause})") };
    OpenError::Settings {
        problem: format!(
            "the database's URL cannot be read{cause}; write it as postgresql://user:password@host:port/database"
        ),
    }
}

/// The mode that is in force: the stricter one where the URL names one, too; none on a Unix socket.
fn mode(config: &Config, asked: SslMode) -> SslMode {
    if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
        return SslMode::Disable;
    }
    match (config.get_ssl_mode(), asked) {
        (DriverSslMode::Require, SslMode::Prefer | SslMode::Disable) => SslMode::Require,
        (DriverSslMode::Disable, SslMode::Prefer) => SslMode::Disable,
        (_, asked) => asked,
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async move {
            let (client, connection) = Connector::connect(self).await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    // Whoever uses it is told.
                    tracing::debug!(%error, "a connection to the database ended");
                }
            });
            let task = AbortOnDrop(Some(task));
            if !self.greeting.is_empty() {
                client.batch_execute(&self.greeting).await?;
            }
            Ok((client, task.keep()))
        })
    }
}

/// Ends a connection that nobody got.
struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn keep(mut self) -> JoinHandle<()> {
        self.0.take().unwrap_or_else(|| tokio::spawn(async {}))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
