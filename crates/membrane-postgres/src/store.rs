//! The store's handle: takes a connection for each call, and says how long the store is open.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

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
use membrane_store::events::{EventBell, makes_events};
use membrane_store::{
    Change, EventBounds, EventPage, LocatedThread, LocatedTurns, OldRow, Receipt, Store, StoreError,
    StoreGauges, StoreStats, StoredTurn, Thread, Write,
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::check;
use crate::commit::{self, Commits};
use crate::counts::Counts;
use crate::error::OpenError;
use crate::herald::Herald;
use crate::instances::Instances;
use crate::listener::Listener;
use crate::migrations::MigrationStatus;
use crate::open;
use crate::options::PostgresOptions;
use crate::pool::Pool;
use crate::read;
use crate::ready::Readiness;
use crate::telemetry::Meters;
use crate::v1::Upgrade;

/// How long new events are gathered before those who wait are told of them.
const GATHER: Duration = Duration::from_millis(10);

/// A keep in a PostgreSQL database. Share it through an `Arc`.
pub struct PostgresStore {
    shared: Arc<Shared>,
}

/// What the tasks of a store have in common.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: PostgresOptions,
    pub(crate) counts: Counts,
    pub(crate) instances: Instances,
    pub(crate) meters: Meters,
    pub(crate) commits: Commits,
    pub(crate) readiness: Readiness,
    pub(crate) bell: EventBell,
    /// Wakes those who wait at other instances.
    pub(crate) herald: Herald,
    /// Is woken by other instances.
    pub(crate) listener: Listener,
    /// Whether somebody is about to give numbers to new events.
    pub(crate) is_ringing: AtomicBool,
    /// What the tables took when that was last asked.
    pub(crate) bytes: AtomicU64,
    pub(crate) is_closed: AtomicBool,
    /// Each call holds it shared; whoever closes the store waits for all of them.
    pub(crate) calls: Arc<RwLock<()>>,
    /// What opening it did to old tables.
    pub(crate) upgrade: Option<Upgrade>,
}

/// A call under way: the store is not closed before it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    _under_way: OwnedRwLockReadGuard<()>,
}

impl Shared {
    /// Begins a call.
    pub(crate) fn enter(&self) -> Result<Call, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        // It fails while somebody closes the store.
        let under_way = Arc::clone(&self.calls).try_read_owned().map_err(|_| StoreError::Closed)?;
        Ok(Call { _under_way: under_way })
    }

    /// Tells those who wait for events, if any do, here and elsewhere, that there may be new ones.
    fn ring(self: &Arc<Self>) {
        Herald::note(self);
        // Who has just looked and found nothing will wait in a moment.
        let is_wanted = self.bell.has_waiters() || self.listener.is_wanted();
        if !is_wanted || self.is_ringing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            // Those who commit at the same time are told of together.
            tokio::time::sleep(GATHER).await;
            shared.is_ringing.store(false, Ordering::Release);
            shared.look().await;
        });
    }

    /// Tells those who wait here how far events go by now.
    pub(crate) async fn look(&self) {
        let Ok(_call) = self.enter() else { return };
        match self.event_bounds().await {
            Ok(bounds) => self.bell.ring(bounds.newest),
            Err(error) => tracing::debug!(%error, "whoever waits for events looks for himself before long"),
        }
    }

    async fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        let conn = self.pool.get().await?;
        conn.within(read::events::bounds(conn.db()?)).await
    }

    /// Gives numbers to all events, however many nobody has followed.
    async fn number_events(&self) -> Result<(), StoreError> {
        let conn = self.pool.get().await?;
        conn.at_leisure(read::events::bounds(conn.db()?)).await.map(|_| ())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and brings the schema up to date. Needs a tokio runtime with time and I/O enabled. What it measures
    /// goes to the recorder that is installed by then ([`crate::telemetry`]).
    ///
    /// # Errors
    /// [`OpenError`]; the database is then as it was.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let shared = Arc::new(open::open(options).await?);
        Ok(Self { shared })
    }

    /// What opening did to kgents' V1 tables; `None` if there were none.
    pub fn upgrade(&self) -> Option<&Upgrade> {
        self.shared.upgrade.as_ref()
    }

    /// Whether a database holds neither a keep nor anything that would become one. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be reached or read, or holds what is in a keep's way.
    pub async fn is_vacant(options: &PostgresOptions) -> Result<bool, OpenError> {
        open::is_vacant(options).await
    }

    /// What in a database contradicts itself, a line each, and how much it holds. It is not brought up to date, and nothing
    /// in it changes.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be reached or read; [`OpenError::OldSchema`] if there is no keep of this version.
    pub async fn check_database(options: &PostgresOptions) -> Result<(Vec<String>, StoreStats), OpenError> {
        check::check_database(options).await
    }

    /// Which steps of the schema a database holds. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be reached or read.
    pub async fn migration_status(options: &PostgresOptions) -> Result<Vec<MigrationStatus>, OpenError> {
        open::migration_status(options).await
    }
}

