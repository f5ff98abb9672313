//! Where an upgrade's changes go: into the one transaction that the file's writer holds.

use membrane_core::checkpoint::Checkpoint;
use membrane_core::history::History;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_store::kgents::{OldRow, Sink, StoredTurn};
use membrane_store::{Change, Receipt, StoreError};
use rusqlite::Connection;

use crate::apply::{self, Prepared, Telling};
use crate::read;

/// How many turns are read at once.
const PAGE: u64 = 1000;

/// The transaction.
pub(super) struct UpgradeSink<'conn> {
    conn: &'conn Connection,
}

impl<'conn> UpgradeSink<'conn> {
    /// `conn` has begun it.
    pub(super) fn new(conn: &'conn Connection) -> Self {
        Self { conn }
    }
}

impl Sink for UpgradeSink<'_> {
    fn commit(&mut self, change: Change) -> Result<Receipt, StoreError> {
        // Whatever fails ends the upgrade, and the transaction with it.
        apply::apply(self.conn, &Prepared::new(change)?, Telling::Nothing).map(|applied| applied.receipt)
    }

    fn find_session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        read::sessions::find(self.conn, id)
    }

    fn has_old_row(&mut self, _row: &OldRow) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn find_history(&mut self, id: HistoryId) -> Result<Option<History>, StoreError> {
        read::histories::find(self.conn, id)
    }

    fn list_digests(&mut self, id: &SessionId) -> Result<Vec<StoredTurn>, StoreError> {
        let Some(session) = self.find_session(id)? else { return Ok(Vec::new()) };
        let mut digests = Vec::new();
        let mut from = 0;
        while from < session.turn_count() {
            for kept in read::turns::load(self.conn, session.cut, from..from.saturating_add(PAGE))? {
                digests.push(StoredTurn::of(&kept.turn));
            }
            from = from.saturating_add(PAGE);
        }
        Ok(digests)
    }

    fn list_checkpoints(&mut self, id: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        read::checkpoints::list(self.conn, id)
    }
}
