//! An old turn as a turn.

use membrane_core::ids::TurnId;
use membrane_core::json::Json;
use membrane_core::text::hex;
use membrane_core::time::Timestamp;
use membrane_core::tool::ToolUse;
use membrane_core::turn::{Item, Linearity, Message, Signal, Turn, TurnStatus};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::evidence::read_delta;
use super::notes::Notes;
use crate::codec;
use crate::kgents::extras::TurnExtras;
use crate::kgents::json::repair;
use crate::kgents::old::{OldTurn, Place};
use crate::kgents::report::Oddity;

/// What is known of the session while its turns are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread {
    /// Whether the session's old total holds what turns showed that cannot say it themselves.
    pub(super) has_total: bool,
    /// What a turn's time is if it has none that can be read: the turn's before it, or the session's.
    pub(super) fallback: Timestamp,
    /// The turn's number.
    pub(super) number: u64,
}

/// A turn, and what users said of it.
pub(super) struct NewTurn {
    pub(super) turn: Turn,
    pub(super) signals: Vec<Signal>,
}

/// Reads a turn. Whatever has no place in it is kept aside.
pub(super) fn read(notes: &mut Notes<'_>, old: &OldTurn, thread: &Thread) -> NewTurn {
    let place = &old.place;
    let delta = read_delta(notes, place, old.evidence_delta_json.as_deref());
    let extras = delta.extras;
    let (started_at, completed_at) = read_times(notes, old, thread.fallback);
    let mut turn = Turn {
        id: name(notes, old, thread, extras.as_ref()),
        user: message(notes, place, "user", &old.user_message, old.user_linearity.as_deref()),
        assistant: message(
            notes,
            place,
            "assistant",
            &old.assistant_response,
            old.assistant_linearity.as_deref(),
        ),
        started_at,
        completed_at,
        ..Turn::plain(TurnId::from_stored(""), "", "", started_at)
    };
    if extras.is_none() {
        turn.items = read_tools(notes, place, old.tools_json.as_deref());
    }
    let mut list = |column, text: &Option<String>| read_list(notes, place, column, text.as_deref());
    turn.user.mentions = list("user_mentions", &old.user_mentions_json);
    turn.assistant.mentions = list("assistant_mentions", &old.assistant_mentions_json);
    turn.portal_emissions = list("portal_emissions", &old.portal_emissions_json);
    let mut signals = Vec::new();
    if let Some(extras) = extras {
        signals.clone_from(&extras.signals);
        take_extras(notes, old, &mut turn, extras);
    } else {
        let shown = turn.tools().all(|tool| tool.success);
        turn.is_legacy = thread.has_total && delta.succeeded != Some(shown);
        if turn.is_legacy || delta.has_more {
            keep_evidence(notes, old);
        }
    }
    NewTurn { turn, signals }
}

/// Keeps what cannot be derived anew.
fn keep_evidence(notes: &mut Notes<'_>, old: &OldTurn) {
    let reason = "what the old file said of the evidence, which does not follow from the turn";
    if let Some(delta) = old.evidence_delta_json.as_deref().filter(|text| !matches!(*text, "" | "null")) {
        notes.keep(&old.place, "evidence_delta_json", delta, reason);
    }
    if let Some(confidence) = old.confidence {
        notes.keep(&old.place, "confidence", &confidence.to_string(), reason);
    }
}

/// Puts what Membrane wrote beside V1's columns into the turn.
fn take_extras(notes: &mut Notes<'_>, old: &OldTurn, turn: &mut Turn, extras: TurnExtras) {
    turn.status = extras.status;
    turn.is_legacy = extras.is_legacy && extras.status == TurnStatus::Complete;
    if let Some(linearity) = extras.assistant_linearity {
        turn.assistant.linearity = linearity;
    }
    let tools_json = extras.tools_json.as_deref().or(old.tools_json.as_deref());
    let mut whole = turn.clone();
    match codec::decode_turn(&mut whole, tools_json, extras.extra_json.as_deref()) {
        Ok(()) => *turn = whole,
        Err(problem) => {
            turn.items = read_tools(notes, &old.place, tools_json);
            let text = extras.extra_json.unwrap_or_default();
            notes.set_aside(Oddity::BadJson, &old.place, "evidence_delta_json", &text, problem.to_string());
        }
    }
}

