//! The storage contract: what a keep of sessions must do, whichever database is underneath.
//!
//! A backend carries out one kind of write: *apply this change if these requirements hold*
//! ([`Store::commit`]), atomically and durably, and reads back. It decides nothing: what a change is, is
//! decided by `membrane-core` and put together by the `membrane` library.
//!
//! Five rules hold for every method:
//!
//! 1. One call is one transaction. No transaction object leaves a backend, so nobody can hold one while
//!    a model talks for a minute.
//! 2. Looking up gives `Option`; changing something missing gives [`StoreError::NotFound`]; a stale
//!    version gives [`StoreError::Conflict`] naming both versions.
//! 3. Times and public ids are arguments. The one exception is a lease's expiry, which is judged by the
//!    backend's own clock, because several processes must agree on it.
//! 4. Text comes back byte for byte, NUL included; times come back to the microsecond; order is by
//!    position, never by a text collation.
//! 5. An answer is given only after the commit in which it was found: acknowledged means durable.
//!
//! To add a write: a variant of [`change::Write`], its arm in each backend, and a case in
//! [`conformance`], which runs on all of them. To add a read: a method here, and the same.
//!
//! SQL, files and connections are not here; [`memory`] is the executable specification.

pub mod change;
pub mod codec;
pub mod conformance;
pub mod doctor;
pub mod error;
pub mod events;
pub mod kgents;
pub mod located;
pub mod memory;
pub mod stats;
pub mod transfer;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::event::EventSeq;
use membrane_core::history::{Cut, History, Span, TurnMark, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, InstanceId, RunId, SessionId};
use membrane_core::page::{PageRequest, SessionFilter, SessionPage};
use membrane_core::role::Role;
use membrane_core::run::{EndedRun, Piece, Run};
use membrane_core::session::Session;
use membrane_core::turn::KeptTurn;

pub use change::{Change, IdempotencyKey, Receipt, Requirement, SessionStamp, Write};
pub use error::{StoreError, Subject};
pub use events::{EventBounds, EventPage};
pub use kgents::OldRow;
pub use located::{LocatedThread, LocatedTurns, StoredTurn};
pub use stats::StoreStats;

/// A session together with some of its turns, read in one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Thread {
    /// The session.
    pub session: Session,
    /// The turns that were asked for, in order.
    pub turns: Vec<KeptTurn>,
}

/// How much a store holds and how busy it is, known without counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreGauges {
    /// Sessions.
    pub sessions: u64,
    /// Turns as they are stored: one that twenty forks share counts once.
    pub turns: u64,
    /// Bytes on disk, with write-ahead log and whatever else lies beside; 0 in memory.
    pub bytes: u64,
    /// Changes that wait to be written, without those that are being written.
    pub queued: u64,
    /// How many may wait.
    pub queue_capacity: u64,
    /// Connections to the database; `None` where there is no server.
    pub connections: Option<ConnectionGauges>,
}

/// The connections that a store keeps to its database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionGauges {
    /// How many there may be.
    pub limit: u64,
    /// How many there are.
    pub open: u64,
    /// How many of those are at work.
    pub in_use: u64,
    /// Calls that wait for one.
    pub waiting: u64,
}

