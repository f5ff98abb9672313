//! Who is alive: each instance holds an advisory lock on a connection of its own, which ends with the process, however
//! that ends.
//!
//! Locks end with the server, too, and with the connection; so the table `instances` says under which start of the server
//! a lock was taken, and a task here takes what was lost again. Behind a pooler without a way past it there are no locks:
//! there a row stays for as long as its holder renews it, and of nobody with a row it is known that he is dead.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use membrane_core::ids::InstanceId;
use membrane_store::StoreError;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::advisory;
use crate::connect::{Connector, LIFT_LIMITS};
use crate::db::Db;
use crate::error::{Doing, slow, store_error, unavailable};
use crate::options::PostgresOptions;
use crate::pool::Pool;
use crate::value::{escape, unescape, values};

/// Between two tries to take lost locks again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a lock must be free, so that it is not one whose connection is just being made again.
const GRACE: Duration = Duration::from_secs(2);

/// How often rows are renewed where there are no locks; and, in SQL, after what time a row is nobody's.
const RENEWAL: Duration = Duration::from_secs(60);
const FORGOTTEN: &str = "INTERVAL '1 hour'";

const NOTING: &str = "note an instance";

/// The locks of instances that are taken, among keys.
const LOCKED: &str = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks \
     WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND ((classid::bigint << 32) | objid::bigint) = ANY ($1)";

/// Rows of instances, and whether their lock was taken under the server that runs now.
const ROWS: &str = "SELECT id, coalesce(incarnation = pg_postmaster_start_time(), FALSE) \
     FROM instances WHERE id = ANY ($1)";

/// The instances of one store.
pub(crate) struct Instances {
    shared: Arc<Holder>,
    /// Keeps what is held.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Holder {
    pool: Arc<Pool>,
    /// `None`: no locks.
    direct: Option<Connector>,
    timeout: Duration,
    /// The schema, which takes part in the locks' keys: two keeps in one database know nothing of each other.
    schema: String,
    /// `None` once the store is closed.
    held: Mutex<Option<BTreeSet<InstanceId>>>,
    /// The connection that has the locks of `held`; `None` before the first one and after it was lost.
    link: AsyncMutex<Option<Link>>,
    /// Tells that the connection is gone.
    lost: Arc<Notify>,
}

/// A connection, and the task that drives it.
struct Link {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Instances {
    /// Makes no connection yet.
    pub(crate) fn new(
        pool: Arc<Pool>,
        direct: Option<Connector>,
        schema: String,
        options: &PostgresOptions,
    ) -> Self {
        let shared = Arc::new(Holder {
            pool,
            direct,
            timeout: options.timeout,
            schema,
            held: Mutex::new(Some(BTreeSet::new())),
            link: AsyncMutex::new(None),
            lost: Arc::new(Notify::new()),
        });
        Self { shared, keeper: Mutex::new(None) }
    }

    /// Holds an instance until [`Instances::let_go`].
    pub(crate) async fn hold(&self, id: &InstanceId) -> Result<(), StoreError> {
        let holder = &self.shared;
        if holder.is_held_here(id)? {
            return Ok(());
        }
        // In a task: whoever stops waiting leaves no lock behind that nobody knows of.
        let (task, instance) = (Arc::clone(holder), id.clone());
        let held = tokio::spawn(async move { task.hold(&instance).await }).await;
        held.unwrap_or(Err(StoreError::Closed))?;
        if let Err(error) = holder.sweep(&HashSet::new()).await {
            tracing::debug!(%error, "rows of instances that nobody holds stay");
        }
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() {
            *keeper = Some(tokio::spawn(keep(Arc::clone(holder))));
        }
        Ok(())
    }

    /// Those of whom it is known that nobody holds them, in the order given.
    pub(crate) async fn list_dead(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        let holder = &self.shared;
        let others = holder.not_held_here(among)?;
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let first = holder.look(&others).await?;
        let mut dead = first.unknown;
        if !first.free.is_empty() {
            tokio::time::sleep(GRACE).await;
            let second = holder.look(&first.free.into_iter().collect::<Vec<_>>()).await?;
            holder.sweep(&second.free).await?;
            dead.extend(second.unknown);
            dead.extend(second.free);
        }
        Ok(among.iter().filter(|id| dead.contains(id)).cloned().collect())
    }

    /// Lets go of all instances, and refuses to hold more.
    pub(crate) async fn let_go(&self) -> Result<(), StoreError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        let Some(held) = self.shared.lock().take() else { return Ok(()) };
        let forgotten = self.shared.forget(held).await;
        // After the rows, and before anybody is told: the server may take its time to notice that a connection is gone.
        if let Some(link) = self.shared.link.lock().await.take() {
            let unlocked = link.client.batch_execute("SELECT pg_advisory_unlock_all()");
            if let Ok(Err(error)) = tokio::time::timeout(self.shared.timeout, unlocked).await {
                tracing::debug!(%error, "the instances' locks go with their connection");
            }
        }
        forgotten
    }
}

