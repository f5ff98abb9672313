//! The store's handle: changes go to the writer, reads to the readers.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

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
use membrane_store::events::{EventBell, EventBounds, EventPage, LOOK_EVERY};
use membrane_store::{
    Change, LocatedThread, LocatedTurns, OldRow, Receipt, Store, StoreError, StoreGauges, StoreStats,
    StoredTurn, Thread,
};
use rusqlite::{Connection, OpenFlags};

use crate::apply::Prepared;
use crate::check;
use crate::connection::open_to_look;
use crate::error::OpenError;
use crate::instances::Instances;
use crate::migrations::{self, MigrationStatus};
use crate::options::SqliteOptions;
use crate::queue::WriteQueue;
use crate::read;
use crate::read::turns::Loading;
use crate::readers::Readers;
use crate::telemetry::Meters;
use crate::v1::Upgrade;

/// A keep in one SQLite file. Share it through an `Arc`; dropping the last handle closes the file after
/// what was asked for is done.
#[derive(Debug)]
pub struct SqliteStore {
    queue: WriteQueue,
    readers: Readers,
    instances: Arc<Instances>,
    bell: Arc<EventBell>,
    meters: Meters,
    options: SqliteOptions,
}

impl SqliteStore {
    /// Opens the file, making it if it is missing, and brings its schema up to date. Needs a tokio
    /// runtime with time enabled. What it measures goes to the recorder that is installed by then
    /// ([`crate::telemetry`]).
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub async fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let meters = Meters::new();
        let bell = Arc::new(EventBell::default());
        let queue = WriteQueue::start(&options, &meters, Arc::clone(&bell)).await?;
        let readers = Readers::start(&options)?;
        let instances = Arc::new(Instances::beside(&options));
        Ok(Self { queue, readers, instances, bell, meters, options })
    }

    /// What opening the file did, if it was a kgents V1 file.
    pub fn upgrade(&self) -> Option<&Upgrade> {
        self.queue.upgrade()
    }

    /// Which steps of the schema a file holds. Changes nothing; a missing file holds none.
    ///
    /// # Errors
    /// [`OpenError`] when the file is there but cannot be read as a database.
    pub fn migration_status(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
        if !path.exists() {
            let none = |step: &migrations::Migration| MigrationStatus {
                version: step.version,
                name: step.name,
                applied_at: None,
            };
            return Ok(migrations::MIGRATIONS.iter().map(none).collect());
        }
        let conn = open_to_look(&SqliteOptions::at(path), OpenFlags::empty())?;
        migrations::status(&conn, path)
    }

    /// Does file work that has nothing to do with the database.
    async fn with_instances<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Instances) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let instances = Arc::clone(&self.instances);
        // It fails only when the runtime is going.
        tokio::task::spawn_blocking(move || work(&instances)).await.unwrap_or(Err(StoreError::Closed))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, change: Change) -> Result<Receipt, StoreError> {
        self.meters.save(async { self.queue.commit(Prepared::new(change)?).await }).await
    }

    async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let id = id.clone();
        self.readers.read_short(move |conn| read::sessions::find(conn, &id)).await
    }

    async fn load_thread(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, StoreError> {
        let id = id.clone();
        self.meters
            .load(async {
                let short = |conn: &Connection| read::turns::load_short_thread(conn, &id, &range);
                match self.readers.read_on_the_spot(short) {
                    Some(Ok(Loading::Done(thread))) => Ok(*thread),
                    Some(Err(error)) => Err(error),
                    Some(Ok(Loading::Long)) | None => {
                        self.readers.read(move |conn| read::turns::load_thread(conn, &id, &range)).await
                    }
                }
            })
            .await
    }

    async fn load_turns(&self, cut: Cut, range: Range<u64>) -> Result<Vec<KeptTurn>, StoreError> {
        self.meters.load(self.readers.read(move |conn| read::turns::load(conn, cut, range))).await
    }

    async fn locate_thread(
        &self,
        id: &SessionId,
        range: Range<u64>,
    ) -> Result<Option<LocatedThread>, StoreError> {
        let id = id.clone();
        self.meters
            .load(self.readers.read_short(move |conn| read::located::locate_thread(conn, &id, &range)))
            .await
    }

    async fn locate_turns(&self, cut: Cut, range: Range<u64>) -> Result<LocatedTurns, StoreError> {
        self.meters
            .load(self.readers.read_short(move |conn| read::located::locate_turns(conn, cut, &range)))
            .await
    }

    async fn load_spans(&self, spans: &[Span]) -> Result<Vec<StoredTurn>, StoreError> {
        let spans = spans.to_vec();
        let n_turns: u64 = spans.iter().map(Span::len).sum();
        let load = move |conn: &Connection| read::turns::load_spans(conn, &spans);
        if n_turns <= read::turns::MAX_SHORT_TURNS {
            return self.meters.load(self.readers.read_short(load)).await;
        }
        self.meters.load(self.readers.read(load)).await
    }

    async fn keep_name(&self) -> Result<String, StoreError> {
        self.readers.read(read::keep_name::find).await
    }

    async fn find_history(&self, id: HistoryId) -> Result<Option<History>, StoreError> {
        self.readers.read(move |conn| read::histories::find(conn, id)).await
    }

    async fn list_marks(&self, cut: Cut) -> Result<Vec<TurnMark>, StoreError> {
        self.readers.read(move |conn| read::histories::list_marks(conn, cut)).await
    }

    async fn find_marks(&self, turns: &[TurnRef]) -> Result<Vec<TurnMark>, StoreError> {
        let turns = turns.to_vec();
        self.readers.read(move |conn| read::histories::find_marks(conn, &turns)).await
    }

    async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read_short(move |conn| read::lists::page(conn, &filter, &page)).await
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.readers.read(move |conn| read::lists::count(conn, &filter)).await
    }

    async fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
        let family = family.clone();
        self.readers.read(move |conn| read::sessions::family(conn, &family)).await
    }

    async fn list_checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        let session = session.clone();
        self.readers.read(move |conn| read::checkpoints::list(conn, &session)).await
    }

    async fn find_checkpoint(
        &self,
        session: &SessionId,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let (session, id) = (session.clone(), id.clone());
        self.readers.read_short(move |conn| read::checkpoints::find(conn, &session, &id)).await
    }

    async fn find_crystal(&self, session: &SessionId) -> Result<Option<Crystal>, StoreError> {
        let session = session.clone();
        self.readers.read_short(move |conn| read::checkpoints::find_crystal(conn, &session)).await
    }

    async fn list_old_rows(
        &self,
        session: Option<&SessionId>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<OldRow>, StoreError> {
        let session = session.cloned();
        self.readers.read(move |conn| read::old_rows::list(conn, session.as_ref(), offset, limit)).await
    }

    async fn find_run(&self, session: &SessionId) -> Result<Option<Run>, StoreError> {
        let session = session.clone();
        self.readers.read_short(move |conn| read::runs::find(conn, &session)).await
    }

    async fn list_pieces(&self, run: &RunId, from: u64) -> Result<Vec<Piece>, StoreError> {
        let run = run.clone();
        self.readers.read(move |conn| read::runs::pieces(conn, &run, from)).await
    }

    async fn list_stale_runs(&self, owners: &[InstanceId], limit: u32) -> Result<Vec<Run>, StoreError> {
        let owners = owners.to_vec();
        self.readers.read(move |conn| read::runs::stale(conn, &owners, limit)).await
    }

    async fn list_stop_requests(&self, owner: &InstanceId) -> Result<Vec<RunId>, StoreError> {
        let owner = owner.clone();
        self.readers.read_short(move |conn| read::runs::stop_requests(conn, &owner)).await
    }

    async fn find_ended_run(&self, session: &SessionId) -> Result<Option<EndedRun>, StoreError> {
        let session = session.clone();
        self.readers.read_short(move |conn| read::runs::ended(conn, &session)).await
    }

    async fn list_lease_owners(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.readers.read(read::runs::owners).await
    }

    async fn hold_instance(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let instance = instance.clone();
        self.with_instances(move |instances| instances.hold(&instance)).await
    }

    async fn list_dead_instances(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        let among = among.to_vec();
        self.with_instances(move |instances| instances.list_dead(&among)).await
    }

    async fn find_leader(&self, role: Role) -> Result<Option<InstanceId>, StoreError> {
        self.readers.read_short(move |conn| read::leaders::find(conn, role)).await
    }

    async fn list_events(&self, after: EventSeq, limit: u32) -> Result<EventPage, StoreError> {
        let (page, newest) =
            self.readers.read_short(move |conn| read::events::list(conn, after, limit)).await?;
        // It may be of another process, and then nobody here was told of it.
        self.bell.ring(newest);
        Ok(page)
    }

    async fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        self.readers.read_short(read::events::bounds).await
    }

    async fn wait_for_events(&self, after: EventSeq) -> Result<(), StoreError> {
        let look = || async { self.event_bounds().await.map(|bounds| bounds.newest) };
        self.bell.wait_and_look(after, || LOOK_EVERY, look).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let path = self.options.path.clone();
        self.readers.read(move |conn| read::stats::stats(conn, &path)).await
    }

    async fn gauges(&self) -> Result<StoreGauges, StoreError> {
        let gauges = self.queue.gauges()?;
        let path = self.options.path.clone();
        // Not a matter for the readers, who may be busy when the numbers are of interest.
        let bytes = tokio::task::spawn_blocking(move || read::stats::bytes(&path)).await;
        Ok(StoreGauges { bytes: bytes.map_err(|_| StoreError::Closed)?, ..gauges })
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.readers.read(|conn| Ok(check::check_conn(conn)?.lines())).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.bell.close();
        self.readers.close().await;
        let closed = self.queue.close().await;
        // Last, so that nobody takes over what is still being written.
        self.with_instances(|instances| {
            instances.let_go();
            Ok(())
        })
        .await?;
        closed
    }
}
