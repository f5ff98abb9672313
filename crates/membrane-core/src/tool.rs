//! Tools: what a model may call, what it called, what came of it, and who allowed it.
//!
//! Tools run at the client, never here. How far a use of one must be allowed follows from its effect.

use crate::json::Json;
use crate::time::Timestamp;
use crate::words::words;

words!(
    /// What a tool does to the world, which decides who must allow its use.
    ToolEffect, "tool effect", "read, write, destructive", {
        /// It only looks: nobody is asked.
        Read = "read",
        /// It changes something that can be changed back: whoever hands in its result has seen it, and that is recorded.
        Write = "write",
        /// What it does cannot be undone: it is approved before its result is taken.
        Destructive = "destructive",
    }
);

words!(
    /// How somebody allowed or refused the use of a tool.
    ConsentKind, "kind of consent", "answered, approved, denied", {
        /// By handing in the result of a tool that changes things.
        Answered = "answered",
        /// By saying yes.
        Approved = "approved",
        /// By saying no.
        Denied = "denied",
    }
);

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSpec {
    /// What it is called.
    pub name: String,
    /// What it is for, in words for the model.
    pub description: Option<String>,
    /// A JSON Schema of what it is given.
    pub parameters: Option<Json>,
    /// What it does to the world.
    pub effect: ToolEffect,
}

/// A model's wish to use a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call within its turn.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// What it is given.
    pub input: Json,
    /// What the tool does to the world; a write if nobody said.
    pub effect: ToolEffect,
    /// When the model called.
    pub called_at: Timestamp,
}

/// Who allowed or refused a use of a tool, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// How.
    pub kind: ConsentKind,
    /// Who, in the client's word.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Consent {
    /// Whether the tool may be used.
    pub fn is_given(&self) -> bool {
        self.kind != ConsentKind::Denied
    }
}

/// One use of a tool, call and result together.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// Names the call within its turn.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// What it was given.
    pub input: Json,
    /// What it answered.
    pub output: Json,
    /// Whether it worked.
    pub success: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// What the tool does to the world, if that was known.
    pub effect: Option<ToolEffect>,
    /// Why it did not work.
    pub error: Option<String>,
    /// Who allowed it; nobody was asked about a tool that only looks.
    pub consent: Option<Consent>,
}

impl ToolUse {
    /// A use that worked and of which nothing else is known.
    pub fn new(call_id: impl Into<String>, name: impl Into<String>, input: Json) -> Self {
        Self {
            call_id: call_id.into(),
            name: name.into(),
            input,
            output: Json::null(),
            success: true,
            duration_ms: 0.0,
            effect: None,
            error: None,
            consent: None,
        }
    }

    /// A call that nobody answered before its turn ended.
    pub fn unanswered(call: &ToolCall, consent: Option<Consent>) -> Self {
        Self {
            success: false,
            effect: Some(call.effect),
            error: Some("the turn ended before the tool was used".to_owned()),
            consent,
            ..Self::new(call.call_id.clone(), call.name.clone(), call.input.clone())
        }
    }
}
