//! The readers: a few threads, each with a read-only connection, and a bounded queue before them; and one more
//! connection for short reads, which a caller does on its own thread if nobody else is at it.
//!
//! Being handed to another thread and woken up again, with the result in the other processor's cache, costs as
//! much as loading some hundreds of turns.
//!
//! Of the threads that are idle, the one that read last reads next: its pages and its memory are still warm, and
//! the caches of the others stay empty until they are needed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use membrane_store::StoreError;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::connection::open_reader;
use crate::error::{Doing, OpenError, crowded};
use crate::options::SqliteOptions;
use crate::pace::Pace;

/// The longest short read, on the average of the last few, that may run on a caller's thread.
const MAX_ON_THE_SPOT: Duration = Duration::from_millis(3);

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The pool. Dropping it lets the threads end.
#[derive(Debug)]
pub(crate) struct Readers {
    desk: Arc<Desk>,
    /// One permit per place in the queue, so that waiting for a place blocks no thread.
    places: Arc<Semaphore>,
    patience: Duration,
    /// For reading on the spot; gone once the pool is closed.
    spot: Mutex<Option<Connection>>,
    /// How long a short read takes.
    pace: Arc<Pace>,
    /// Tells when the last thread has let go of its connection.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// Where jobs and threads meet.
#[derive(Default)]
struct Desk(Mutex<Meeting>);

#[derive(Default)]
struct Meeting {
    /// Jobs that no thread was idle for, in order.
    jobs: VecDeque<Job>,
    /// The idle threads, the one that read last at the end.
    idle: Vec<Arc<Seat>>,
    is_closed: bool,
}

/// Where one thread waits.
#[derive(Default)]
struct Seat {
    call: Mutex<Option<Call>>,
    called: Condvar,
}

/// What an idle thread is told.
enum Call {
    Read(Job),
    Leave,
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(crate) fn start(options: &SqliteOptions) -> Result<Self, OpenError> {
        let desk = Arc::new(Desk::default());
        let (alive, ended) = mpsc::channel(1);
        for number in 0..options.readers.max(1) {
            let conn = open_reader(options)?;
            let (desk, alive) = (Arc::clone(&desk), alive.clone());
            std::thread::Builder::new()
                .name(format!("membrane-reader-{number}"))
                .spawn(move || {
                    desk.serve(&conn);
                    drop(conn);
                    drop(alive);
                })
                .map_err(OpenError::Thread)?;
        }
        // It waits for nobody: the pool does.
        let spot = open_reader(&SqliteOptions { busy_timeout: Duration::ZERO, ..options.clone() })?;
        Ok(Self {
            spot: Mutex::new(Some(spot)),
            pace: Arc::default(),
            desk,
            places: Arc::new(Semaphore::new(options.queue_len.max(1))),
            patience: options.busy_timeout,
            ended: tokio::sync::Mutex::new(ended),
        })
    }

    /// Runs `read` on one of the connections, in one snapshot.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.places.clone().acquire_owned();
        let place = match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => return Err(crowded()),
        };
        let (reply, answer) = oneshot::channel();
        self.desk.submit(Box::new(move |conn| {
            // A caller that went away needs no answer, and costs no reading if it went before its turn came.
            if !reply.is_closed() {
                let _ = reply.send(in_snapshot(conn, read));
            }
            // Held until now, so that calls that were given up count as long as they wait.
            drop(place);
        }));
        // A job that found the pool closed was dropped, and its reply with it.
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs a read that is expected to be short: on the spot, if nobody else is at it and such reads are short of
    /// late; else as [`Self::read`] does.
    pub(crate) async fn read_short<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if let Some(result) = self.read_on_the_spot(&read) {
            return result;
        }
        let pace = Arc::clone(&self.pace);
        self.read(move |conn| timed(&pace, || read(conn))).await
    }

    /// `None` if it must be done in the other way.
    pub(crate) fn read_on_the_spot<T>(
        &self,
        read: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        if !self.pace.is_within(MAX_ON_THE_SPOT) {
            return None;
        }
        // Whoever panicked with it may have left a snapshot open; the pool serves then.
        let spot = self.spot.try_lock().ok()?;
        let conn = spot.as_ref()?;
        match timed(&self.pace, || in_snapshot(conn, read)) {
            Err(StoreError::Unavailable { .. }) => None,
            result => Some(result),
        }
    }

    /// Refuses further reads, lets those that wait finish, and returns when the connections are closed.
    pub(crate) async fn close(&self) {
        self.places.close();
        self.desk.close();
        *self.spot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Nothing is ever sent: this ends when every thread has dropped its end.
        self.ended.lock().await.recv().await;
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl Desk {
    fn submit(&self, job: Job) {
        let mut meeting = self.meeting();
        if meeting.is_closed {
            return;
        }
        match meeting.idle.pop() {
            Some(seat) => {
                drop(meeting);
                seat.call(Call::Read(job));
            }
            None => meeting.jobs.push_back(job),
        }
    }

    /// Lets the threads leave once nothing waits.
    fn close(&self) {
        let mut meeting = self.meeting();
        meeting.is_closed = true;
        let idle = std::mem::take(&mut meeting.idle);
        drop(meeting);
        for seat in idle {
            seat.call(Call::Leave);
        }
    }

    /// Runs jobs until the pool is closed.
    fn serve(&self, conn: &Connection) {
        let seat = Arc::new(Seat::default());
        loop {
            let mut meeting = self.meeting();
            if let Some(job) = meeting.jobs.pop_front() {
                drop(meeting);
                job(conn);
                continue;
            }
            if meeting.is_closed {
                return;
            }
            meeting.idle.push(Arc::clone(&seat));
            drop(meeting);
            match seat.wait() {
                Call::Read(job) => job(conn),
                Call::Leave => return,
            }
        }
    }

    /// The lock is held for a move, never across a read; a poisoned one is as good.
    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn call(&self, call: Call) {
        *self.slot() = Some(call);
        self.called.notify_one();
    }

    fn wait(&self) -> Call {
        let mut slot = self.slot();
        loop {
            if let Some(call) = slot.take() {
                return call;
            }
            slot = self.called.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Call>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let meeting = self.meeting();
        f.debug_struct("Desk")
            .field("jobs", &meeting.jobs.len())
            .field("idle", &meeting.idle.len())
            .field("is_closed", &meeting.is_closed)
            .finish()
    }
}

fn timed<T>(pace: &Pace, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    pace.note(start.elapsed());
    result
}

fn in_snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let execute = |sql: &str| {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute([])).doing("read a snapshot")
    };
    execute("BEGIN")?;
    let result = read(conn);
    let ended = execute("COMMIT");
    let value = result?;
    ended?;
    Ok(value)
}