/// One read: a call, a connection, and work on it.
macro_rules! read {
    ($self:ident, |$db:ident| $work:expr) => {{
        let _call = $self.shared.enter()?;
        let conn = $self.shared.pool.get().await?;
        let $db = conn.db()?;
        conn.within($work).await
    }};
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError> {
        let call = self.shared.enter()?;
        let tells = makes_events(&change);
        if change.writes.iter().any(|write| matches!(write, Write::ForgetEvents { .. })) {
            self.shared.number_events().await?;
        }
        let done = self.shared.meters.save(commit::commit(&self.shared, call, change)).await;
        if tells && done.is_ok() {
            self.shared.ring();
        }
        done
    }

    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        read!(self, |db| read::sessions::find(db, id))
    }

    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError> {
        self.shared.meters.load(async { read!(self, |db| read::turns::load_thread(db, id, &range)) }).await
    }

    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
        self.shared.meters.load(async { read!(self, |db| read::turns::load(db, cut, range)) }).await
    }

    async fn locate_thread(
        &self,
        id: &SessionId,
        range: Range<u64>,
    ) -> Result<Option<LocatedThread>, StoreError> {
        self.shared
            .meters
            .load(async { read!(self, |db| read::located::locate_thread(db, id, &range)) })
            .await
    }

    async fn locate_turns(&self, cut: Cut, range: Range<u64>) -> Result<LocatedTurns, StoreError> {
        self.shared
            .meters
            .load(async { read!(self, |db| read::located::locate_turns(db, cut, &range)) })
            .await
    }

    async fn load_spans(&self, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
        self.shared.meters.load(async { read!(self, |db| read::turns::load_spans(db, spans)) }).await
    }

    async fn keep_name(&self) -> Result<String, StoreError> {
        read!(self, |db| read::keep_name::find(db))
    }

    async fn find_history(&self, id: HistoryId) -> Result<Option<History>, StoreError> {
        read!(self, |db| read::histories::find(db, id))
    }

    async fn list_marks(&self, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
        read!(self, |db| read::histories::list_marks(db, cut))
    }

    async fn find_marks(&self, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
        read!(self, |db| read::histories::find_marks(db, turns))
    }

    async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError> {
        read!(self, |db| read::lists::page(db, filter, page))
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, StoreError> {
        read!(self, |db| read::lists::count(db, filter))
    }

    async fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
        read!(self, |db| read::sessions::family(db, family))
    }

    async fn list_checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        read!(self, |db| read::checkpoints::list(db, session))
    }

    async fn find_checkpoint(
        &self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        read!(self, |db| read::checkpoints::find(db, session, id))
    }

    async fn find_crystal(&self, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
        read!(self, |db| read::checkpoints::find_crystal(db, session))
    }

    async fn list_old_rows(
        &self,
        session: Option<&SessionId>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<OldRow>, StoreError> {
        read!(self, |db| read::old_rows::list(db, session, offset, limit))
    }

    async fn find_run(&self, session: &SessionId) -> Result<Option<Run>, StoreError> {
        read!(self, |db| read::runs::find(db, session))
    }

    async fn list_pieces(&self, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
        read!(self, |db| read::runs::pieces(db, run, from))
    }

    async fn list_stale_runs(&self, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
        read!(self, |db| read::runs::stale(db, owners, limit))
    }

    async fn list_stop_requests(&self, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
        read!(self, |db| read::runs::stop_requests(db, owner))
    }

    async fn find_ended_run(&self, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
        read!(self, |db| read::runs::ended(db, session))
    }

    async fn list_lease_owners(&self) -> Result<Vec<InstanceId>, StoreError> {
        read!(self, |db| read::runs::owners(db))
    }

    async fn hold_instance(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let _call = self.shared.enter()?;
        self.shared.instances.hold(instance).await
    }

    async fn list_dead_instances(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        let _call = self.shared.enter()?;
        self.shared.instances.list_dead(among).await
    }

    async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, StoreError> {
        read!(self, |db| read::leaders::find(db, role))
    }

    async fn list_events(&self, after: EventSeq, limit: u32) -> Result<EventPage, StoreError> {
        let (page, newest) = read!(self, |db| read::events::list(db, after, limit))?;
        // It may be another instance's, and then nobody here was told of it.
        self.shared.bell.ring(newest);
        Ok(page)
    }

    async fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        let _call = self.shared.enter()?;
        self.shared.event_bounds().await
    }

    async fn wait_for_events(&self, after: EventSeq) -> Result<(), StoreError> {
        Listener::attend(&self.shared);
        let look = || async { self.event_bounds().await.map(|bounds| bounds.newest) };
        self.shared.bell.wait_and_look(after, || self.shared.listener.look_every(), look).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let _call = self.shared.enter()?;
        self.shared.readiness.ask(&self.shared.pool, self.shared.options.timeout).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let _call = self.shared.enter()?;
        let conn = self.shared.pool.get().await?;
        conn.at_leisure(read::stats::stats(conn.db()?)).await
    }

    async fn gauges(&self) -> Result<StoreGauges, StoreError> {
        let call = self.shared.enter()?;
        read::stats::gauges(&self.shared, call).await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        let _call = self.shared.enter()?;
        let conn = self.shared.pool.get().await?;
        conn.at_leisure(check::check(conn.db()?)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        if shared.is_closed.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Closed);
        }
        shared.bell.close();
        shared.listener.stop();
        let _all_done = shared.calls.write().await;
        shared.herald.part(&shared.pool).await;
        // Before the connections, of which it needs one.
        let let_go = shared.instances.let_go().await;
        shared.pool.close();
        let_go
    }
}
