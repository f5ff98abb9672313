//! The store's handle: one lock around the tables, never held across an await.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::event::EventSeq;
use membrane_core::history::{Cut, History, Span, TurnMark, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, IdSource, InstanceId, RandomIds, RunId, SessionId};
use membrane_core::page::{PageRequest, SessionFilter, SessionPage};
use membrane_core::role::Role;
use membrane_core::run::{EndedRun, Piece, Run};
use membrane_core::session::Session;
use membrane_core::time::Clock;
use membrane_core::turn::KeptTurn;

use super::apply;
use super::events::EventLog;
use super::state::State;
use crate::events::{EventBell, EventBounds, EventPage};
use crate::{
    Change, LocatedThread, LocatedTurns, OldRow, Receipt, Store, StoreError, StoreGauges, StoreStats,
    StoredTurn, Thread,
};

/// A keep that lives and dies with this value. Share it through an `Arc`.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    /// `None` once closed. A std mutex: no method awaits while it holds it, and each holds it briefly.
    state: Mutex<Option<State>>,
    bell: EventBell,
    /// Drawn here: nobody passes it on, and no two keeps may go by one.
    name: String,
}

impl MemoryStore {
    /// An empty keep. `clock` judges whether leases have expired; and its time now is where events begin to be
    /// numbered, above those of keeps that were made before.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let events = EventLog::starting_at(EventSeq::base(clock.now()));
        let state = State { events, ..State::default() };
        let name = format!("memory-{:032x}", RandomIds.next_bits());
        Self { clock, state: Mutex::new(Some(state)), bell: EventBell::default(), name }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // Somebody panicked in the middle of a change: what it did is taken back, and life goes on.
            let mut guard = PoisonError::into_inner(poisoned);
            if let Some(state) = guard.as_mut() {
                state.take_back();
            }
            self.state.clear_poison();
            guard
        })
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.lock().as_ref().ok_or(StoreError::Closed).and_then(read)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people said does not belong in a log.
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError> {
        let mut guard = self.lock();
        let state = guard.as_mut().ok_or(StoreError::Closed)?;
        // Read under the lock, so that of two changes the later one never sees the earlier time.
        let lease_clock = self.clock.now();
        let outcome = apply::apply(state, lease_clock, change);
        match outcome {
            Ok(_) => {
                state.keep();
                self.bell.ring(state.events.bounds().newest);
            }
            Err(_) => state.take_back(),
        }
        outcome
    }

    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.read(|state| state.find_session(id))
    }

    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError> {
        self.read(|state| {
            let Some(session) = state.find_session(id)? else { return Ok(None) };
            let turns = state.load_turns(session.cut, range);
            Ok(Some(Thread { session, turns }))
        })
    }

    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
        self.read(|state| Ok(state.load_turns(cut, range)))
    }

    async fn locate_thread(
        &self,
        id: &SessionId,
        range: Range<u64>,
    ) -> Result<Option<LocatedThread>, StoreError> {
        self.read(|state| {
            let Some(session) = state.find_session(id)? else { return Ok(None) };
            let turns = state.locate_turns(session.cut, range);
            Ok(Some(LocatedThread { session, turns }))
        })
    }

    async fn locate_turns(&self, cut: Cut, range: Range<u64>) -> Result<LocatedTurns, StoreError> {
        self.read(|state| Ok(state.locate_turns(cut, range)))
    }

    async fn load_spans(&self, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
        self.read(|state| Ok(state.load_spans(spans)))
    }

    async fn keep_name(&self) -> Result<String, StoreError> {
        self.read(|_| Ok(self.name.clone()))
    }

    async fn find_history(&self, id: HistoryId) -> Result<Option<History>, StoreError> {
        self.read(|state| Ok(state.histories.get(&id).map(|history| History::clone(history))))
    }

    async fn list_marks(&self, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
        self.read(|state| Ok(state.list_marks(cut)))
    }

    async fn find_marks(&self, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
        self.read(|state| Ok(turns.iter().filter_map(|at| state.mark(*at)).collect()))
    }

    async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError> {
        self.read(|state| state.list_sessions(filter, page))
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, StoreError> {
        self.read(|state| Ok(state.count_sessions(filter)))
    }

    async fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
        self.read(|state| state.list_family(family))
    }

    async fn list_checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        self.read(|state| Ok(state.checkpoints(session).rev().cloned().collect()))
    }

    async fn find_checkpoint(
        &self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.read(|state| Ok(state.checkpoint(session, id).cloned()))
    }

    async fn find_crystal(&self, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
        self.read(|state| Ok(state.crystals.get(session).cloned()))
    }

    async fn list_old_rows(
        &self,
        session: Option<&SessionId>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<OldRow>, StoreError> {
        self.read(|state| Ok(state.list_old_rows(session, offset, limit)))
    }

    async fn find_run(&self, session: &SessionId) -> Result<Option<Run>, StoreError> {
        self.read(|state| Ok(state.runs.get(session).map(|row| row.run.clone())))
    }

    async fn list_pieces(&self, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
        self.read(|state| Ok(state.list_pieces(run, from)))
    }

    async fn list_stale_runs(&self, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
        let lease_clock = self.clock.now();
        self.read(|state| Ok(state.list_stale_runs(lease_clock, owners, limit)))
    }

    async fn list_stop_requests(&self, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
        self.read(|state| Ok(state.list_stop_requests(owner)))
    }

    async fn find_ended_run(&self, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
        self.read(|state| Ok(state.ended_runs.get(session).cloned()))
    }

    async fn list_lease_owners(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.read(|state| Ok(state.list_lease_owners()))
    }

    async fn hold_instance(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let mut guard = self.lock();
        guard.as_mut().ok_or(StoreError::Closed)?.held.insert(instance.clone());
        Ok(())
    }

    async fn list_dead_instances(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        self.read(|state| Ok(among.iter().filter(|id| !state.held.contains(id)).cloned().collect()))
    }

    async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, StoreError> {
        let lease_clock = self.clock.now();
        self.read(|state| Ok(state.find_leader(lease_clock, role)))
    }

    async fn list_events(&self, after: EventSeq, limit: u32) -> Result<EventPage, StoreError> {
        self.read(|state| Ok(state.events.list(after, limit)))
    }

    async fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        self.read(|state| Ok(state.events.bounds()))
    }

    async fn wait_for_events(&self, after: EventSeq) -> Result<(), StoreError> {
        self.bell.wait(after).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read(|state| Ok(state.stats()))
    }

    async fn gauges(&self) -> Result<StoreGauges, StoreError> {
        self.read(|state| Ok(state.gauges()))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(|state| Ok(state.check()))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.bell.close();
        self.lock().take().map(|_| ()).ok_or(StoreError::Closed)
    }
}
