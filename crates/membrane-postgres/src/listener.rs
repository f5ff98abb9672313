//! Hearing that other instances have committed: a connection of its own that listens, while anybody here waits for events.
//!
//! It makes readers quick, and they do not rely on it: as long as it is not there (lost, or behind a pooler without a way
//! past it) they look as often as before there was one; and while it is, still often enough for what nobody tells of, such
//! as the commits of an older version, to be seen in time.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use membrane_store::StoreError;
use membrane_store::events::{LOOK_EVERY, LOOK_SELDOM};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{AsyncMessage, Client};

use crate::connect::Connector;
use crate::error::{Doing, slow};
use crate::herald::EVERY;
use crate::store::Shared;
use crate::wakeup::Channel;

/// How long it goes on after the last one has stopped waiting.
const LINGER: Duration = Duration::from_secs(5);

/// Between two tries to listen again.
const PAUSE: Duration = Duration::from_millis(200);

/// The ear of one store.
pub(crate) struct Listener {
    channel: Channel,
    /// `None`: there is no way past the pooler, and nobody listens.
    direct: Option<Connector>,
    /// Whether others' wake-ups are heard at this moment.
    is_listening: AtomicBool,
    /// Whether anybody has waited since the task last asked.
    is_wanted: AtomicBool,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A connection that listens, and the task that drives it.
struct Ear {
    client: Client,
    task: JoinHandle<()>,
    /// Tells that another instance has committed, or that the connection is gone.
    heard: Arc<Notify>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Makes no connection yet.
    pub(crate) fn on(channel: Channel, direct: Option<Connector>) -> Self {
        Self {
            channel,
            direct,
            is_listening: AtomicBool::new(false),
            is_wanted: AtomicBool::new(false),
            task: Mutex::new(None),
        }
    }

    /// How often whoever waits has to look by himself.
    pub(crate) fn look_every(&self) -> Duration {
        if self.is_listening.load(Ordering::Relaxed) { LOOK_SELDOM } else { LOOK_EVERY }
    }

    /// Whether somebody waits, or has waited a moment ago and may be back before long.
    pub(crate) fn is_wanted(&self) -> bool {
        self.task().is_some()
    }

    /// To be called by whoever is about to wait: from before long on, others' commits are heard of.
    pub(crate) fn attend(shared: &Arc<Shared>) {
        let listener = &shared.listener;
        listener.is_wanted.store(true, Ordering::Relaxed);
        let Some(direct) = &listener.direct else { return };
        let mut task = listener.task();
        // Whoever closes the store says so before he stops the task.
        let is_over = task.as_ref().is_none_or(JoinHandle::is_finished);
        if is_over && !shared.is_closed.load(Ordering::Acquire) {
            *task = Some(tokio::spawn(listen(Arc::downgrade(shared), direct.clone())));
        }
    }

    /// Listens no more.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
        self.is_listening.store(false, Ordering::Relaxed);
    }

    /// Whether the task has to go on; if not, the next one who waits begins a new one.
    fn goes_on(&self, has_waiters: bool) -> bool {
        let mut task = self.task();
        let goes_on = self.is_wanted.swap(false, Ordering::Relaxed) || has_waiters;
        if !goes_on {
            *task = None;
        }
        goes_on
    }

    /// Held for a look or an exchange.
    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that is dropped listens no more.
impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens for as long as anybody wants to know.
async fn listen(shared: Weak<Shared>, direct: Connector) {
    loop {
        let Some(store) = shared.upgrade() else { return };
        let (channel, own) = (store.listener.channel.clone(), store.herald.tag.clone());
        drop(store);
        match Ear::open(&direct, &channel, own).await {
            Ok(ear) => {
                if !hear(&shared, &ear).await {
                    return;
                }
                tracing::debug!("the connection that hears of other instances' commits was lost");
            }
            Err(error) => tracing::debug!(%error, "it cannot be heard of other instances' commits"),
        }
        let Some(store) = shared.upgrade() else { return };
        store.listener.is_listening.store(false, Ordering::Relaxed);
        if !store.listener.goes_on(store.bell.has_waiters()) {
            return;
        }
        drop(store);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks whenever another instance has committed. Ends with `true` when the connection is gone, and with `false` when nobody
/// wants to know any more.
async fn hear(shared: &Weak<Shared>, ear: &Ear) -> bool {
    let mut linger = interval(LINGER);
    linger.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one comes at once.
    linger.tick().await;
    let Some(store) = shared.upgrade() else { return false };
    store.listener.is_listening.store(true, Ordering::Relaxed);
    drop(store);
    // What was committed before is heard of by nobody.
    ear.heard.notify_one();
    loop {
        let is_heard = tokio::select! {
            () = ear.heard.notified() => true,
            _ = linger.tick() => false,
        };
        let Some(store) = shared.upgrade() else { return false };
        if is_heard {
            if ear.client.is_closed() {
                return true;
            }
            store.look().await;
            drop(store);
            // Of what others say meanwhile, all together, it is told then.
            tokio::time::sleep(EVERY).await;
        } else if !store.listener.goes_on(store.bell.has_waiters()) {
            store.listener.is_listening.store(false, Ordering::Relaxed);
            return false;
        }
    }
}

impl Ear {
    /// Connects and listens.
    async fn open(direct: &Connector, channel: &Channel, own: String) -> Result<Self, StoreError> {
        let connected = tokio::time::timeout(direct.timeout(), direct.connect()).await;
        let (client, mut connection) = connected.map_err(|_| slow())?.doing("connect to the database")?;
        let heard = Arc::new(Notify::new());
        let wake = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(note)) if note.payload() != own => wake.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the connection that listens ended");
                        break;
                    }
                }
            }
            // From here on the client says that it is closed.
            drop(connection);
            wake.notify_one();
        });
        let ear = Self { client, task, heard };
        let Channel { name, lock } = channel;
        let greeting = format!(
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
             SELECT pg_advisory_lock_shared({lock}); LISTEN {name}"
        );
        let greeted = tokio::time::timeout(direct.timeout(), ear.client.batch_execute(&greeting)).await;
        greeted.map_err(|_| slow())?.doing("listen for other instances' commits")?;
        Ok(ear)
    }
}
