//! PgBouncer, before any PostgreSQL: a few server connections for many clients.
//!
//! Not here: the server behind it.

use std::process::Command;

use rustix::process::Signal;

use crate::error::ServerError;
use crate::folder::Medium;
use crate::net::{accepts_login, check_socket_folder, on_free_port};
use crate::postgres::url::Url;
use crate::process::Server;
use crate::programs;

/// The database of the pooler itself, which is there even if no server is.
const OWN_DATABASE: &str = "pgbouncer";

/// How long a client keeps its connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// As long as the client is connected.
    Session,
    /// Until its transaction ends.
    Transaction,
    /// Until its statement ends.
    Statement,
}

/// A running PgBouncer that passes all databases of one server on. Dropping it stops it.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
    port: u16,
    login: Url,
}

impl PgBouncer {
    /// Starts one before the server of `postgres_url`, whose user and password it takes for itself and asks of its
    /// clients. The server need not be there yet.
    ///
    /// # Errors
    /// PgBouncer is not installed, or does not come up.
    pub fn start(postgres_url: &str, mode: PoolMode) -> Result<Self, ServerError> {
        let behind = Url::parse("the URL for PgBouncer", postgres_url)?;
        let server = prepare(&behind)?;
        let port = on_free_port(|port| launch(&server, &behind, mode, port).map(|()| port))?;
        let login = Url::local(&behind.user, behind.password.as_deref(), port, &behind.database);
        Ok(Self { server, port, login })
    }

    /// The database of this name, through the pooler.
    pub fn url(&self, database: &str) -> String {
        self.login.with_database(database).text()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The end of what it wrote to its log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// It stands still: connections stay and are still taken, and nothing is answered.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// It goes on after a pause.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }

    /// Ends it; all clients are cut off.
    pub fn stop(&self) -> Result<(), ServerError> {
        self.server.stop(Signal::KILL)
    }
}

impl PoolMode {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// A folder with whom it lets in.
fn prepare(behind: &Url) -> Result<Server, ServerError> {
    let server = Server::new("PgBouncer", Signal::KILL, Medium::Disk)?;
    check_socket_folder(server.folder().path())?;
    let quote = |text: &str| text.replace('"', "\"\"");
    let password = behind.password.as_deref().unwrap_or_default();
    server.folder().write("users.txt", &format!("\"{}\" \"{}\"\n", quote(&behind.user), quote(password)))?;
    Ok(server)
}

fn launch(server: &Server, behind: &Url, mode: PoolMode, port: u16) -> Result<(), ServerError> {
    let mut command = Command::new(programs::pgbouncer()?);
    let folder = server.folder();
    command.arg(folder.write("pgbouncer.ini", &settings(behind, server, mode, port))?);
    let socket = folder.path().join(format!(".s.PGSQL.{port}"));
    server.start(&mut command, || accepts_login(&socket, &behind.user, OWN_DATABASE))
}

fn settings(behind: &Url, server: &Server, mode: PoolMode, port: u16) -> String {
    let folder = server.folder().path().display();
    let quote = |text: &str| text.replace('\'', "''");
    // A server that trusts everybody has no password that clients could be asked for.
    let authentication = if behind.password.is_some() { "scram-sha-256" } else { "trust" };
    format!(
        "[databases]\n\
         * = host='{host}' port={server_port}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir = {folder}\n\
         auth_type = {authentication}\n\
         auth_file = {folder}/users.txt\n\
         admin_users = {user}\n\
         pool_mode = {mode}\n\
         max_client_conn = 1000\n\
         default_pool_size = 20\n\
         ignore_startup_parameters = extra_float_digits,options\n",
        host = quote(&behind.host),
        server_port = behind.port,
        user = behind.user,
        mode = mode.name(),
    )
}

#[test]
fn a_port_that_was_taken_is_noticed_though_the_socket_works() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = other.local_addr().expect("it is bound").port();
    let behind = Url::local("me", None, 1, "db");
    let server = prepare(&behind).expect("a folder can be made");
    let error = launch(&server, &behind, PoolMode::Session, port).expect_err("somebody listens there");
    assert!(error.is_taken_port() && error.to_string().contains("could not listen"), "{error}");
    assert!(!server.is_running().expect("it is ours"));
}
