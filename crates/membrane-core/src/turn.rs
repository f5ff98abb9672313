//! Turns: one exchange, its items, what it observes and what it adds to the running totals.
//!
//! A turn here is finished: written once, never changed. An unfinished one is a [`crate::run::Run`].

use crate::history::TurnRef;
use crate::ids::TurnId;
use crate::json::Json;
use crate::text;
use crate::time::Timestamp;
use crate::tool::ToolUse;
use crate::words::words;

words!(
    /// How a turn ended.
    TurnStatus, "turn status", "complete, interrupted, failed", {
        /// The answer came to its end.
        Complete = "complete",
        /// Cut off: cancelled, the process died, the provider hung up. What had arrived is kept.
        Interrupted = "interrupted",
        /// The model answered with an error.
        Failed = "failed",
    }
);

words!(
    /// How firmly a message stays in the model's context; a pure label here.
    Linearity, "linearity tag", "required, preserved, droppable", {
        /// Always verbatim.
        Required = "required",
        /// Kept while there is room.
        Preserved = "preserved",
        /// The first to go.
        Droppable = "droppable",
    }
);

impl Linearity {
    /// 3 for required, 2 for preserved, 1 for droppable.
    pub fn priority(self) -> u8 {
        match self {
            Self::Required => 3,
            Self::Preserved => 2,
            Self::Droppable => 1,
        }
    }
}

words!(
    /// What a user says of a turn. The latest one counts.
    SignalKind, "signal", "positive, negative, correction", {
        /// It helped.
        Positive = "positive",
        /// It did not.
        Negative = "negative",
        /// It was wrong and the user put it right.
        Correction = "correction",
    }
);

impl SignalKind {
    /// Whether this signal turns an observed success into a failure.
    pub fn is_against(self) -> bool {
        matches!(self, Self::Negative | Self::Correction)
    }
}

/// One signal on a turn's identity; it counts in every session that holds the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What was said.
    pub kind: SignalKind,
    /// The user's words, if any.
    pub comment: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// What one side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The text, byte for byte.
    pub content: String,
    /// A JSON list of mentions, if there are any.
    pub mentions: Option<Json>,
    /// How firmly it stays in the context.
    pub linearity: Linearity,
}

impl Message {
    /// A message without mentions, tagged `preserved`.
    pub fn new(content: impl Into<String>) -> Self {
        Self { content: content.into(), mentions: None, linearity: Linearity::Preserved }
    }
}

/// What happened between the user's message and the answer, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A tool was used.
    Tool(ToolUse),
    /// The model thought aloud.
    Reasoning(String),
    /// The assistant spoke before it went on.
    Message(Message),
    /// An item of another API, kept unchanged.
    Other(Json),
}

/// Why a turn did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnError {
    /// A stable word, such as `cancelled`.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
}

/// A finished turn's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its public name.
    pub id: TurnId,
    /// How it ended.
    pub status: TurnStatus,
    /// What the user said.
    pub user: Message,
    /// The answer, or what had arrived of it.
    pub assistant: Message,
    /// What happened in between, in order; empty in a plain chat.
    pub items: Vec<Item>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider's own token counts, unchanged.
    pub usage: Option<Json>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// What went wrong.
    pub error: Option<TurnError>,
    /// A JSON list kept for clients that know it.
    pub portal_emissions: Option<Json>,
    /// Whether it comes from an old file that knew the session's total alone: what the turn showed, if anything, is
    /// in a legacy set of its history, and the turn itself observes nothing.
    pub is_legacy: bool,
    /// When the user's message came in.
    pub started_at: Timestamp,
    /// When the turn was finished.
    pub completed_at: Timestamp,
}

