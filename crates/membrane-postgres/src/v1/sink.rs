//! Where what is read goes: into the one transaction in which it is read.

use std::sync::Weak;

use membrane_core::checkpoint::Checkpoint;
use membrane_core::history::History;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_store::kgents::{OldRow, Sink, StoredTurn};
use membrane_store::{Change, Receipt, StoreError};
use tokio::runtime::Handle;

use crate::apply::{self, Numbers, Prepared};
use crate::db::Db;
use crate::pool::Conn;
use crate::read;

/// How many turns are read at once.
const PAGE: u64 = 1000;

/// The connection, from a thread that may wait: what loads old data is synchronous.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) conn: &'a Conn,
    pub(super) runtime: &'a Handle,
    /// Gone when nobody waits for the end any more.
    pub(super) alive: &'a Weak<()>,
}

impl<'a> Line<'a> {
    /// Waits for some work to be done.
    pub(super) fn wait<T>(
        &self,
        work: impl AsyncFnOnce(Db<'a>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.conn.db()?;
        self.runtime.block_on(self.conn.at_leisure(work(db)))
    }
}

/// The transaction.
pub(super) struct UpgradeSink<'a> {
    line: Line<'a>,
    numbers: Numbers,
}

impl<'a> UpgradeSink<'a> {
    /// It has begun.
    pub(super) fn new(line: Line<'a>) -> Self {
        Self { line, numbers: Numbers::default() }
    }
}

impl Sink for UpgradeSink<'_> {
    fn commit(&mut self, change: Change) -> Result<Receipt, StoreError> {
        if self.line.alive.strong_count() == 0 {
            return Err(StoreError::Closed);
        }
        // Whatever fails ends the upgrade, and the transaction with it.
        let prepared = Prepared::new(change)?;
        self.line.wait(async |db| apply::apply_within(db, &self.numbers, &prepared).await)
    }

    fn find_session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.line.wait(async |db| read::sessions::find(db, id).await)
    }

    fn has_old_row(&mut self, _row: &OldRow) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn find_history(&mut self, id: HistoryId) -> Result<Option<History>, StoreError> {
        self.line.wait(async |db| read::histories::find(db, id).await)
    }

    fn list_digests(&mut self, id: &SessionId) -> Result<Vec<StoredTurn>, StoreError> {
        let Some(session) = self.find_session(id)? else { return Ok(Vec::new()) };
        let mut digests = Vec::new();
        let mut from = 0;
        while from < session.turn_count() {
            let range = from..from.saturating_add(PAGE);
            let turns = self.line.wait(async |db| read::turns::load_within(db, session.cut, range).await)?;
            digests.extend(turns.iter().map(|kept| StoredTurn::of(&kept.turn)));
            from = from.saturating_add(PAGE);
        }
        Ok(digests)
    }

    fn list_checkpoints(&mut self, id: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        self.line.wait(async |db| read::checkpoints::list(db, id).await)
    }
}
