//! The way to the database, step by step: name, port, encryption, login, database.

use std::io;
use std::path::Path;
use std::time::Duration;

use membrane_store::doctor::Check;
use tokio::net::TcpStream;
use tokio_postgres::config::Host;

use crate::connect::Connector;
use crate::error::{OpenError, whole};
use crate::options::PostgresOptions;
use crate::pool::Pool;
use crate::refusal::open_error;

/// Walks it as far as it leads; a pool with a connection, if it leads to the end.
pub(super) async fn look(options: &PostgresOptions, checks: &mut Vec<Check>) -> Option<Pool> {
    let pool = match Pool::new(options) {
        Ok(pool) => pool,
        Err(error) => {
            let remedy = "correct it in the database's URL; see \"membrane config\"";
            checks.push(Check::problem("url", whole(&error), remedy));
            return None;
        }
    };
    let connector = pool.connector();
    let mut steps = hosts(connector).await;
    let got = pool.get_first().await;
    let reached = got.is_ok();
    if reached {
        // One of several is enough.
        steps.iter_mut().for_each(soften);
    }
    checks.append(&mut steps);
    match got {
        Ok(conn) => {
            let user = connector.user();
            checks.push(encryption(&conn, connector).await);
            checks.push(Check::ok("login", format!("{user} may log in to {}", connector.server())));
            drop(conn);
            Some(pool)
        }
        Err(error) => {
            let error = open_error(connector, error).await;
            // The step before has said it already.
            if !checks.iter().any(|check| check.remedy.is_some() && name(&error) == check.name) {
                checks.push(Check::problem(name(&error), whole(&error), remedy(&error)));
            }
            None
        }
    }
}

fn soften(step: &mut Check) {
    if step.remedy.is_some() {
        *step = Check::note(step.name, format!("{}; another server was reached", step.found));
    }
}

/// The names and the ports.
async fn hosts(connector: &Connector) -> Vec<Check> {
    let (config, timeout) = (connector.config(), connector.timeout());
    let ports = config.get_ports();
    let mut checks = Vec::new();
    for (number, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => tcp(host, port, timeout, &mut checks).await,
            Host::Unix(folder) => checks.push(socket(folder, port).await),
        }
    }
    checks
}

async fn tcp(host: &str, port: u16, timeout: Duration, checks: &mut Vec<Check>) {
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<_> = match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let remedy = "correct the host in the database's URL, or the machine's name service";
            return checks.push(Check::problem(
                "name",
                format!("the host {host:?} cannot be found: {error}"),
                remedy,
            ));
        }
    };
    if host.parse::<std::net::IpAddr>().is_err() {
        let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        checks.push(Check::ok("name", format!("{host} is {}", shown.join(", "))));
    }
    let connected = tokio::time::timeout(timeout, TcpStream::connect(&*addresses)).await;
    checks.push(match connected {
        Ok(Ok(_)) => Check::ok("port", format!("{host}:{port} takes connections")),
        Ok(Err(error)) => {
            let remedy =
                "start the server, let it listen there (listen_addresses, port), or correct host and port";
            Check::problem("port", format!("{host}:{port} takes no connection: {error}"), remedy)
        }
        Err(_) => {
            let remedy = "look for a firewall between here and there, or correct host and port";
            Check::problem("port", format!("{host}:{port} does not answer within {timeout:?}"), remedy)
        }
    });
}

#[cfg(unix)]
async fn socket(folder: &Path, port: u16) -> Check {
    let path = folder.join(format!(".s.PGSQL.{port}"));
    let remedy = "start the server, or name the folder of its socket (unix_socket_directories) and its port";
    match tokio::net::UnixStream::connect(&path).await {
        Ok(_) => Check::ok("port", format!("{} takes connections", path.display())),
        Err(error) => {
            Check::problem("port", format!("{} takes no connection: {error}", path.display()), remedy)
        }
    }
}

#[cfg(not(unix))]
async fn socket(folder: &Path, _port: u16) -> Check {
    let found = format!("{} is the folder of a socket, which this system does not have", folder.display());
    Check::problem("port", found, "name a host in the database's URL")
}

/// Whether what is said can be read on the way.
async fn encryption(conn: &crate::pool::Conn, connector: &Connector) -> Check {
    const NAME: &str = "encryption";
    let sql = "SELECT ssl, coalesce(version, ''), coalesce(cipher, ''), inet_server_addr() IS NULL \
               FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let asked =
        conn.within(async { super::examine::ask(conn.db()?, sql, "look at the encryption").await }).await;
    let row = match asked {
        Ok(row) => row,
        Err(error) => return Check::note(NAME, format!("it cannot be told: {}", whole(&error))),
    };
    let (is_encrypted, is_local) = (row.try_get(0).unwrap_or(false), row.try_get(3).unwrap_or(false));
    let text = |column: usize| row.try_get::<_, String>(column).unwrap_or_default();
    if is_encrypted {
        let found = format!("the server sees {} with {}", text(1), text(2));
        return if connector.is_verified() {
            Check::ok(NAME, format!("{found}; its certificate was verified"))
        } else {
            Check::note(NAME, format!("{found}; its certificate was not looked at"))
                .with_remedy("to be sure who answers, set sslmode=verify-full and sslrootcert")
        };
    }
    let hosts = connector.config().get_hosts();
    let is_near = |host: &Host| match host {
        Host::Tcp(host) => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    };
    if is_local || hosts.iter().all(is_near) {
        return Check::ok(NAME, "none, and the server is on this machine");
    }
    Check::note(NAME, "none: what users say can be read between here and the server")
        .with_remedy("let the server speak TLS (ssl = on), and set sslmode=verify-full and sslrootcert")
}

/// The step that an error stopped at.
fn name(error: &OpenError) -> &'static str {
    match error {
        OpenError::Settings { .. } => "url",
        OpenError::UnknownHost { .. } => "name",
        OpenError::Unreachable { .. } => "port",
        OpenError::Tls { .. } => "encryption",
        OpenError::NoDatabase { .. } => "database",
        OpenError::TooManyConnections { .. } => "connections",
        OpenError::ReadOnly { .. } => "server",
        _ => "login",
    }
}

/// What to do, where the error's own words end before it.
fn remedy(error: &OpenError) -> String {
    match error {
        OpenError::NoDatabase { database, .. } => format!("createdb --encoding=UTF8 --template=template0 {database}"),
        OpenError::NotAllowed { remedy, .. } => remedy.clone(),
        OpenError::Refused { remedy, .. } | OpenError::Tls { remedy, .. } | OpenError::NotReady { remedy, .. } => {
            (*remedy).to_owned()
        }
        OpenError::TooManyConnections { .. } => {
            "raise max_connections, or lower chat.postgres.pool_size; who has them: SELECT usename, application_name, \
             count(*) FROM pg_stat_activity GROUP BY 1, 2"
                .to_owned()
        }
        OpenError::ReadOnly { .. } => "name the primary server in the database's URL, or promote one".to_owned(),
        _ => "look whether the server runs, and at its log".to_owned(),
    }
}
