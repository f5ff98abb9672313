//! Turns, as one session holds them.

use membrane::core::evidence::{Evidence, LegacyTotals, Standing, is_flipped};
use membrane::{
    Consent, FinishedTurn, Item, Json, KeptTurn, Message, Session, Signal, Timestamp, ToolCall, ToolEffect,
    ToolUse, Turn,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Raw, Shown};

/// A finished turn.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Turn)]
pub struct TurnView<'a> {
    id: &'a str,
    /// Counts from 0.
    turn_number: u64,
    /// `complete`, `interrupted` or `failed`.
    status: &'static str,
    user_message: MessageView<'a>,
    assistant_response: MessageView<'a>,
    tools_used: Vec<ToolView<'a>>,
    #[schema(value_type = Vec<Object>)]
    portal_emissions: OrEmptyList<'a>,
    evidence_delta: Delta,
    /// The session's confidence after this turn.
    confidence: f64,
    signals: Vec<SignalView<'a>>,
    #[schema(required)]
    model: Option<&'a str>,
    #[schema(required, value_type = Option<Object>)]
    usage: Option<Raw<'a>>,
    #[schema(required)]
    finish_reason: Option<&'a str>,
    #[schema(required)]
    reasoning: Option<String>,
    #[schema(required)]
    error: Option<ErrorView<'a>>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Shown<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    completed_at: Shown<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
struct MessageView<'a> {
    role: &'static str,
    content: &'a str,
    #[schema(value_type = Vec<Object>)]
    mentions: OrEmptyList<'a>,
    /// `required`, `preserved` or `droppable`.
    linearity_tag: &'static str,
}

/// A tool that was used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolUse)]
pub struct ToolView<'a> {
    call_id: &'a str,
    name: &'a str,
    #[schema(value_type = serde_json::Value)]
    input: Raw<'a>,
    #[schema(value_type = serde_json::Value)]
    output: Raw<'a>,
    success: bool,
    duration_ms: f64,
    /// `read`, `write` or `destructive`; left out if nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    /// Why it did not work; left out if there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// Who allowed it; left out where nobody was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<ConsentView<'a>>,
}

/// Who allowed or refused a tool's use.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
struct ConsentView<'a> {
    /// `answered` (by handing in the result), `approved` or `denied`.
    kind: &'static str,
    by: &'a str,
    #[schema(required)]
    reason: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    at: Shown<Timestamp>,
}

/// A call of a tool that waits for its result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolCall)]
pub struct CallView<'a> {
    call_id: &'a str,
    name: &'a str,
    #[schema(value_type = serde_json::Value)]
    input: Raw<'a>,
    /// `read`, `write` or `destructive`. A destructive one is to be approved before its result is taken.
    effect: &'static str,
    #[schema(required)]
    consent: Option<ConsentView<'a>>,
    #[schema(value_type = String, format = DateTime)]
    called_at: Shown<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EvidenceDelta)]
struct Delta {
    tools_executed: usize,
    tools_succeeded: usize,
    confidence_change: f64,
}

/// What a user said of a turn.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Signal)]
pub struct SignalView<'a> {
    /// `positive`, `negative` or `correction`.
    signal: &'static str,
    #[schema(required)]
    comment: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown<Timestamp>,
}

/// Why a turn did not end well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnError)]
struct ErrorView<'a> {
    code: &'a str,
    message: &'a str,
}

/// A JSON list, empty where there is none.
#[derive(Debug, Clone, Copy)]
struct OrEmptyList<'a>(Option<&'a Json>);

impl Serialize for OrEmptyList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(list) => Raw(list).serialize(serializer),
            None => [(); 0].serialize(serializer),
        }
    }
}

/// Some of a session's turns.
#[derive(Debug, Serialize, ToSchema)]
pub struct TurnPage<'a> {
    /// In order.
    pub turns: Vec<TurnView<'a>>,
    /// How many the session has.
    pub total: u64,
    /// The number of the first one that was asked for.
    pub from: u64,
}

/// A turn that was loaded with its session.
pub fn turn<'a>(session: &Session, kept: &'a KeptTurn) -> TurnView<'a> {
    let standing = Standing { totals: kept.totals, flipped: kept.flipped, legacy: session.legacy };
    view(kept.number, &kept.turn, standing, &kept.signals)
}

