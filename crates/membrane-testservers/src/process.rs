//! A server as a process: started until it answers, paused, stopped, killed, started again.
//!
//! Not here: which server, and what an answer is.

use std::fs::{self, OpenOptions};
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{ServerError, TAKEN_PORT};
use crate::folder::{Folder, Medium};
use crate::guard::Guard;
use crate::table;

/// How long a server may take to come up, to end, or to stand still.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// How much of a log is shown.
const N_LOG_LINES: usize = 30;

/// A server that may be running. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    folder: Folder,
    /// Asks it to end at once, in such a way that it leaves nothing behind.
    end: Signal,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    guard: Guard,
    running: Option<Child>,
}

impl Server {
    /// A server with a folder, not started yet.
    pub(crate) fn new(name: &'static str, end: Signal, medium: Medium) -> Result<Self, ServerError> {
        let folder = Folder::make(&name.to_lowercase(), medium)?;
        let guard = Guard::start(folder.path(), end)?;
        Ok(Self { name, folder, end, state: Mutex::new(State { guard, running: None }) })
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts it and waits until it answers. `is_ready` asks once.
    ///
    /// # Errors
    /// It ended, or did not answer in time; then it does not run.
    pub(crate) fn start(
        &self,
        command: &mut Command,
        is_ready: impl Fn() -> io::Result<bool>,
    ) -> Result<(), ServerError> {
        let mut state = self.state();
        let log = self.folder.path().join("server.log");
        let open = OpenOptions::new().create(true).append(true).open(&log);
        let output = open.map_err(ServerError::path("open", &log))?;
        let log_start = output.metadata().map_err(ServerError::path("look at", &log))?.len();
        let errors = output.try_clone().map_err(ServerError::path("open", &log))?;
        command
            .env("LC_ALL", "C")
            .current_dir(self.folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let child = self
            .folder
            .user()
            .run(command)
            .spawn()
            .map_err(ServerError::path("start", command.get_program().as_ref()))?;
        let pid = pid(&child);
        state.running = Some(child);
        state.guard.tell(&pid.into_iter().collect::<Vec<_>>())?;

        let until = Instant::now() + PATIENCE;
        let why = loop {
            // An error is an answer, too: it does not listen yet.
            if matches!(is_ready(), Ok(true)) {
                // PgBouncer is content with its socket.
                if !self.log_since(log_start).contains(TAKEN_PORT) {
                    return Ok(());
                }
                self.finish(&mut state, Signal::KILL)?;
                break "could not listen on its port".to_owned();
            }
            if let Some(status) = self.ended(&mut state)? {
                break format!("ended at its start ({status})");
            }
            if Instant::now() > until {
                self.finish(&mut state, Signal::KILL)?;
                break format!("answered nobody for {} s", PATIENCE.as_secs());
            }
            thread::sleep(BETWEEN_LOOKS);
        };
        Err(ServerError::NotReady { server: self.name, why, log: self.log_since(log_start) })
    }

    /// Whether it runs, paused or not.
    pub(crate) fn is_running(&self) -> Result<bool, ServerError> {
        let mut state = self.state();
        self.ended(&mut state)?;
        Ok(state.running.is_some())
    }

    /// Ends it by the signal and waits until it has ended. Nothing is done if it does not run.
    pub(crate) fn stop(&self, signal: Signal) -> Result<(), ServerError> {
        self.finish(&mut self.state(), signal)
    }

    /// Sends it a signal and does not wait for what becomes of it.
    pub(crate) fn tell(&self, signal: Signal) -> Result<(), ServerError> {
        send(self.main(&mut self.state())?, signal)
    }

    /// Kills it and its children, all at the same moment, as a power cut would.
    pub(crate) fn kill(&self) -> Result<(), ServerError> {
        let mut state = self.state();
        let pids = self.freeze(&mut state)?;
        for pid in &pids {
            send(*pid, Signal::KILL)?;
        }
        self.wait(&mut state)?;
        self.until("end", || Ok(table::living(&pids)?.is_empty()))
    }

    /// Makes it and its children stand still: connections stay, and nobody answers.
    pub(crate) fn pause(&self) -> Result<(), ServerError> {
        self.freeze(&mut self.state()).map(|_| ())
    }

    /// Makes it go on after a pause.
    pub(crate) fn resume(&self) -> Result<(), ServerError> {
        let mut state = self.state();
        let main = self.main(&mut state)?;
        for row in table::family(main)? {
            send(row.pid, Signal::CONT)?;
        }
        state.guard.tell(&[main])
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.log_since(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process itself.
    fn main(&self, state: &mut State) -> Result<Pid, ServerError> {
        self.ended(state)?;
        state.running.as_ref().and_then(pid).ok_or(ServerError::Stopped { server: self.name })
    }

    /// Stops all its processes, itself first, so that it has no more children.
    fn freeze(&self, state: &mut State) -> Result<Vec<Pid>, ServerError> {
        let main = self.main(state)?;
        send(main, Signal::STOP)?;
        let mut pids = vec![main];
        self.until("stand still", || {
            let family = table::family(main)?;
            let moving: Vec<Pid> = family.iter().filter(|row| !row.is_stopped()).map(|row| row.pid).collect();
            for pid in &moving {
                send(*pid, Signal::STOP)?;
            }
            pids.truncate(1);
            pids.extend(family.iter().map(|row| row.pid).filter(|pid| *pid != main));
            Ok(moving.is_empty())
        })?;
        state.guard.tell(&pids)?;
        Ok(pids)
    }

    fn finish(&self, state: &mut State, signal: Signal) -> Result<(), ServerError> {
        let Ok(main) = self.main(state) else { return Ok(()) };
        for row in table::family(main)? {
            send(row.pid, Signal::CONT)?;
        }
        send(main, signal)?;
        self.wait(state)
    }

    /// Waits for the end that it was told of.
    fn wait(&self, state: &mut State) -> Result<(), ServerError> {
        self.until("end", || Ok(self.ended(state)?.is_some() || state.running.is_none()))
    }

    fn until(
        &self,
        what: &'static str,
        mut is_so: impl FnMut() -> Result<bool, ServerError>,
    ) -> Result<(), ServerError> {
        let until = Instant::now() + PATIENCE;
        while !is_so()? {
            if Instant::now() > until {
                return Err(ServerError::Stubborn { server: self.name, what, seconds: PATIENCE.as_secs() });
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }

    /// How it ended, if it did since the last look.
    fn ended(&self, state: &mut State) -> Result<Option<ExitStatus>, ServerError> {
        let Some(child) = &mut state.running else { return Ok(None) };
        let status = child.try_wait().map_err(ServerError::io(format!("look after {}", self.name)))?;
        if status.is_some() {
            state.running = None;
            // From here on its number may be anybody's.
            state.guard.tell(&[])?;
        }
        Ok(status)
    }

    fn log_since(&self, start: u64) -> String {
        let bytes = match fs::read(self.folder.path().join("server.log")) {
            Ok(bytes) => bytes,
            Err(error) => return format!("(it cannot be read: {error})"),
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let text = String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(N_LOG_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What cannot be ended here is ended by the guard, which is dropped next.
        let _ = self.finish(&mut self.state(), self.end);
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Sends a signal; a process that has ended meanwhile needs none.
fn send(pid: Pid, signal: Signal) -> Result<(), ServerError> {
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(ServerError::io("send a signal to a server")(error.into())),
    }
}
