//! What this store last knew of the sessions that it wrote to.
//!
//! Only ever a condition of a statement, never an answer: what is stale does no harm.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use membrane_core::ids::SessionId;

use crate::apply::Record;

/// Records of as many sessions as were written to last.
#[derive(Debug)]
pub(crate) struct Records {
    generations: Mutex<Generations>,
    /// How many a generation holds: half of all.
    capacity: usize,
}

/// When the young are too many, they become the old, and the old go. Who is looked up becomes young again.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<SessionId, Record>,
    old: HashMap<SessionId, Record>,
}

impl Records {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { generations: Mutex::default(), capacity: (capacity / 2).max(1) }
    }

    /// Takes a session's record out: whoever writes to it next puts the new one in.
    pub(crate) fn take(&self, id: &SessionId) -> Option<Record> {
        let mut generations = self.lock();
        let young = generations.young.remove(id);
        let old = generations.old.remove(id);
        young.or(old)
    }

    /// What a session is from now on.
    pub(crate) fn put(&self, record: Record) {
        let mut generations = self.lock();
        if generations.young.len() >= self.capacity {
            generations.old = mem::take(&mut generations.young);
        }
        generations.old.remove(&record.id);
        generations.young.insert(record.id.clone(), record);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
