//! The server as its test sees it: what it is to answer, what it was asked, and who hung up.
//!
//! Not here: a connection's course ([`super::connection`]).

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::connection;
use super::http::Request;
use crate::error::ServerError;

/// The server's name in errors.
const NAME: &str = "the model server";
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the connections' threads are waited for when the server goes.
const FAREWELL: Duration = Duration::from_secs(5);
/// A thousand of them are not to fill the memory.
const STACK_BYTES: usize = 256 << 10;
/// No more requests than these are remembered; the oldest go first.
const MAX_REQUESTS: usize = 20_000;

/// How a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelOptions {
    /// The port of 127.0.0.1; 0 for a free one.
    pub port: u16,
    /// How long it pauses before each word of an answer that nobody wrote.
    pub pace: Duration,
}

/// A model server on 127.0.0.1. It is gone, with all connections, when it is dropped.
#[derive(Debug)]
pub struct ModelServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    answers: VecDeque<Answer>,
    requests: VecDeque<Request>,
    n_requests: usize,
    n_hung_up: usize,
    /// How many pauses may still end; all of them, once it is released for good.
    n_released: usize,
    is_released: bool,
    pub(super) is_stopping: bool,
    sockets: HashMap<u64, Arc<TcpStream>>,
}

/// What the connections share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) pace: Duration,
}

impl ModelServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// [`ServerError::Io`] if there is no port or no thread.
    pub fn start() -> Result<Self, ServerError> {
        Self::start_with(ModelOptions::default())
    }

    /// Starts one.
    ///
    /// # Errors
    /// [`ServerError::Io`] if the port is taken or there is no thread.
    pub fn start_with(options: ModelOptions) -> Result<Self, ServerError> {
        let failed = || ServerError::io(format!("listen on port {} of 127.0.0.1", options.port));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), pace: options.pace });
        let acceptor = thread::Builder::new()
            .name("model".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&listener, &shared)
            })
            .map_err(ServerError::io("start a thread"))?;
        Ok(Self { shared, address, acceptor: Some(acceptor) })
    }

    /// Where it is, such as `http://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it answers after all that was queued before.
    pub fn then(&self, answer: Answer) {
        self.shared.lock().answers.push_back(answer);
    }

    /// Lets one pause go on, now or when it comes.
    pub fn release(&self) {
        self.shared.change(|state| state.n_released += 1);
    }

    /// Lets all pauses go on, now and later.
    pub fn release_all(&self) {
        self.shared.change(|state| state.is_released = true);
    }

    /// What it was asked, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.iter().cloned().collect()
    }

    /// How often it was asked.
    pub fn n_requests(&self) -> usize {
        self.shared.lock().n_requests
    }

    /// How many clients hung up while it was answering.
    pub fn n_hung_up(&self) -> usize {
        self.shared.lock().n_hung_up
    }

    /// Waits until it was asked so many times in all.
    ///
    /// # Errors
    /// [`ServerError::Stubborn`] if that takes longer than 20 s.
    pub fn wait_for_requests(&self, n_requests: usize) -> Result<(), ServerError> {
        self.wait("get the expected requests", |state| state.n_requests >= n_requests)
    }

    /// Waits until so many clients in all hung up while it was answering.
    ///
    /// # Errors
    /// [`ServerError::Stubborn`] if that takes longer than 20 s.
    pub fn wait_for_hung_up(&self, n_clients: usize) -> Result<(), ServerError> {
        self.wait("see the expected clients hang up", |state| state.n_hung_up >= n_clients)
    }

    fn wait(&self, what: &'static str, is_so: impl Fn(&State) -> bool) -> Result<(), ServerError> {
        if self.shared.wait_until(PATIENCE, is_so) {
            return Ok(());
        }
        Err(ServerError::Stubborn { server: NAME, what, seconds: PATIENCE.as_secs() })
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_stopping = true;
            for socket in state.sockets.values() {
                // It fails only if the client was faster.
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
        // The acceptor looks whether it is to stop when somebody comes.
        let woken = TcpStream::connect_timeout(&self.address, FAREWELL).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            // Its panic would have been seen by whoever was waiting for an answer.
            let _ = acceptor.join();
        }
        self.shared.wait_until(FAREWELL, |state| state.sockets.is_empty());
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Whether it came to be so in time.
    fn wait_until(&self, patience: Duration, is_so: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while !is_so(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Notes what was asked, and gives what was queued for it.
    pub(super) fn take_answer(&self, request: Request) -> Option<Answer> {
        let mut answer = None;
        self.change(|state| {
            state.n_requests += 1;
            state.requests.push_back(request);
            if state.requests.len() > MAX_REQUESTS {
                state.requests.pop_front();
            }
            answer = state.answers.pop_front();
        });
        answer
    }

    /// Takes leave to end one pause.
    pub(super) fn take_release(&self) -> bool {
        let mut state = self.lock();
        if state.is_released {
            return true;
        }
        let is_released = state.n_released > 0;
        state.n_released = state.n_released.saturating_sub(1);
        is_released
    }

    pub(super) fn note_hung_up(&self) {
        self.change(|state| state.n_hung_up += usize::from(!state.is_stopping));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((stream, _)) = listener.accept() else {
            // Too many open files, say: some of them will be closed.
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        // Shared and not cloned, so that a connection takes one file descriptor.
        let stream = Arc::new(stream);
        {
            let mut state = shared.lock();
            if state.is_stopping {
                return;
            }
            state.sockets.insert(number, Arc::clone(&stream));
        }
        let spawned = thread::Builder::new().name("model".to_owned()).stack_size(STACK_BYTES).spawn({
            let shared = Arc::clone(shared);
            move || {
                connection::serve(&shared, &stream);
                shared.forget(number);
            }
        });
        if spawned.is_err() {
            shared.forget(number);
        }
    }
}

impl Shared {
    fn forget(&self, number: u64) {
        self.change(|state| {
            if let Some(socket) = state.sockets.remove(&number) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
    }
}
