//! The readers: a few threads, each with a read-only connection, and a bounded queue before them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use membrane_store::StoreError;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::connection::open_reader;
use crate::error::{Doing, OpenError, crowded};
use crate::options::SqliteOptions;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The pool. Dropping it lets the threads end.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Gone once the pool is closed.
    jobs: Mutex<Option<Sender<Job>>>,
    /// One permit per place in the queue, so that waiting for a place blocks no thread.
    places: Arc<Semaphore>,
    patience: Duration,
    /// Tells when the last thread has let go of its connection.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(crate) fn start(options: &SqliteOptions) -> Result<Self, OpenError> {
        let (jobs, inbox) = unbounded();
        let (alive, ended) = mpsc::channel(1);
        for number in 0..options.readers.max(1) {
            let conn = open_reader(options)?;
            let (inbox, alive) = (inbox.clone(), alive.clone());
            std::thread::Builder::new()
                .name(format!("membrane-reader-{number}"))
                .spawn(move || serve(conn, &inbox, alive))
                .map_err(OpenError::Thread)?;
        }
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
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
        let job: Job = Box::new(move |conn| {
            // A caller that went away needs no answer, and costs no reading if it went before its turn came.
            if !reply.is_closed() {
                let _ = reply.send(in_snapshot(conn, read));
            }
            // Held until now, so that calls that were given up count as long as they wait.
            drop(place);
        });
        let jobs = self.jobs().clone().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)?;
        drop(jobs);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Refuses further reads, lets those that wait finish, and returns when the connections are closed.
    pub(crate) async fn close(&self) {
        self.places.close();
        self.jobs().take();
        // Nothing is ever sent: this ends when every thread has dropped its end.
        self.ended.lock().await.recv().await;
    }

    /// The lock is held for a move or a clone, never across a wait; a poisoned one is as good.
    fn jobs(&self) -> MutexGuard<'_, Option<Sender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(conn: Connection, inbox: &Receiver<Job>, alive: mpsc::Sender<()>) {
    for job in inbox {
        job(&conn);
    }
    drop(conn);
    drop(alive);
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
