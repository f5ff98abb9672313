//! A session as a client shows it: its record, its newest turns, and the turn that is under way.

use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::turn::KeptTurn;
use membrane_store::Thread;

use crate::chat::Chat;
use crate::error::ChatError;
use crate::runs::PendingTurn;

/// How often reading starts again because a turn began or ended while it was read.
const MAX_READS: u32 = 16;

/// A session, its newest turns and what is under way, which fit each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The session.
    pub session: Session,
    /// Its newest turns, in order.
    pub turns: Vec<KeptTurn>,
    /// The turn under way.
    pub pending: Option<PendingTurn>,
}

impl Chat {
    /// Finds a session with its newest `n_turns` turns and what is under way.
    pub async fn snapshot(&self, id: &SessionId, n_turns: u64) -> Result<Option<Snapshot>, ChatError> {
        let mut snapshot = None;
        for _ in 0..MAX_READS {
            let Some(Thread { session, turns }) = self.load_newest(id, n_turns).await? else {
                return Ok(None);
            };
            let pending = self.find_pending(&session).await?;
            let fits = pending
                .as_ref()
                .map_or(session.state == State::Idle, |pending| pending.turn_number == session.turn_count());
            snapshot = Some(Snapshot { session, turns, pending });
            if fits {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(snapshot)
    }

    /// Most sessions are short and need one read; a longer one tells its length in the first.
    async fn load_newest(&self, id: &SessionId, n_turns: u64) -> Result<Option<Thread>, ChatError> {
        let Some(thread) = self.store().load_thread(id, 0..n_turns).await? else { return Ok(None) };
        let turn_count = thread.session.turn_count();
        if n_turns == 0 || turn_count <= n_turns {
            return Ok(Some(thread));
        }
        let newest = self.store().load_thread(id, turn_count - n_turns..u64::MAX).await?;
        Ok(newest.map(|mut thread| {
            // Some may have been added meanwhile.
            let n_turns = usize::try_from(n_turns).unwrap_or(usize::MAX);
            thread.turns.drain(..thread.turns.len().saturating_sub(n_turns));
            thread
        }))
    }
}