/// A store that is dropped lets go of its locks, too; its rows stay.
impl Drop for Instances {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            keeper.abort();
        }
    }
}

/// What a look has shown.
struct Look {
    /// Those without a row: nobody ever held them, or whoever did has let go.
    unknown: HashSet<InstanceId>,
    /// Those whose lock is free, and was taken under the server that runs now.
    free: HashSet<InstanceId>,
}

impl Holder {
    async fn hold(&self, id: &InstanceId) -> Result<(), StoreError> {
        // Until it stands in the list, so that nobody takes lost locks again without this one.
        let mut link = self.link.lock().await;
        if self.is_held_here(id)? {
            return Ok(());
        }
        if self.direct.is_some() {
            if link.as_ref().is_none_or(|link| link.client.is_closed()) {
                *link = None;
                *link = Some(self.connect().await?);
            }
            let Some(Link { client, .. }) = link.as_ref() else { return Err(StoreError::Closed) };
            let taken = tokio::time::timeout(self.timeout, self.take(client, id)).await;
            let Ok(taken) = taken else {
                // Nobody knows whether it has the lock.
                *link = None;
                self.lost.notify_one();
                return Err(slow());
            };
            taken?;
        }
        self.note(id).await?;
        self.lock().as_mut().ok_or(StoreError::Closed)?.insert(id.clone());
        Ok(())
    }