/// A turn whose run has just ended.
pub fn finished_turn(finished: &FinishedTurn) -> TurnView<'_> {
    view(finished.number, &finished.turn, finished.standing, &[])
}

fn view<'a>(number: u64, turn: &'a Turn, standing: Standing, said: &'a [Signal]) -> TurnView<'a> {
    let tools: Vec<ToolView<'a>> = turn.tools().map(tool).collect();
    let (before, after) = (before(turn, standing, said), standing.evidence());
    TurnView {
        id: turn.id.as_str(),
        turn_number: number,
        status: turn.status.as_str(),
        user_message: message("user", &turn.user),
        assistant_response: message("assistant", &turn.assistant),
        portal_emissions: OrEmptyList(turn.portal_emissions.as_ref()),
        evidence_delta: Delta {
            tools_executed: tools.len(),
            tools_succeeded: tools.iter().filter(|tool| tool.success).count(),
            confidence_change: after.confidence() - before.confidence(),
        },
        tools_used: tools,
        confidence: after.confidence(),
        signals: signals(said),
        model: turn.model.as_deref(),
        usage: turn.usage.as_ref().map(Raw),
        finish_reason: turn.finish_reason.as_deref(),
        reasoning: reasoning(turn),
        error: turn.error.as_ref().map(|error| ErrorView { code: &error.code, message: &error.message }),
        started_at: Shown(turn.started_at),
        completed_at: Shown(turn.completed_at),
    }
}

/// A tool that was used.
pub fn tool(tool: &ToolUse) -> ToolView<'_> {
    ToolView {
        call_id: &tool.call_id,
        name: &tool.name,
        input: Raw(&tool.input),
        output: Raw(&tool.output),
        success: tool.success,
        duration_ms: tool.duration_ms,
        effect: tool.effect.map(ToolEffect::as_str),
        error: tool.error.as_deref(),
        consent: tool.consent.as_ref().map(consent),
    }
}

fn consent(consent: &Consent) -> ConsentView<'_> {
    ConsentView {
        kind: consent.kind.as_str(),
        by: &consent.by,
        reason: consent.reason.as_deref(),
        at: Shown(consent.at),
    }
}

/// A call, and what was said of it.
pub fn call<'a>(call: &'a ToolCall, said: Option<&'a Consent>) -> CallView<'a> {
    CallView {
        call_id: &call.call_id,
        name: &call.name,
        input: Raw(&call.input),
        effect: call.effect.as_str(),
        consent: said.map(consent),
        called_at: Shown(call.called_at),
    }
}

/// What was said of a turn.
pub fn signals(signals: &[Signal]) -> Vec<SignalView<'_>> {
    signals
        .iter()
        .map(|signal| SignalView {
            signal: signal.kind.as_str(),
            comment: signal.comment.as_deref(),
            created_at: Shown(signal.created_at),
        })
        .collect()
}

fn reasoning(turn: &Turn) -> Option<String> {
    let thoughts: Vec<&str> = turn
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Reasoning(text) => Some(text.as_str()),
            Item::Tool(_) | Item::Message(_) | Item::Other(_) => None,
        })
        .collect();
    (!thoughts.is_empty()).then(|| thoughts.concat())
}

/// The session's evidence before a turn, by what it was after it.
fn before(turn: &Turn, after: Standing, signals: &[Signal]) -> Evidence {
    let latest = signals.last().map(|signal| signal.kind);
    let observed = turn.observes_success();
    let own_flip = i64::from(is_flipped(observed, latest));
    let (succeeded, failed) = (i64::from(observed == Some(true)), i64::from(observed == Some(false)));
    let mut totals = after.totals;
    totals.succeeded -= succeeded;
    totals.failed -= failed;
    let legacy: LegacyTotals = after.legacy;
    Standing { totals, flipped: after.flipped - own_flip, legacy }.evidence()
}

fn message<'a>(role: &'static str, message: &'a Message) -> MessageView<'a> {
    MessageView {
        role,
        content: &message.content,
        mentions: OrEmptyList(message.mentions.as_ref()),
        linearity_tag: message.linearity.as_str(),
    }
}
