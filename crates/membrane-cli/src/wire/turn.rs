//! A turn as one session holds it.

use membrane::core::evidence::{Evidence, is_flipped};
use membrane::{Item, Json, KeptTurn, Message, Session, Signal, Turn};
use serde::Serialize;
use serde_json::{Value, json};

use super::Raw;

#[derive(Serialize)]
pub(crate) struct TurnView<'a> {
    id: &'a str,
    turn_number: u64,
    status: &'static str,
    user_message: MessageView<'a>,
    assistant_response: MessageView<'a>,
    tools_used: Vec<ToolView<'a>>,
    portal_emissions: OrEmptyList<'a>,
    evidence_delta: Delta,
    confidence: f64,
    signals: Vec<SignalView<'a>>,
    model: Option<&'a str>,
    usage: Option<Raw<'a>>,
    finish_reason: Option<&'a str>,
    reasoning: Option<String>,
    error: Option<Value>,
    started_at: String,
    completed_at: String,
}

#[derive(Serialize)]
struct MessageView<'a> {
    role: &'static str,
    content: &'a str,
    mentions: OrEmptyList<'a>,
    linearity_tag: &'static str,
}

#[derive(Serialize)]
struct ToolView<'a> {
    call_id: &'a str,
    name: &'a str,
    input: Raw<'a>,
    output: Raw<'a>,
    success: bool,
    duration_ms: f64,
}

#[derive(Serialize)]
struct Delta {
    tools_executed: usize,
    tools_succeeded: usize,
    confidence_change: f64,
}

#[derive(Serialize)]
pub(crate) struct SignalView<'a> {
    signal: &'static str,
    comment: Option<&'a str>,
    created_at: String,
}

/// A JSON list, empty where there is none.
struct OrEmptyList<'a>(Option<&'a Json>);

impl Serialize for OrEmptyList<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(list) => Raw(list).serialize(serializer),
            None => [(); 0].serialize(serializer),
        }
    }
}

/// A turn as one session holds it.
pub(crate) fn turn<'a>(session: &Session, kept: &'a KeptTurn) -> TurnView<'a> {
    let turn = &kept.turn;
    let reasoning: Vec<&str> = turn
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Reasoning(text) => Some(text.as_str()),
            Item::Tool(_) | Item::Message(_) | Item::Other(_) => None,
        })
        .collect();
    let tools: Vec<ToolView<'a>> = turn
        .tools()
        .map(|tool| ToolView {
            call_id: &tool.call_id,
            name: &tool.name,
            input: Raw(&tool.input),
            output: Raw(&tool.output),
            success: tool.success,
            duration_ms: tool.duration_ms,
        })
        .collect();
    let (before, after) = around(session, kept);
    TurnView {
        id: turn.id.as_str(),
        turn_number: kept.number,
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
        signals: signals(&kept.signals),
        model: turn.model.as_deref(),
        usage: turn.usage.as_ref().map(Raw),
        finish_reason: turn.finish_reason.as_deref(),
        reasoning: (!reasoning.is_empty()).then(|| reasoning.concat()),
        error: turn.error.as_ref().map(|error| json!({"code": error.code, "message": error.message})),
        started_at: turn.started_at.to_string(),
        completed_at: turn.completed_at.to_string(),
    }
}

pub(crate) fn signals(signals: &[Signal]) -> Vec<SignalView<'_>> {
    signals
        .iter()
        .map(|signal| SignalView {
            signal: signal.kind.as_str(),
            comment: signal.comment.as_deref(),
            created_at: signal.created_at.to_string(),
        })
        .collect()
}

/// The session's evidence before and after a turn.
fn around(session: &Session, kept: &KeptTurn) -> (Evidence, Evidence) {
    let turn: &Turn = &kept.turn;
    let latest = kept.signals.last().map(|signal| signal.kind);
    let own_flip = i64::from(is_flipped(turn.observes_success(), latest));
    let before = Evidence::derive(kept.totals - turn.measures(), kept.flipped - own_flip, session.legacy);
    (before, Evidence::derive(kept.totals, kept.flipped, session.legacy))
}

fn message<'a>(role: &'static str, message: &'a Message) -> MessageView<'a> {
    MessageView {
        role,
        content: &message.content,
        mentions: OrEmptyList(message.mentions.as_ref()),
        linearity_tag: message.linearity.as_str(),
    }
}
