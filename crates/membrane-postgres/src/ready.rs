//! Whether the store can do its work at the moment, at a price that does not grow with how often it is asked.
//!
//! One look at a time, on one connection of the pool, for which it waits half of a call's time; whoever asks meanwhile is
//! told what that look finds. So probes neither fill the pool nor stand behind it for long.

use std::borrow::Cow;
use std::time::Duration;

use membrane_store::StoreError;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use crate::db::Db;
use crate::error::{Doing, slow, unavailable};
use crate::pool::Pool;

const DOING: &str = "look whether the database is ready";

/// What a store needs of its database: that it answers, writes, and holds the tables.
const LOOK: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
     has_table_privilege('turns'::regclass, 'INSERT'), \
     (SELECT count(*) FROM (SELECT FROM chat_sessions LIMIT 1) AS session)";

const STANDBY: &str = "the database takes no writes: its server has become a standby; name the primary server, or all \
     servers, in the database's URL";
const READ_ONLY: &str = "the database takes no writes: default_transaction_read_only is on; switch it off";
const NO_RIGHTS: &str = "the database's user may not use its tables any more; grant SELECT, INSERT, UPDATE and DELETE \
     on them";
const NO_TABLES: &str = "the database holds no keep any more; bring it back with pg_restore, or make a new one with \
     \"membrane migrate\"";

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    ended: Instant,
    /// Why the store cannot do its work; `None` if it can.
    trouble: Option<Cow<'static, str>>,
}

impl Readiness {
    /// Looks, or waits for the look that is under way.
    pub(crate) async fn ask(&self, pool: &Pool, timeout: Duration) -> Result<(), StoreError> {
        let asked = Instant::now();
        let deadline = asked + timeout;
        let Ok(mut last) = tokio::time::timeout_at(deadline, self.last.lock()).await else {
            return Err(slow());
        };
        if let Some(found) = last.as_ref().filter(|found| found.ended >= asked) {
            return found.answer();
        }
        let trouble = match look(pool, deadline).await {
            Ok(()) => None,
            Err(StoreError::Unavailable { reason, .. }) => Some(reason),
            Err(StoreError::Closed) => return Err(StoreError::Closed),
            Err(error) => Some(error.to_string().into()),
        };
        tell(last.as_ref().and_then(|found| found.trouble.as_deref()), trouble.as_deref());
        let found = Found { ended: Instant::now(), trouble };
        let answer = found.answer();
        *last = Some(found);
        answer
    }
}

impl Found {
    fn answer(&self) -> Result<(), StoreError> {
        self.trouble.clone().map_or(Ok(()), |reason| Err(unavailable(reason)))
    }
}

/// Says in the log when things go wrong and when they are well again, not each time that somebody asks.
fn tell(before: Option<&str>, now: Option<&str>) {
    match (before, now) {
        (None, Some(reason)) => tracing::warn!(reason, "the store is not ready"),
        (Some(_), None) => tracing::info!("the store is ready again"),
        _ => {}
    }
}

async fn look(pool: &Pool, deadline: Instant) -> Result<(), StoreError> {
    let half = deadline.saturating_duration_since(Instant::now()) / 2;
    let conn = pool.get_within(half, deadline).await?;
    // What is refused here is thrown away with its connection: the next one may lead to another server.
    conn.within(async { judge(conn.db()?).await }).await
}

async fn judge(db: Db<'_>) -> Result<(), StoreError> {
    let row = match db.find(LOOK, &[]).await {
        Err(error) if is_missing(&error) => return Err(unavailable(NO_TABLES)),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            return Err(unavailable(NO_RIGHTS));
        }
        found => found.doing(DOING)?,
    };
    let says = |row: &Row, column: usize| row.try_get::<_, bool>(column).doing(DOING);
    let Some(row) = row else { return Err(slow()) };
    if says(&row, 0)? {
        return Err(unavailable(STANDBY));
    }
    if says(&row, 1)? {
        return Err(unavailable(READ_ONLY));
    }
    if says(&row, 2)? { Ok(()) } else { Err(unavailable(NO_RIGHTS)) }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}
