//! Runs: a turn that is not finished yet. Outside segments, counts, forks, merges and checkpoints.

use crate::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use crate::json::Json;
use crate::time::Timestamp;
use crate::tool::{Consent, ToolCall, ToolUse};
use crate::turn::{Item, Message, Turn, TurnError, TurnStatus};
use crate::usage;
use crate::words::words;

mod shape;
mod transcript;

pub use shape::{EndedRun, RunShape};
pub use transcript::{OpenCall, Step, Transcript};

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
    /// The session's version when the run began. The store writes it, whatever is given.
    pub version: u64,
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
    /// The model calls a tool.
    Call(ToolCall),
    /// The model has called, and waits.
    Pause(Pause),
    /// Somebody allowed or refused a call.
    Consent {
        /// The call.
        call_id: String,
        /// What was said.
        consent: Consent,
    },
    /// A tool was used.
    Tool(ToolUse),
}

/// What is known of a part of an answer that ended with tool calls.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pause {
    /// What it cost.
    pub usage: Option<Json>,
    /// What the provider wants to be given back unchanged when the answer goes on.
    pub carry: Option<Json>,
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
    /// What the last part of the answer cost.
    pub usage: Option<Json>,
}

impl RunEnd {
    /// The answer came to its end.
    pub fn complete() -> Self {
        Self {
            status: TurnStatus::Complete,
            error: None,
            finish_reason: Some("stop".to_owned()),
            usage: None,
        }
    }

    /// The model gave no answer, with the reason's stable word and text.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self { status: TurnStatus::Failed, ..Self::interrupted(code, message) }
    }

    /// Cut off, with the reason's stable word and text.
    pub fn interrupted(code: &str, message: impl Into<String>) -> Self {
        let error = TurnError { code: code.to_owned(), message: message.into() };
        Self { status: TurnStatus::Interrupted, error: Some(error), finish_reason: None, usage: None }
    }
}

impl Run {
    /// The finished turn: what had arrived, in order, and how it ended. The answer is all the text; where tools were
    /// called, what the model said before each call is also an item of its own.
    pub fn finish<'a>(
        &self,
        pieces: impl IntoIterator<Item = &'a Piece>,
        end: RunEnd,
        completed_at: Timestamp,
    ) -> Turn {
        let Transcript { steps, last, text, usage } = Transcript::of(pieces);
        let mut items = Vec::new();
        for step in steps {
            items.extend(step.into_items());
        }
        items.extend(last.thoughts.into_iter().map(Item::Reasoning));
        items.extend(last.tools.into_iter().map(Item::Tool));
        Turn {
            id: self.turn_id.clone(),
            status: end.status,
            user: self.user.clone(),
            assistant: Message::new(text),
            items,
            model: self.model.clone(),
            usage: usage::add(usage, end.usage),
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
            version: 1,
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