/// A keep of sessions. See the crate's documentation for the rules that hold for every method.
///
/// Every method may fail with [`StoreError::Unavailable`] (the queue is full, or another process holds
/// the database for too long: try again), [`StoreError::StorageFull`], [`StoreError::Inconsistent`] (a
/// stored row makes no sense) and [`StoreError::Backend`]; only other errors are listed below.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Applies a change: all of it or nothing.
    ///
    /// In this order: a known idempotency key answers with the receipt of the first time; requirements
    /// are checked; writes are carried out one after the other; the transaction becomes durable; the
    /// receipt is given.
    ///
    /// # Errors
    /// - [`StoreError::KeyReused`]: the key was used with another body.
    /// - [`StoreError::NotFound`]: something that the change names is not there.
    /// - [`StoreError::AlreadyExists`]: a new id is taken.
    /// - [`StoreError::Conflict`], [`StoreError::Changed`]: the session is not what the change was
    ///   decided on; read again and decide again.
    /// - [`StoreError::Refused`]: the session's state does not allow it.
    /// - [`StoreError::LeaseLost`], [`StoreError::LeaseHeld`]: the run is another's.
    /// - [`StoreError::LeadHeld`]: the role is another's.
    /// - [`StoreError::Gap`]: some of the turns are gone.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either nothing or the complete change.
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError>;

    /// Finds a session.
    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError>;

    /// Finds a session and loads turns `range` of it (cut to what it has), in one snapshot.
    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError>;

    /// Loads turns `range` of a cut. A turn that is gone is left out.
    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError>;

    /// Finds a session and where turns `range` of it are (cut to what it has), in one snapshot: all of
    /// [`Self::load_thread`] but what never changes.
    async fn locate_thread(
        &self,
        id: &SessionId,
        range: Range<u64>,
    ) -> Result<Option<LocatedThread>, StoreError>;

    /// Where turns `range` of a cut are; one that is gone has no place.
    async fn locate_turns(&self, cut: Cut, range: Range<u64>) -> Result<LocatedTurns, StoreError>;

    /// Loads what never changes of turns, in no particular order. Those that are gone are left out.
    async fn load_spans(&self, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError>;

    /// A name for the data underneath: the same for all who have it open, and another one after a repair, which alone
    /// may change a finished turn. A backup that was put back or a copy of files may go by its original's name.
    async fn keep_name(&self) -> Result<String, StoreError>;

    /// Finds a history: its slices and its legacy observations.
    async fn find_history(&self, id: HistoryId) -> Result<Option<History>, StoreError>;

    /// The marks of all turns of a cut, in order.
    async fn list_marks(&self, cut: Cut) -> Result<Vec<TurnMark>, StoreError>;

    /// The marks of single turns, in no particular order; those that are gone are left out.
    async fn find_marks(&self, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError>;

    /// Lists sessions: newest `last_active` first, ties by id descending; with the number that the
    /// filter finds in all, read in the same snapshot.
    async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError>;

    /// Counts the sessions that a filter finds.
    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, StoreError>;

    /// A family of forks: its sessions, and tombstones of those that were deleted. In no particular order.
    async fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError>;

    /// A session's checkpoints, the one made last first.
    async fn list_checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError>;

    /// Finds a checkpoint of a session.
    async fn find_checkpoint(
        &self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// Finds a session's crystal.
    async fn find_crystal(&self, session: &SessionId) -> Result<Option<Crystal>, StoreError>;

    /// What old files held beyond what has a place elsewhere: of a session, or of none that is there. In the order in
    /// which it was kept; at most `limit`, after the first `offset`.
    async fn list_old_rows(
        &self,
        session: Option<&SessionId>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<OldRow>, StoreError>;

    /// Finds the run that is open on a session.
    async fn find_run(&self, session: &SessionId) -> Result<Option<Run>, StoreError>;

    /// A run's pieces from number `from` on, in order.
    async fn list_pieces(&self, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError>;

    /// Runs that may need closing: those whose lease has expired by the backend's clock, and all running
    /// ones that `owners` hold (the caller knows that these are dead). At most `limit`, oldest first.
    async fn list_stale_runs(&self, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError>;

    /// The runs of an instance that somebody asked to stop, see [`Write::RequestStop`]. Cheap, to be asked often.
    async fn list_stop_requests(&self, owner: &InstanceId) -> Result<Vec<RunId>, StoreError>;

    /// How the run came that ended last on a session, if that is still known.
    async fn find_ended_run(&self, session: &SessionId) -> Result<Option<EndedRun>, StoreError>;

    /// The instances that hold leases.
    async fn list_lease_owners(&self) -> Result<Vec<InstanceId>, StoreError>;

    /// Makes an instance known as alive, until the store is closed or the process ends, however it ends.
    /// To be called before the instance owns its first run; doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: another store goes by the same id.
    async fn hold_instance(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// Those of `among` that no store on this data holds, in the order given. One that was never held is
    /// among them; one that was killed is, as soon as its process is gone.
    async fn list_dead_instances(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError>;

    /// The instance that has a role, as long as its lease lasts by the backend's clock. It may be dead.
    async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, StoreError>;

    /// Events after a place, oldest first, at most `limit`. None are there that a later call could put before those
    /// that an earlier one gave: who goes on after the last one he was given sees each event once.
    ///
    /// [`EventPage::Reset`] if events after that place may have been forgotten, or the place is not one of this data's.
    async fn list_events(&self, after: EventSeq, limit: u32) -> Result<EventPage, StoreError>;

    /// The places from which events can be followed. The newest one is where to begin for who wants only what
    /// comes from now on: whatever is read after this call and is not up to date gets an event.
    async fn event_bounds(&self) -> Result<EventBounds, StoreError>;

    /// Waits until there may be events after a place: at once if there are, else until the next commit that makes
    /// one, by this store or, within a second, by another process on the same data. To be followed by
    /// [`Store::list_events`], which may find nothing.
    ///
    /// # Errors
    /// [`StoreError::Closed`] as soon as the store is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call tells of the same events.
    async fn wait_for_events(&self, after: EventSeq) -> Result<(), StoreError>;

    /// Whether the store can do its work at the moment: it answers, and would take a change. May be asked at any rate:
    /// the answer may be that of a look which ended since the call began, and no call waits longer than a read may.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], whose reason says what stands in the way and what its owner can do, and names no
    /// host, user or database. [`StoreError::Closed`].
    async fn ready(&self) -> Result<(), StoreError> {
        self.list_lease_owners().await.map(|_| ())
    }

    /// How much there is. May scan; not for a hot path.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// How much there is and how busy the store is, at a price that does not depend on how much there is.
    ///
    /// Sessions and turns are exact after each answered change of this store, as long as nobody else writes
    /// to the same data. What another process has written is counted again with the changes of this one that
    /// follow, but not for more than about a hundredth of the time; until then the numbers may lag.
    async fn gauges(&self) -> Result<StoreGauges, StoreError>;

    /// Looks for rows that contradict each other, one line per finding: counts, slices, running totals,
    /// evidence, unreachable turns. Scans everything.
    async fn check(&self) -> Result<Vec<String>, StoreError>;

    /// Finishes what is under way and lets go of files and connections. Later calls fail with
    /// [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
