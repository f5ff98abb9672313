//! Why a server takes no connection: told apart here, for whoever opens a keep, who is told everything, and for whoever
//! waits on one that is open, over a network perhaps, who is told what to do and no host, user or database.
//!
//! Not here: what goes wrong on a connection that was made (`error.rs`).

use std::io::ErrorKind;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

use crate::connect::Connector;
use crate::error::{OpenError, message, whole};

/// What stands in the way of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such database.
    NoDatabase,
    /// All connections are taken: the server's, or the user's or the database's share.
    Connections,
    /// The server wants it encrypted.
    Unencrypted,
    /// The server's `pg_hba.conf` lets nobody in from here.
    NotLetIn,
    /// The role may not log in.
    NoLogin,
    /// User and password are not taken.
    Login,
    /// The user may not connect to the database.
    NotAllowed,
    /// The database was closed to connections.
    Closed,
    /// The server is on its way up or down.
    Changing,
    /// None of the servers that were named takes writes.
    ReadOnly,
    /// No encryption could be agreed on.
    Tls,
    /// Nobody answers.
    Unreachable,
    /// Something else that the server says.
    Other,
}

impl Refusal {
    /// What an error means that came instead of a connection.
    pub(crate) fn of(error: &Error) -> Self {
        let problem = message(error);
        match error.code() {
            Some(state) => Self::of_server(state, &problem),
            None => Self::of_nobody(error, &problem),
        }
    }

    /// The server, or a pooler before it, has spoken.
    fn of_server(state: &SqlState, problem: &str) -> Self {
        let says = |words: &str| problem.contains(words);
        match *state {
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase,
            SqlState::TOO_MANY_CONNECTIONS => Self::Connections,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if says("pg_hba.conf rejects") => Self::NotLetIn,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if says("no encryption") => Self::Unencrypted,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if says("pg_hba.conf") => Self::NotLetIn,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if says("not permitted to log in") => Self::NoLogin,
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Self::Login,
            SqlState::INSUFFICIENT_PRIVILEGE => Self::NotAllowed,
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                Self::Changing
            }
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE if says("not currently accepting connections") => {
                Self::Closed
            }
            // PgBouncer has one code for all that it refuses, and for what the server behind it refused.
            SqlState::PROTOCOL_VIOLATION
                if says("no such database") || says("database") && says("does not exist") =>
            {
                Self::NoDatabase
            }
            SqlState::PROTOCOL_VIOLATION if says("auth") || says("no such user") => Self::Login,
            SqlState::PROTOCOL_VIOLATION if says("too many") || says("no more connections") => {
                Self::Connections
            }
            _ => Self::Other,
        }
    }

    /// Nobody has spoken, or not PostgreSQL's language.
    fn of_nobody(error: &Error, problem: &str) -> Self {
        if problem.starts_with("error performing TLS handshake") {
            return Self::Tls;
        }
        if problem.starts_with("authentication error") || problem.starts_with("invalid configuration") {
            return Self::Login;
        }
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        // The driver's own word for a server that is not of the kind that was asked for.
        if cause.is_some_and(|cause| {
            cause.kind() == ErrorKind::PermissionDenied && cause.to_string().contains("does not allow writes")
        }) {
            return Self::ReadOnly;
        }
        Self::Unreachable
    }

    /// For a client of an open keep: what is the matter, and what its owner can do.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoDatabase => {
                "the database is gone: it was dropped or renamed; make it again under its name and bring its content \
                 back with pg_restore"
            }
            Self::Connections => {
                "the database server has no connection left; raise its max_connections, or lower \
                 chat.postgres.pool_size"
            }
            Self::Unencrypted => {
                "the database server wants its connections encrypted; set sslmode=require in the database's URL, or \
                 correct the server's pg_hba.conf"
            }
            Self::NotLetIn => {
                "the database server lets nobody in from here; correct its pg_hba.conf, then reload it"
            }
            Self::NoLogin => "the database's user may not log in any more; allow it with ALTER ROLE … LOGIN",
            Self::Login => {
                "the database refuses user and password; set the password back on the server, or correct the \
                 database's URL and start again"
            }
            Self::NotAllowed => {
                "the user may not connect to the database; allow it with GRANT CONNECT ON DATABASE … TO …"
            }
            Self::Closed => {
                "the database was closed to connections; open it with ALTER DATABASE … ALLOW_CONNECTIONS true"
            }
            Self::Changing => "the database is stopping or starting",
            Self::ReadOnly => {
                "the database takes no writes: none of its servers is the primary one; promote one, or bring it back"
            }
            Self::Tls => {
                "the connection to the database cannot be encrypted as is wanted; look at the server's certificate, \
                 or set sslmode"
            }
            Self::Unreachable => {
                "the database server cannot be reached; start it, or look at the network between here and there"
            }
            Self::Other => "the database takes no connection; the log says why",
        }
    }
}

