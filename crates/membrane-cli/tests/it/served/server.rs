//! A server process of the binary: how it is started, spoken to, signalled, killed and waited for.
//!
//! Not here: what is asked of it (`http`).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::Client;

/// How long anything may take that has to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    database: PathBuf,
    settings: Vec<(String, String)>,
}

/// A server. Dropping it kills it.
#[derive(Debug)]
pub(super) struct ServerProcess {
    process: Child,
    lines: Receiver<String>,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

/// How a server ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stderr: String,
}

impl Serving {
    /// A server on this file, on a port of the system's choice.
    pub(super) fn on(database: &Path) -> Self {
        Self { database: database.to_owned(), settings: Vec::new() }
    }

    /// The same with this setting.
    pub(super) fn with(self, key: &str, value: u64) -> Self {
        self.with_text(key, &value.to_string())
    }

    /// The same for a setting that is no number.
    pub(super) fn with_text(mut self, key: &str, value: &str) -> Self {
        let variable = format!("KGENTS_{}", key.replace('.', "_").to_ascii_uppercase());
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// The same with an echo that takes `delay_ms` for each 16 characters.
    pub(super) fn with_delay(self, delay_ms: u64) -> Self {
        self.with("chat.echo.delay_ms", delay_ms)
    }

    /// The binary with these arguments, on the file and with the settings of this.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_membrane"));
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.arg("--database-url").arg(&self.database).args(args).stdin(Stdio::null());
        command
    }

    /// Starts a server and does not wait for it.
    pub(super) fn spawn(&self) -> ServerProcess {
        ServerProcess::of(self.command(&["serve", "--addr", "127.0.0.1:0", "--json"]))
    }

    /// Starts a server and waits until it listens.
    #[track_caller]
    pub(super) fn start(&self) -> (ServerProcess, Client) {
        let mut server = self.spawn();
        let client = Client::of(server.addr());
        (server, client)
    }

    /// Runs `membrane check`, which must find nothing.
    #[track_caller]
    pub(super) fn must_be_sound(&self) {
        let ran = self.command(&["check"]).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "check found: {said}{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The lock files beside the database.
    pub(super) fn locks(&self) -> Vec<String> {
        let mut locks = self.files();
        locks.retain(|name| name.contains("-instance-"));
        locks
    }

    /// How many bytes the write-ahead log holds; 0 if it is gone.
    pub(super) fn log_bytes(&self) -> u64 {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        fs::metadata(log).map_or(0, |found| found.len())
    }

    /// The files beside the database, itself among them.
    fn files(&self) -> Vec<String> {
        let folder = self.database.parent().unwrap();
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

impl ServerProcess {
    /// Starts a command that serves.
    pub(super) fn of(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let said = Arc::<Mutex<String>>::default();
        let listener = collect(process.stderr.take().unwrap(), Arc::clone(&said));
        Self { process, lines, said, listener: Some(listener) }
    }

    /// The next line that it prints; `None` once it has ended.
    #[track_caller]
    pub(super) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("the server prints nothing: {error}; it logged: {}", self.stderr()),
        }
    }

    /// Where it listens, as soon as it does.
    #[track_caller]
    pub(super) fn addr(&mut self) -> SocketAddr {
        let Some(line) = self.line() else { panic!("the server ended: {:?}", self.wait()) };
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        said["listening"].as_str().and_then(|url| url.strip_prefix("http://")).unwrap().parse().unwrap()
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(super) fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &process]).status().unwrap();
        assert!(sent.success(), "{name} was not sent");
    }

    /// Kills it, which no process can catch, and waits until it is gone.
    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop, which it must do well.
    #[track_caller]
    pub(super) fn stop(self) {
        self.signal("TERM");
        let ended = self.wait_for_end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }

    /// How it ends, which it must do by itself.
    #[track_caller]
    pub(super) fn wait_for_end(mut self) -> Ended {
        self.wait()
    }

    #[track_caller]
    fn wait(&mut self) -> Ended {
        let process = &mut self.process;
        let mut status = None;
        let is_over = until(PATIENCE, || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        assert!(is_over, "the server does not end; it logged: {}", self.stderr());
        // Its end is heard when the pipe is empty.
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        Ended { status: status.unwrap(), stderr: self.stderr() }
    }

    /// What it has logged so far.
    pub(super) fn stderr(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// How much memory it uses, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Looks again and again until what must happen has happened; whether it did in time.
pub(super) fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn collect(pipe: impl Read + Send + 'static, said: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    })
}
