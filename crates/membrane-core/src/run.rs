//! Runs: a turn that is not finished yet. Outside segments, counts, forks, merges and checkpoints.

use crate::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use crate::time::Timestamp;
use crate::turn::{Item, Message, ToolUse, Turn, TurnError, TurnStatus};
use crate::words::words;

words!(
    /// How far a run is.
    RunPhase, "run phase", "running, awaiting_tool", {
        /// The model is answering; a lease is held.
        Running = "running",
        /// It waits for a tool's result, holds no lease and survives restarts.
        AwaitingTool = "awaiting_tool",
    }
);

/// Who writes a run: every write carries the token, an old one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The process that holds it.
    pub owner: InstanceId,
    /// What its writes carry.
    pub token: LeaseToken,
}

/// An unfinished turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its identifier.
    pub id: RunId,
    /// The session it is for; a session has at most one.
    pub session: SessionId,
    /// The finished turn will be called this.
    pub turn_id: TurnId,
    /// What the user said; durable before any model is called.
    pub user: Message,
    /// The model that answers, if known.
    pub model: Option<String>,
    /// How far it is.
    pub phase: RunPhase,
    /// Who writes it.
    pub lease: Lease,
    /// When the user's message came in.
    pub started_at: Timestamp,
}

/// One piece of what arrived, in the run's append-only log.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Counts from 0 without gaps.
    pub seq: u64,
    /// What arrived.
    pub body: PieceBody,
}

/// What a piece holds.
#[derive(Debug, Clone, PartialEq)]
pub enum PieceBody {
    /// More of the answer.
    Text(String),
    /// More of the model's thinking.
    Reasoning(String),
    /// A tool was used.
    Tool(ToolUse),
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// What the turn becomes.
    pub status: TurnStatus,
    /// Why it did not end well.
    pub error: Option<TurnError>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
}

impl RunEnd {
    /// The answer came to its end.
    pub fn complete() -> Self {
        Self { status: TurnStatus::Complete, error: None, finish_reason: Some("stop".to_owned()) }
    }

    /// Cut off, with the reason's stable word and text.
    pub fn interrupted(code: &str, message: &str) -> Self {
        let error = TurnError { code: code.to_owned(), message: message.to_owned() };
        Self { status: TurnStatus::Interrupted, error: Some(error), finish_reason: None }
    }
}

impl Run {
    /// The finished turn: what had arrived, in order, and how it ended.
    pub fn finish<'a>(
        &self,
        pieces: impl IntoIterator<Item = &'a Piece>,
        end: RunEnd,
        completed_at: Timestamp,
    ) -> Turn {
        let mut answer = String::new();
        let mut items: Vec<Item> = Vec::new();
        for piece in pieces {
            match (&piece.body, items.last_mut()) {
                (PieceBody::Text(text), _) => answer.push_str(text),
                (PieceBody::Reasoning(text), Some(Item::Reasoning(reasoning))) => reasoning.push_str(text),
                (PieceBody::Reasoning(text), _) => items.push(Item::Reasoning(text.clone())),
                (PieceBody::Tool(tool), _) => items.push(Item::Tool(tool.clone())),
            }
        }
        Turn {
            id: self.turn_id.clone(),
            status: end.status,
            user: self.user.clone(),
            assistant: Message::new(answer),
            items,
            model: self.model.clone(),
            usage: None,
            finish_reason: end.finish_reason,
            error: end.error,
            portal_emissions: None,
            is_legacy: false,
            started_at: self.started_at,
            completed_at: completed_at.max(self.started_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SequentialIds;

    #[test]
    fn an_interrupted_run_becomes_a_turn_with_what_had_arrived() {
        let ids = SequentialIds::default();
        let at = Timestamp::from_micros(5);
        let run = Run {
            id: RunId::generate(&ids),
            session: SessionId::generate(&ids),
            turn_id: TurnId::generate(&ids),
            user: Message::new("why?"),
            model: Some("echo".into()),
            phase: RunPhase::Running,
            lease: Lease { owner: InstanceId::generate(&ids), token: LeaseToken::generate(&ids) },
            started_at: at,
        };
        let bodies = [
            PieceBody::Reasoning("hm".into()),
            PieceBody::Reasoning("m".into()),
            PieceBody::Text("Be".into()),
            PieceBody::Text("cause".into()),
        ];
        let pieces: Vec<_> = bodies.into_iter().zip(0..).map(|(body, seq)| Piece { seq, body }).collect();
        let turn = run.finish(&pieces, RunEnd::interrupted("cancelled", "stopped by the user"), at);
        assert_eq!(turn.assistant.content, "Because");
        assert_eq!(turn.items, [Item::Reasoning("hmm".into())]);
        assert_eq!((turn.status, turn.observes_success()), (TurnStatus::Interrupted, None));
        assert_eq!(turn.error.map(|error| error.code).as_deref(), Some("cancelled"));
    }
}
