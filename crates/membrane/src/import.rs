//! Old data into the keep: the loader is synchronous and the store is not, so it runs on a thread of its own.
//!
//! What old values mean is decided in [`membrane_store::kgents`]; what old files look like, where they are read.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use membrane_core::checkpoint::Checkpoint;
use membrane_core::history::History;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_store::kgents::{LoadError, LoadOptions, OldRow, Report, Sink, Source, StoredTurn, load};
use membrane_store::{Change, Receipt, Store, StoreError};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::chat::Chat;

/// How many turns, or values that are kept aside, are read at a time.
const PAGE: u32 = 256;

impl Chat {
    /// Takes in everything that `source` holds. `watch` is told from time to time how far it is.
    ///
    /// Each session's turns go into changes of their own, durable one by one, and what is there already is recognised:
    /// after a failure, importing the same again goes on where it ended. Importing twice changes nothing.
    ///
    /// # Errors
    /// [`LoadError`]: the old data cannot be read on, or the keep did not take something.
    ///
    /// # Cancel safety
    /// After the future was dropped nothing more is written; what was written stays.
    pub async fn import(
        &self,
        mut source: Box<dyn Source + Send>,
        options: LoadOptions,
        mut watch: Box<dyn FnMut(&Report) + Send>,
    ) -> Result<Report, LoadError> {
        let alive = Arc::new(());
        let mut sink = StoreSink {
            store: self.shared_store(),
            runtime: Handle::current(),
            alive: Arc::downgrade(&alive),
            kept: None,
        };
        let loading =
            tokio::task::spawn_blocking(move || load(&mut *source, &mut sink, &options, &mut *watch));
        let loaded = loading.await;
        drop(alive);
        match loaded {
            Ok(loaded) => loaded,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => {
                    Err(LoadError::Sink { what: "the old data".to_owned(), source: StoreError::Closed })
                }
            },
        }
    }
}

/// Carries changes out in a store.
struct StoreSink {
    store: Arc<dyn Store>,
    runtime: Handle,
    /// Gone when nobody waits for the end any more.
    alive: Weak<()>,
    /// What is kept aside for the session that was last asked about.
    kept: Option<Kept>,
}

/// Digests of what is kept aside for a session.
struct Kept {
    session: Option<String>,
    digests: HashSet<[u8; 32]>,
}

impl StoreSink {
    fn find_kept(&self, session: Option<&str>) -> Result<HashSet<[u8; 32]>, StoreError> {
        let id = session.map(SessionId::from_stored);
        let mut digests = HashSet::new();
        for offset in (0..).step_by(PAGE as usize) {
            let page = self.runtime.block_on(self.store.list_old_rows(id.as_ref(), offset, PAGE))?;
            digests.extend(page.iter().map(row_digest));
            if page.len() < PAGE as usize {
                break;
            }
        }
        Ok(digests)
    }
}

impl Sink for StoreSink {
    fn commit(&mut self, change: Change) -> Result<Receipt, StoreError> {
        if self.alive.strong_count() == 0 {
            return Err(StoreError::Closed);
        }
        self.runtime.block_on(self.store.commit(change))
    }

    fn find_session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.runtime.block_on(self.store.find_session(id))
    }

    fn has_old_row(&mut self, row: &OldRow) -> Result<bool, StoreError> {
        let kept = match self.kept.take().filter(|kept| kept.session == row.session) {
            Some(kept) => kept,
            None => Kept { session: row.session.clone(), digests: self.find_kept(row.session.as_deref())? },
        };
        // Whoever asks writes it if it is not there.
        Ok(!self.kept.insert(kept).digests.insert(row_digest(row)))
    }

    fn find_history(&mut self, id: HistoryId) -> Result<Option<History>, StoreError> {
        self.runtime.block_on(self.store.find_history(id))
    }

    fn list_digests(&mut self, id: &SessionId) -> Result<Vec<StoredTurn>, StoreError> {
        let mut digests = Vec::new();
        for from in (0..).step_by(PAGE as usize) {
            let range = from..from + u64::from(PAGE);
            let Some(thread) = self.runtime.block_on(self.store.load_thread(id, range))? else { break };
            let turns = thread.turns.iter().map(|kept| &kept.turn);
            digests.extend(turns.map(StoredTurn::of));
            if thread.turns.len() < PAGE as usize {
                break;
            }
        }
        Ok(digests)
    }

    fn list_checkpoints(&mut self, id: &SessionId) -> Result<Vec<Checkpoint>, StoreError> {
        self.runtime.block_on(self.store.list_checkpoints(id))
    }
}

fn row_digest(row: &OldRow) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [&row.source, &row.row, &row.value, &row.reason] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}