/// Why the first connection could not be made.
pub(crate) async fn open_error(connector: &Connector, error: PoolError) -> OpenError {
    let server = connector.server();
    match error {
        PoolError::Backend(error) => connect_error(connector, error).await,
        PoolError::Timeout(TimeoutType::Create) => OpenError::Unreachable {
            server,
            setting: connector.setting(),
            source: format!("no answer within {:?}", connector.timeout()).into(),
        },
        error => OpenError::NotReady { server, problem: error.to_string(), remedy: "try again" },
    }
}

/// The same for a connection that no pool has made.
pub(crate) async fn connect_error(connector: &Connector, error: Error) -> OpenError {
    let (server, user, problem) = (connector.server(), connector.user(), message(&error));
    match Refusal::of(&error) {
        Refusal::NoDatabase => OpenError::NoDatabase { server, database: connector.database() },
        Refusal::Connections => OpenError::TooManyConnections { server, problem },
        Refusal::Unencrypted => {
            let remedy = "set sslmode=require (or verify-full), or correct the server's pg_hba.conf";
            OpenError::Tls { server, problem, remedy }
        }
        Refusal::NotLetIn => {
            let remedy = "let it in in the server's pg_hba.conf, then reload it: SELECT pg_reload_conf()";
            OpenError::Refused { server, user, problem, remedy }
        }
        Refusal::NoLogin => {
            let remedy = "allow it with ALTER ROLE … LOGIN, or name another user in the database's URL";
            OpenError::Refused { server, user, problem, remedy }
        }
        Refusal::Login => {
            let remedy = "check the user and the password of the database's URL";
            OpenError::Refused { server, user, problem, remedy }
        }
        Refusal::NotAllowed => {
            let remedy = format!("GRANT CONNECT ON DATABASE {} TO {user}", connector.database());
            OpenError::NotAllowed { server, user, doing: "connect", problem, remedy }
        }
        Refusal::Closed => {
            let remedy = "open it: ALTER DATABASE … ALLOW_CONNECTIONS true";
            OpenError::NotReady { server, problem, remedy }
        }
        Refusal::Changing => {
            OpenError::NotReady { server, problem, remedy: "wait until it is up, and try again" }
        }
        Refusal::ReadOnly => {
            OpenError::ReadOnly { server, problem: "none of its servers takes writes".to_owned() }
        }
        Refusal::Other => {
            OpenError::NotReady { server, problem, remedy: "look at the server's log, and try again" }
        }
        Refusal::Tls => not_encrypted(server, &problem),
        Refusal::Unreachable => not_reached(connector, error).await,
    }
}

fn not_encrypted(server: String, problem: &str) -> OpenError {
    let problem = problem.trim_start_matches("error performing TLS handshake: ");
    let (problem, remedy) = if problem.contains("does not support TLS") {
        ("the server offers no TLS".to_owned(), "switch it on there (ssl = on), or set sslmode=prefer")
    } else {
        (
            format!("TLS cannot be agreed on: {problem}"),
            "name the server's authority with sslrootcert and the host as its certificate does, or set sslmode",
        )
    };
    OpenError::Tls { server, problem, remedy }
}

async fn not_reached(connector: &Connector, error: Error) -> OpenError {
    let server = connector.server();
    for host in connector.config().get_hosts() {
        if let Host::Tcp(host) = host
            && connector.config().get_hostaddrs().is_empty()
            && let Err(error) = tokio::net::lookup_host((host.as_str(), 0)).await
        {
            return OpenError::UnknownHost { server, host: host.clone(), problem: error.to_string() };
        }
    }
    OpenError::Unreachable { server, setting: connector.setting(), source: error.into() }
}

/// What an open keep's client is told when no connection could be made; all of it goes to the log.
pub(crate) fn reason(error: &Error) -> &'static str {
    let refusal = Refusal::of(error);
    tracing::debug!(error = %whole(error), ?refusal, "the database takes no connection");
    refusal.reason()
}
