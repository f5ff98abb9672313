//! What is under way on a session, as its readers see it.

use membrane_core::run::{OpenCall, Transcript};
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::time::Timestamp;

use crate::chat::Chat;
use crate::error::ChatError;

/// A turn under way, as its session shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingTurn {
    /// The number that the turn will have.
    pub turn_number: u64,
    /// What the user said.
    pub user_message: String,
    /// What has arrived of the answer.
    pub partial: String,
    /// The calls of tools for whose results it waits.
    pub calls: Vec<OpenCall>,
    /// When the message came in.
    pub started_at: Timestamp,
}

impl Chat {
    /// What is under way on a session, if anything is.
    pub async fn find_pending(&self, session: &Session) -> Result<Option<PendingTurn>, ChatError> {
        if session.state == State::Idle {
            return Ok(None);
        }
        if let Some(live) = self.runs().find_open(&session.id) {
            return Ok(Some(PendingTurn {
                turn_number: live.turn_number(),
                user_message: live.run().user.content.clone(),
                partial: live.text(),
                calls: Vec::new(),
                started_at: live.run().started_at,
            }));
        }
        let Some(run) = self.store().find_run(&session.id).await? else { return Ok(None) };
        let pieces = self.store().list_pieces(&run.id, 0).await?;
        Ok(Some(PendingTurn {
            turn_number: session.turn_count(),
            user_message: run.user.content,
            partial: Transcript::of(&pieces).text,
            calls: Transcript::open_calls(&pieces),
            started_at: run.started_at,
        }))
    }
}