    /// Takes the lock of an instance.
    async fn take(&self, client: &Client, id: &InstanceId) -> Result<(), StoreError> {
        let taken = client.query_typed("SELECT pg_advisory_lock($1)", &[(&self.key(id), Type::INT8)]).await;
        match taken {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(unavailable("another store holds an instance of the same id"))
            }
            Err(error) => Err(store_error("take an instance's lock", error)),
        }
    }

    /// A new connection, with the locks of all that are held.
    async fn connect(&self) -> Result<Link, StoreError> {
        let Some(direct) = &self.direct else { return Err(StoreError::Closed) };
        let connected = tokio::time::timeout(direct.timeout(), direct.connect()).await;
        let (client, connection) = connected.map_err(|_| slow())?.doing("connect to the database")?;
        let lost = Arc::clone(&self.lost);
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection that holds the instances' locks ended");
            }
            lost.notify_one();
        });
        let link = Link { client, task };
        // Another's lock is waited for a little: the server may not have noticed yet that he is gone.
        let patience = (self.timeout / 2).as_millis().max(1);
        let greeting = format!("SET lock_timeout = {patience}; SET statement_timeout = 0; {LIFT_LIMITS}");
        tokio::time::timeout(self.timeout, async {
            link.client.batch_execute(&greeting).await.doing("take an instance's lock")?;
            for id in self.list_held()? {
                self.take(&link.client, &id).await?;
            }
            Ok(())
        })
        .await
        .unwrap_or_else(|_| Err(slow()))?;
        Ok(link)
    }

    fn list_held(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.lock().as_ref().map(|held| held.iter().cloned().collect()).ok_or(StoreError::Closed)
    }

    /// Says in the table that an instance is held, under the server that runs now.
    async fn note(&self, id: &InstanceId) -> Result<(), StoreError> {
        let sql = "INSERT INTO instances (id, incarnation, held_since) \
                   VALUES ($1, CASE WHEN $2 THEN pg_postmaster_start_time() END, clock_timestamp()) \
                   ON CONFLICT (id) DO UPDATE \
                   SET incarnation = excluded.incarnation, held_since = excluded.held_since";
        let conn = self.pool.get().await?;
        let work = async {
            conn.db()?.execute(sql, &values![id.as_str(), self.direct.is_some()]).await.doing(NOTING)
        };
        conn.within(work).await.map(|_| ())
    }

    /// Removes what the table says of these instances, which this store held.
    async fn forget(&self, held: BTreeSet<InstanceId>) -> Result<(), StoreError> {
        if held.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = held.iter().map(InstanceId::as_str).collect();
        let conn = self.pool.get().await?;
        let sql = "DELETE FROM instances WHERE id = ANY ($1)";
        let work = async { conn.db()?.execute(sql, &values![ids]).await.doing("let go of instances") };
        conn.within(work).await.map(|_| ())
    }

    /// Which of these nobody holds. Locks first, rows after: whoever is about to hold one takes the lock first.
    async fn look(&self, ids: &[InstanceId]) -> Result<Look, StoreError> {
        let doing = "look for instances";
        let keys: Vec<i64> = ids.iter().map(|id| self.key(id)).collect();
        let names: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
        let conn = self.pool.get().await?;
        let (locked, rows) = conn
            .within(async {
                let db = conn.db()?;
                let locked = read_keys(db, keys).await?;
                Ok((locked, db.query(ROWS, &values![names]).await.doing(doing)?))
            })
            .await?;
        let rows: HashMap<&str, bool> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, Error>>()
            .doing(doing)?;
        let mut look = Look { unknown: HashSet::new(), free: HashSet::new() };
        for id in ids.iter().filter(|id| !locked.contains(&self.key(id))) {
            match rows.get(&*escape(id.as_str())) {
                None => look.unknown.insert(id.clone()),
                Some(true) => look.free.insert(id.clone()),
                Some(false) => false,
            };
        }
        Ok(look)
    }

    /// Removes rows that tell of nobody: of `dead`, and those that are old, whose lock is free, and whose holder has had
    /// the time to take it again since the server was started.
    async fn sweep(&self, dead: &HashSet<InstanceId>) -> Result<(), StoreError> {
        let doing = "forget instances";
        let conn = self.pool.get().await?;
        let work = async {
            let db = conn.db()?;
            let old = format!(
                "held_since < clock_timestamp() - {FORGOTTEN} \
                 AND pg_postmaster_start_time() < clock_timestamp() - {FORGOTTEN}"
            );
            let rows = db.query(&format!("SELECT id FROM instances WHERE {old}"), &[]).await.doing(doing)?;
            let ids = rows.iter().map(|row| Ok(InstanceId::from_stored(&unescape(row.try_get(0)?))));
            let ids: Vec<InstanceId> = ids.collect::<Result<_, Error>>().doing(doing)?;
            let locked = read_keys(db, ids.iter().map(|id| self.key(id)).collect()).await?;
            let gone: Vec<&str> =
                ids.iter().filter(|id| !locked.contains(&self.key(id))).map(InstanceId::as_str).collect();
            let dead: Vec<&str> = dead.iter().map(InstanceId::as_str).collect();
            let sql = format!("DELETE FROM instances WHERE id = ANY ($1) OR id = ANY ($2) AND {old}");
            db.execute(&sql, &values![dead, gone]).await.doing(doing).map(|_| ())
        };
        conn.within(work).await
    }

    /// Takes lost locks again, and says so in the table.
    async fn mend(&self) -> Result<(), StoreError> {
        let mut link = self.link.lock().await;
        let held = self.list_held()?;
        if self.direct.is_some() {
            if held.is_empty() || link.as_ref().is_some_and(|link| !link.client.is_closed()) {
                return Ok(());
            }
            *link = None;
            *link = Some(self.connect().await?);
        }
        for id in held {
            self.note(&id).await?;
        }
        Ok(())
    }

    /// The lock of an instance of this keep.
    fn key(&self, id: &InstanceId) -> i64 {
        key(&self.schema, id.as_str())
    }

    fn is_held_here(&self, id: &InstanceId) -> Result<bool, StoreError> {
        self.lock().as_ref().map(|held| held.contains(id)).ok_or(StoreError::Closed)
    }

    fn not_held_here(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        let held = self.lock();
        let held = held.as_ref().ok_or(StoreError::Closed)?;
        Ok(among.iter().filter(|id| !held.contains(id)).cloned().collect())
    }

    /// A poisoned lock is as good: it is held for a look or an insertion.
    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<InstanceId>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock of an instance of the keep in a schema.
pub(crate) fn key(schema: &str, id: &str) -> i64 {
    advisory::key(&["membrane instance", schema, id])
}

/// Which of these locks are taken.
pub(crate) async fn read_keys(db: Db<'_>, keys: Vec<i64>) -> Result<HashSet<i64>, StoreError> {
    let doing = "look for instances' locks";
    let rows = db.query(LOCKED, &values![keys]).await.doing(doing)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>().doing(doing)
}

/// Holds what is held, for as long as the store is open.
async fn keep(holder: Arc<Holder>) {
    loop {
        if holder.direct.is_some() {
            holder.lost.notified().await;
        } else {
            tokio::time::sleep(RENEWAL).await;
        }
        let mut n_failures = 0_u32;
        while let Err(error) = holder.mend().await {
            if matches!(error, StoreError::Closed) {
                return;
            }
            if n_failures == 0 {
                tracing::warn!(%error, "the locks that say that this instance lives are lost; taking them again");
            }
            n_failures += 1;
            tokio::time::sleep(PAUSE).await;
        }
        if n_failures > 0 {
            tracing::info!(n_failures, "the locks that say that this instance lives are taken again");
        }
    }
}
