//! A private cluster: made, started, and whatever can happen to a database server.
//!
//! Not here: the process as such ([`crate::process`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::SUPERUSER;
use super::databases::{Database, Databases};
use super::options::PostgresOptions;
use super::shared;
use super::url::Url;
use crate::error::ServerError;
use crate::folder::Medium;
use crate::net::{accepts_login, check_socket_folder, on_free_port};
use crate::process::Server;
use crate::programs;

/// Makes a server follow another one, or wait for one to follow.
const STANDBY: &str = "standby.signal";

/// A PostgreSQL server with data of its own. Dropping it stops it at once and removes the data.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    programs: PathBuf,
    port: u16,
    databases: Databases,
}

impl Postgres {
    /// The server on which most tests make a database of their own: the one that the environment names
    /// ([`SHARED_URL`](super::SHARED_URL)), or a private one of this process.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not come up.
    pub fn shared() -> Result<&'static Databases, ServerError> {
        shared::get()
    }

    /// A plain cluster, running.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not come up.
    pub fn start() -> Result<Self, ServerError> {
        Self::start_with(&PostgresOptions::default())
    }

    /// A cluster as `options` want it, running.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not come up, as when it knows no setting of this name.
    pub fn start_with(options: &PostgresOptions) -> Result<Self, ServerError> {
        let programs = programs::postgres_folder()?;
        let medium = if options.is_durable { Medium::Disk } else { Medium::Memory };
        let server = Server::new("PostgreSQL", Signal::QUIT, medium)?;
        check_socket_folder(server.folder().path())?;
        initialise(&server, &programs, options)?;
        let port = on_free_port(|port| launch(&server, &programs, port).map(|()| port))?;
        let admin = Url::local(SUPERUSER, options.password.as_deref(), port, SUPERUSER);
        Ok(Self { server, programs, port, databases: Databases::new(admin) })
    }

    /// The database `postgres`, as the superuser, over TCP.
    pub fn admin_url(&self) -> String {
        self.databases.admin_url()
    }

    /// The database of this name, as the superuser, over TCP.
    pub fn url(&self, database: &str) -> String {
        self.databases.url(database)
    }

    /// The folder of its Unix socket, which a client gives as the host.
    pub fn socket_folder(&self) -> PathBuf {
        self.server.folder().path().to_owned()
    }

    /// Its port on 127.0.0.1. It stays the same as long as the value lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database with a name of its own.
    pub fn create_database(&self) -> Result<Database, ServerError> {
        self.databases.create_database()
    }

    /// The server as those see it who only make databases.
    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    /// The end of what it wrote to its log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Whether its process lives, paused or not.
    pub fn is_running(&self) -> Result<bool, ServerError> {
        self.server.is_running()
    }

    /// Stops it as an administrator does: transactions under way are taken back, clients are cut off, data is
    /// written.
    pub fn stop(&self) -> Result<(), ServerError> {
        self.server.stop(Signal::INT)
    }

    /// Asks it to stop once its clients have gone, and does not wait: until then it takes no new ones.
    pub fn begin_to_stop(&self) -> Result<(), ServerError> {
        self.server.tell(Signal::TERM)
    }

    /// A second server that follows this one as a hot standby, through its socket, until it is promoted
    /// (`SELECT pg_promote()`). This one must let its superuser in without a password.
    ///
    /// # Errors
    /// No copy can be made of this one, or the other does not come up.
    pub fn start_standby(&self) -> Result<Self, ServerError> {
        let server = Server::new("PostgreSQL", Signal::QUIT, Medium::Disk)?;
        check_socket_folder(server.folder().path())?;
        let folder = server.folder();
        let mut command = Command::new(self.programs.join("pg_basebackup"));
        command
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .arg("--host")
            .arg(self.socket_folder())
            .args(["--port", &self.port.to_string(), "--username", SUPERUSER, "--no-password"]);
        make_data(&server, command, "pg_basebackup")?;
        let port = on_free_port(|port| launch(&server, &self.programs, port).map(|()| port))?;
        let admin = Url::local(SUPERUSER, None, port, SUPERUSER);
        Ok(Self { server, programs: self.programs.clone(), port, databases: Databases::new(admin) })
    }

    /// Stops it without writing anything more; it recovers when it is started again.
    pub fn stop_immediately(&self) -> Result<(), ServerError> {
        self.server.stop(Signal::QUIT)
    }

    /// Kills all its processes at the same moment.
    pub fn kill_9(&self) -> Result<(), ServerError> {
        self.server.kill()
    }

    /// All its processes stand still: connections stay and are still taken, and nothing is answered.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// It goes on after a pause, with whatever was asked meanwhile.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }

    /// Stops it, if it runs, and starts it on the same port with the same data, for reading and writing.
    pub fn restart(&self) -> Result<(), ServerError> {
        self.stop()?;
        let signal = self.server.folder().path().join("data").join(STANDBY);
        if fs::exists(&signal).map_err(ServerError::path("look for", &signal))? {
            fs::remove_file(&signal).map_err(ServerError::path("remove", &signal))?;
        }
        launch(&self.server, &self.programs, self.port)
    }

    /// Stops it, if it runs, and starts it on the same port with the same data as a hot standby, which is read
    /// alone, until [`restart`](Self::restart).
    pub fn restart_as_standby(&self) -> Result<(), ServerError> {
        self.stop()?;
        self.server.folder().write(&format!("data/{STANDBY}"), "")?;
        launch(&self.server, &self.programs, self.port)
    }
}

/// Makes the data of the cluster.
fn initialise(server: &Server, programs: &Path, options: &PostgresOptions) -> Result<(), ServerError> {
    let folder = server.folder();
    let mut command = Command::new(programs.join("initdb"));
    command.arg("--pgdata").arg(folder.path().join("data")).args([
        "--username",
        SUPERUSER,
        "--no-sync",
        "--no-locale",
        "--encoding=UTF8",
    ]);
    match &options.password {
        Some(password) => {
            let file = folder.write("password", password)?;
            command.arg("--auth=scram-sha-256").arg("--pwfile").arg(file);
        }
        None => {
            command.arg("--auth=trust");
        }
    }
    make_data(server, command, "initdb")?;
    if let Some(tls) = &options.tls {
        folder.write("data/server.crt", &tls.certificate_pem)?;
        folder.write("data/server.key", &tls.key_pem)?;
    }
    // It is read after the file that initdb wrote.
    folder.write("data/postgresql.auto.conf", &options.lines())?;
    Ok(())
}

/// Runs a program that makes the data folder, as the server's user.
fn make_data(server: &Server, mut command: Command, doing: &str) -> Result<(), ServerError> {
    let folder = server.folder();
    command.current_dir(folder.path()).env("LC_ALL", "C");
    let output = folder
        .user()
        .run(&mut command)
        .output()
        .map_err(ServerError::path("start", command.get_program().as_ref()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServerError::Failed { doing: doing.to_owned(), said })
}

fn launch(server: &Server, programs: &Path, port: u16) -> Result<(), ServerError> {
    let folder = server.folder().path();
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-p", &port.to_string()]);
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    server.start(&mut command, || accepts_login(&socket, SUPERUSER, SUPERUSER))
}

#[test]
fn a_port_that_was_taken_is_noticed() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = other.local_addr().expect("it is bound").port();
    let postgres = Postgres::start().expect("PostgreSQL is installed");
    postgres.stop().expect("it is running");
    let error = launch(&postgres.server, &postgres.programs, port).expect_err("somebody listens there");
    assert!(error.is_taken_port() && error.to_string().contains("ended at its start"), "{error}");
}