impl Turn {
    /// A complete plain turn.
    pub fn plain(id: TurnId, user: impl Into<String>, assistant: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id,
            status: TurnStatus::Complete,
            user: Message::new(user),
            assistant: Message::new(assistant),
            items: Vec::new(),
            model: None,
            usage: None,
            finish_reason: None,
            error: None,
            portal_emissions: None,
            is_legacy: false,
            started_at: at,
            completed_at: at,
        }
    }

    /// The tools it used, in order.
    pub fn tools(&self) -> impl Iterator<Item = &ToolUse> {
        self.items.iter().filter_map(|item| match item {
            Item::Tool(tool) => Some(tool),
            _ => None,
        })
    }

    /// What it observes before any signal: `None` unless complete, else whether no tool failed.
    pub fn observes_success(&self) -> Option<bool> {
        (self.status == TurnStatus::Complete && !self.is_legacy)
            .then(|| self.tools().all(|tool| tool.success))
    }

    /// What it adds to the running totals.
    pub fn measures(&self) -> Totals {
        let (user, reply) = (self.user.content.as_str(), self.assistant.content.as_str());
        let observed = self.observes_success();
        Totals {
            succeeded: i64::from(observed == Some(true)),
            failed: i64::from(observed == Some(false)),
            tool_calls: i64::try_from(self.tools().count()).unwrap_or(i64::MAX),
            tokens: text::estimate_tokens(user, reply),
            chars: text::count_chars(user) + text::count_chars(reply),
            code_blocks: text::count_code_blocks(user) + text::count_code_blocks(reply),
        }
    }
}

/// Running totals over turns. Every turn row carries them, so that no cut needs a sum over turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Complete turns in which no tool failed.
    pub succeeded: i64,
    /// Complete turns in which a tool failed.
    pub failed: i64,
    /// Uses of tools.
    pub tool_calls: i64,
    /// Estimated tokens.
    pub tokens: i64,
    /// Code points.
    pub chars: i64,
    /// Fenced code blocks.
    pub code_blocks: i64,
}

impl Totals {
    /// Nothing yet.
    pub const ZERO: Self =
        Self { succeeded: 0, failed: 0, tool_calls: 0, tokens: 0, chars: 0, code_blocks: 0 };

    fn zip(self, other: Self, f: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            succeeded: f(self.succeeded, other.succeeded),
            failed: f(self.failed, other.failed),
            tool_calls: f(self.tool_calls, other.tool_calls),
            tokens: f(self.tokens, other.tokens),
            chars: f(self.chars, other.chars),
            code_blocks: f(self.code_blocks, other.code_blocks),
        }
    }
}

impl std::ops::Add for Totals {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }
}

impl std::ops::Sub for Totals {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, i64::saturating_sub)
    }
}

/// A finished turn as a session holds it: content, identity, place and signals.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptTurn {
    /// Its identity.
    pub at: TurnRef,
    /// Its number in the session it was loaded through, from 0.
    pub number: u64,
    /// Its place in the order of `interleave` merges.
    pub order_at: Timestamp,
    /// Its content.
    pub turn: Turn,
    /// The session's totals after it, signals aside.
    pub totals: Totals,
    /// How many successes up to and including it are counted as failures because of a signal.
    pub flipped: i64,
    /// What users said of it, oldest first.
    pub signals: Vec<Signal>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SequentialIds;

    fn turn(success: &[bool]) -> Turn {
        let ids = SequentialIds::default();
        let mut turn = Turn::plain(TurnId::generate(&ids), "hi", "```x```", Timestamp::from_micros(0));
        turn.items = success
            .iter()
            .map(|&success| {
                Item::Tool(ToolUse { success, duration_ms: 1.5, ..ToolUse::new("c", "t", Json::null()) })
            })
            .collect();
        turn
    }

    #[test]
    fn a_complete_turn_is_one_observation_whatever_its_tools() {
        assert_eq!(turn(&[]).measures().succeeded, 1);
        assert_eq!(turn(&[true, true]).measures().succeeded, 1);
        let failed = turn(&[true, false, false]).measures();
        assert_eq!((failed.succeeded, failed.failed, failed.tool_calls), (0, 1, 3));
    }

    #[test]
    fn an_interrupted_turn_observes_nothing_but_counts_its_tokens() {
        let mut turn = turn(&[false]);
        turn.status = TurnStatus::Interrupted;
        let measures = turn.measures();
        assert_eq!((measures.succeeded, measures.failed), (0, 0));
        assert_eq!((measures.tokens, measures.chars, measures.code_blocks), (2, 9, 1));
    }

    #[test]
    fn unknown_words_are_refused_with_the_known_ones() {
        let error = SignalKind::parse("meh").unwrap_err().to_string();
        assert!(error.contains("positive, negative, correction") && error.contains("meh"), "{error}");
    }
}
