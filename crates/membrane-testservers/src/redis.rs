//! Redis or Valkey: a cache without a disk.
//!
//! Not here: what is cached.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::error::ServerError;
use crate::folder::Medium;
use crate::net::{check_socket_folder, on_free_port};
use crate::postgres::url::encoded;
use crate::process::Server;
use crate::programs;
use crate::resp::{PATIENCE, ask};

/// How a cache is set up. The plain one asks for no password and has no limit.
#[derive(Clone, Default)]
pub struct RedisOptions {
    password: Option<String>,
    max_memory: Option<u64>,
}

impl RedisOptions {
    /// Clients must know this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// It keeps at most so many bytes and forgets what was not used for longest.
    #[must_use]
    pub fn max_memory(mut self, n_bytes: u64) -> Self {
        self.max_memory = Some(n_bytes);
        self
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("has_password", &self.password.is_some())
            .field("max_memory", &self.max_memory)
            .finish()
    }
}

/// A running cache, empty at each start. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    program: PathBuf,
    port: u16,
    options: RedisOptions,
}

impl Redis {
    /// A plain cache.
    ///
    /// # Errors
    /// Neither Redis nor Valkey is installed, or it does not come up.
    pub fn start() -> Result<Self, ServerError> {
        Self::start_with(&RedisOptions::default())
    }

    /// A cache as `options` want it.
    ///
    /// # Errors
    /// Neither Redis nor Valkey is installed, or it does not come up.
    pub fn start_with(options: &RedisOptions) -> Result<Self, ServerError> {
        let program = programs::redis()?;
        let server = Server::new("Redis", Signal::KILL, Medium::Disk)?;
        check_socket_folder(server.folder().path())?;
        let mut this = Self { server, program, port: 0, options: options.clone() };
        this.port = on_free_port(|port| this.launch(port).map(|()| port))?;
        Ok(this)
    }

    /// Where a client finds it.
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => format!("redis://:{}@127.0.0.1:{}", encoded(password), self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Its port on 127.0.0.1. It stays the same as long as the value lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The end of what it wrote to its log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Sends one command and returns its answer: a status, a number or a text, which is empty if there is none.
    ///
    /// # Errors
    /// It does not answer, or with an error or in several parts.
    pub fn command(&self, words: &[&str]) -> Result<String, ServerError> {
        let doing = || ServerError::io(format!("have {} from Redis", words.first().unwrap_or(&"nothing")));
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(doing())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(doing())?;
        let login = ["AUTH", self.options.password.as_deref().unwrap_or_default()];
        let commands: &[&[&str]] = if self.options.password.is_some() { &[&login, words] } else { &[words] };
        ask(stream, commands).map_err(doing())
    }

    /// Removes everything that is in it.
    pub fn flush_all(&self) -> Result<(), ServerError> {
        self.command(&["FLUSHALL"]).map(|_| ())
    }

    /// It stands still: connections stay and are still taken, and nothing is answered.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// It goes on after a pause, with whatever was asked meanwhile.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }

    /// Ends it; all clients are cut off, and what was in it is gone.
    pub fn stop(&self) -> Result<(), ServerError> {
        self.server.stop(Signal::KILL)
    }

    /// Stops it, if it runs, and starts it on the same port, empty.
    pub fn restart(&self) -> Result<(), ServerError> {
        self.stop()?;
        self.launch(self.port)
    }

    fn launch(&self, port: u16) -> Result<(), ServerError> {
        let folder = self.server.folder().path();
        let socket = folder.join("redis.sock");
        let mut lines = format!(
            "bind 127.0.0.1\nport {port}\nunixsocket {}\ndir {}\nsave \"\"\nappendonly no\ndaemonize no\n",
            socket.display(),
            folder.display(),
        );
        if let Some(password) = &self.options.password {
            let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
            lines = lines + "requirepass \"" + &quoted + "\"\n";
        }
        if let Some(n_bytes) = self.options.max_memory {
            lines = lines + "maxmemory " + &n_bytes.to_string() + "\nmaxmemory-policy allkeys-lru\n";
        }
        // In a file and not among the arguments, which everybody can read.
        let settings = self.server.folder().write("redis.conf", &lines)?;
        self.server.start(Command::new(&self.program).arg(settings), || {
            let stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(is_ready(ask(stream, &[&["PING"]])))
        })
    }
}

/// Whether this answer to a `PING` comes from one that is ready, if only for those who know the password.
fn is_ready(answer: io::Result<String>) -> bool {
    match answer {
        Ok(answer) => answer == "PONG",
        Err(error) => error.to_string().starts_with("NOAUTH"),
    }
}

#[test]
fn a_port_that_was_taken_is_noticed() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = other.local_addr().expect("it is bound").port();
    let redis = Redis::start().expect("Redis or Valkey is installed");
    redis.stop().expect("it is running");
    let error = redis.launch(port).expect_err("somebody listens there");
    assert!(error.is_taken_port() && error.to_string().contains("ended at its start"), "{error}");
}
