//! Where the clients of a campaign and the one who kills the server meet.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use super::super::http::Client;
use super::super::server::PATIENCE;
use super::shared::Shared;

/// What all of them see.
#[derive(Debug)]
pub(super) struct Stage {
    place: Mutex<Place>,
    moved: Condvar,
    is_over: AtomicBool,
    /// Numbers that make messages and names unlike all others.
    n_names: AtomicU64,
    pub(super) n_acknowledged: AtomicUsize,
    /// Sessions that were made, and that may have been made.
    pub(super) n_made: AtomicUsize,
    pub(super) n_maybe_made: AtomicUsize,
    pub(super) shared: Vec<Shared>,
}

#[derive(Debug)]
struct Place {
    /// Which server it is; they are counted.
    number: u64,
    /// Nobody while it is dead.
    client: Option<Client>,
    /// How many events were heard from all servers.
    n_heard: u64,
}

impl Stage {
    pub(super) fn new(client: Client, shared: Vec<Shared>) -> Self {
        Self {
            place: Mutex::new(Place { number: 0, client: Some(client), n_heard: 0 }),
            moved: Condvar::new(),
            is_over: AtomicBool::new(false),
            n_names: AtomicU64::new(0),
            n_acknowledged: AtomicUsize::new(0),
            n_made: AtomicUsize::new(shared.len()),
            n_maybe_made: AtomicUsize::new(0),
            shared,
        }
    }

    /// The server of this number or a later one, as soon as it is there; nothing once all is over, or when no
    /// server comes.
    pub(super) fn server(&self, at_least: u64) -> Option<(u64, Client)> {
        let mut place = self.place.lock().unwrap();
        loop {
            match place.client {
                _ if self.is_over() => return None,
                Some(client) if place.number >= at_least => return Some((place.number, client)),
                _ => {
                    let (next, waited) = self.moved.wait_timeout(place, PATIENCE).unwrap();
                    place = next;
                    if waited.timed_out() {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the server of this number still counts as alive.
    pub(super) fn is_alive(&self, number: u64) -> bool {
        self.place.lock().unwrap().number == number
    }

    /// To be called before the server is killed.
    pub(super) fn kills(&self) {
        let mut place = self.place.lock().unwrap();
        place.number += 1;
        place.client = None;
    }

    /// The next server is there.
    pub(super) fn serves(&self, client: Client) {
        self.place.lock().unwrap().client = Some(client);
        self.moved.notify_all();
    }

    /// Notes an event of an answer.
    pub(super) fn hear(&self) {
        self.place.lock().unwrap().n_heard += 1;
        self.moved.notify_all();
    }

    /// Waits until this many more events were heard.
    pub(super) fn wait_for_events(&self, n_events: u64) {
        let mut place = self.place.lock().unwrap();
        let goal = place.n_heard + n_events;
        while place.n_heard < goal {
            let (next, waited) = self.moved.wait_timeout(place, PATIENCE).unwrap();
            place = next;
            assert!(!waited.timed_out(), "the clients hear nothing");
        }
    }

    /// Lets the clients finish what they are at.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.moved.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// A number that nobody else gets.
    pub(super) fn name(&self) -> u64 {
        self.n_names.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self) {
        self.n_acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}
