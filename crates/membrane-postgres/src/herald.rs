//! Telling other instances that there are new events.
//!
//! `NOTIFY` takes a lock that all of a server's databases share, at commit: it has no place in the transaction of an append.
//! So it is sent after commits, on its own, in a task, and once for all commits of the moment. And it is sent only if
//! somebody listens: whoever does holds an advisory lock, and to try that lock costs the server next to nothing.
//!
//! Who is not told looks by himself before long (`listener.rs`): what fails here is a delay, and nobody's error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use membrane_core::ids::{IdSource, RandomIds};
use membrane_store::StoreError;
use tokio::time::Instant;

use crate::error::Doing;
use crate::pool::Pool;
use crate::store::Shared;
use crate::value::values;
use crate::wakeup::Channel;

/// The shortest time between two wake-ups, of one that tells and of one that is told by many.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// The shortest time to the next look whether anybody listens, if nobody did.
const SILENCE: Duration = Duration::from_millis(500);

/// How long the last one may hold up whoever closes the store.
const PARTING: Duration = Duration::from_secs(1);

/// Whether anybody listens; if so, wakes them. Without waiting for the disk: what they are to see is there already.
const TELL: &str = "WITH heard AS MATERIALIZED (SELECT NOT pg_try_advisory_xact_lock($1) AS by_others) \
     SELECT by_others, CASE WHEN by_others \
         THEN set_config('synchronous_commit', 'off', TRUE) || pg_notify($2, $3)::text END FROM heard";

/// What one store tells the others.
#[derive(Debug)]
pub(crate) struct Herald {
    channel: Channel,
    /// What this store's own wake-ups say, so that it does not wake itself.
    pub(crate) tag: String,
    /// Whether there are events of which the others were not told. Somebody is then about to do so, or closes the store.
    is_owed: AtomicBool,
    pace: Mutex<Pace>,
}

/// When others may be told again.
#[derive(Debug, Clone, Copy)]
struct Pace {
    last: Instant,
    pause: Duration,
}

impl Herald {
    pub(crate) fn on(channel: Channel) -> Self {
        let tag = format!("{:032x}", RandomIds.next_bits());
        let pace = Pace { last: Instant::now(), pause: Duration::ZERO };
        Self { channel, tag, is_owed: AtomicBool::new(false), pace: Mutex::new(pace) }
    }

    /// Sees to it that others are told of what was just committed.
    pub(crate) fn note(shared: &Arc<Shared>) {
        if shared.herald.is_owed.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let Pace { last, pause } = *shared.herald.pace();
            tokio::time::sleep_until(last + pause).await;
            // Whoever closes the store meanwhile tells them himself.
            let Ok(_call) = shared.enter() else { return };
            shared.herald.tell(&shared.pool).await;
        });
    }

    /// Tells them now, if they are to be told of anything.
    pub(crate) async fn part(&self, pool: &Pool) {
        if self.is_owed.load(Ordering::Acquire)
            && tokio::time::timeout(PARTING, self.tell(pool)).await.is_err()
        {
            tracing::debug!("nobody was told of the last events");
        }
    }

    async fn tell(&self, pool: &Pool) {
        // The next one waits its time even if this one is still under way by then.
        *self.pace() = Pace { last: Instant::now(), pause: EVERY };
        // What is committed from here on is told of the next time.
        self.is_owed.store(false, Ordering::Release);
        let pause = match self.try_tell(pool).await {
            Ok(true) => EVERY,
            Ok(false) => SILENCE,
            Err(error) => {
                tracing::debug!(%error, "other instances were not told of new events");
                SILENCE
            }
        };
        self.pace().pause = pause;
    }

    /// Whether anybody listened.
    async fn try_tell(&self, pool: &Pool) -> Result<bool, StoreError> {
        let doing = "wake other instances";
        let conn = pool.get().await?;
        let work = async {
            let values = values![self.channel.lock, self.channel.name.as_str(), self.tag.as_str()];
            let found = conn.db()?.find(TELL, &values).await.doing(doing)?;
            found.map_or(Ok(false), |row| row.try_get(0)).doing(doing)
        };
        conn.within(work).await
    }

    /// Held for a look or an assignment.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