fn read_times(notes: &mut Notes<'_>, old: &OldTurn, fallback: Timestamp) -> (Timestamp, Timestamp) {
    let started = notes.time(&old.place, "started_at", old.started_at.as_deref());
    let completed = notes.time(&old.place, "completed_at", old.completed_at.as_deref());
    let started_at = started.or(completed).unwrap_or(fallback);
    (started_at, completed.unwrap_or(started_at))
}

/// The turn's id; a made-up one is the same for the same turn of the same file, so that loading it again makes the
/// same turn.
fn name(notes: &Notes<'_>, old: &OldTurn, thread: &Thread, extras: Option<&TurnExtras>) -> TurnId {
    if let Some(extras) = extras {
        return extras.id.clone();
    }
    if let Some(Ok(id)) = old.id.as_deref().map(TurnId::parse) {
        return id;
    }
    let mut hash = Sha256::new();
    for text in [&*notes.session, old.place.table, &old.place.row, &old.user_message] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(thread.number.to_be_bytes());
    let digest = hash.finalize();
    TurnId::from_stored(&format!("turn-{}", hex(digest.get(..16).unwrap_or_default())))
}

fn message(notes: &mut Notes<'_>, place: &Place, who: &str, text: &str, tag: Option<&str>) -> Message {
    let linearity = match tag.map(Linearity::parse) {
        None => Linearity::Preserved,
        Some(Ok(linearity)) => linearity,
        Some(Err(_)) => {
            let problem = "not required, preserved or droppable; read as preserved";
            let column = format!("{who}_linearity");
            notes.set_aside(Oddity::UnknownWord, place, &column, tag.unwrap_or_default(), problem);
            Linearity::Preserved
        }
    };
    Message { content: text.to_owned(), mentions: None, linearity }
}

/// A JSON list that is kept as it is; `None` for none and for an empty one.
fn read_list(notes: &mut Notes<'_>, place: &Place, column: &str, text: Option<&str>) -> Option<Json> {
    let text = text.filter(|text| !matches!(text.trim(), "" | "[]" | "null"))?;
    match Json::parse("list", text) {
        Ok(json) if json.as_str().starts_with('[') => Some(json),
        Ok(_) => {
            notes.set_aside(Oddity::BadJson, place, column, text, "not a JSON list");
            None
        }
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, column, text, problem.to_string());
            None
        }
    }
}

/// The tools that a turn used: objects as the in-memory router writes them, or names alone.
fn read_tools(notes: &mut Notes<'_>, place: &Place, text: Option<&str>) -> Vec<Item> {
    const COLUMN: &str = "tools_json";
    let Some(text) = text.filter(|text| !matches!(text.trim(), "" | "[]" | "null")) else {
        return Vec::new();
    };
    let (repaired, repairs) = repair(text);
    let values: Vec<Value> = match serde_json::from_str(&repaired) {
        Ok(values) => values,
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string());
            return Vec::new();
        }
    };
    let mut is_whole = repairs.is_nothing();
    let tools = values.into_iter().map(|value| read_tool(value, &mut is_whole)).collect();
    if !is_whole {
        let problem = "it holds more than name, input, output, success and duration_ms, or other types";
        notes.set_aside(Oddity::UnknownField, place, COLUMN, text, problem);
    }
    tools
}

fn read_tool(value: Value, is_whole: &mut bool) -> Item {
    let tool = |name: String| ToolUse::new("", name, Json::empty_object());
    match value {
        Value::String(name) => Item::Tool(tool(name)),
        Value::Object(mut object) => {
            let Some(Value::String(name)) = object.swap_remove("name") else {
                *is_whole = false;
                return Item::Other(Json::from_value(&Value::Object(object)));
            };
            let mut tool = tool(name);
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("call_id", Value::String(id)) => tool.call_id = id,
                    ("input", value) => tool.input = Json::from_value(&value),
                    ("output", value) => tool.output = Json::from_value(&value),
                    ("success", Value::Bool(success)) => tool.success = success,
                    ("duration_ms", Value::Number(number)) => match number.as_f64() {
                        Some(millis) if millis.is_finite() => tool.duration_ms = millis,
                        _ => *is_whole = false,
                    },
                    ("duration_ms" | "call_id" | "success", Value::Null) => {}
                    _ => *is_whole = false,
                }
            }
            Item::Tool(tool)
        }
        other => {
            *is_whole = false;
            Item::Other(Json::from_value(&other))
        }
    }
}
