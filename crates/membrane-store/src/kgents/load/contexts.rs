//! The turns that a checkpoint's `context_json` holds in full: kgents' working context.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::notes::Notes;
use crate::kgents::extras::{CheckpointExtras, TurnExtras};
use crate::kgents::json;
use crate::kgents::old::{OldCheckpoint, OldTurn};
use crate::kgents::report::Oddity;

/// What a checkpoint holds.
#[derive(Debug, Default)]
pub(super) struct OldContext {
    /// Its turns, if it names any.
    pub(super) turns: Option<Vec<OldTurn>>,
    /// What Membrane wrote into it.
    pub(super) extras: Option<CheckpointExtras>,
}

/// Keys of a working context that are its turns, follow from them, or are settings of the process that wrote it.
const KNOWN: [&str; 8] = [
    "id",
    "turns",
    "context_window",
    "compress_at",
    "resume_at",
    "token_count",
    "context_usage",
    "is_compressing",
];

/// Reads a checkpoint's context. What has no place in turns is kept aside.
pub(super) fn read(notes: &mut Notes<'_>, old: &OldCheckpoint) -> OldContext {
    const COLUMN: &str = "context_json";
    let place = &old.place;
    let Some(text) = old.context_json.as_deref().filter(|text| !matches!(text.trim(), "" | "{}" | "null"))
    else {
        return OldContext::default();
    };
    if let Some(ours) = read_ours(old, text) {
        return ours;
    }
    let (mut object, repairs) = match json::parse_object(text) {
        Ok(parsed) => parsed,
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string());
            return OldContext::default();
        }
    };
    let extras = match CheckpointExtras::decode(text) {
        Ok(extras) => extras,
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string());
            None
        }
    };
    let is_ours = extras.is_some();
    let mut is_whole = repairs.is_nothing();
    let turns = match object.swap_remove("turns") {
        Some(Value::Array(turns)) => {
            let mut read = |(index, value)| read_turn(old, index, value, is_ours, &mut is_whole);
            let all: Vec<Option<OldTurn>> = turns.into_iter().enumerate().map(&mut read).collect();
            Some(all.into_iter().flatten().collect())
        }
        None | Some(Value::Null) => None,
        Some(_) => {
            is_whole = false;
            None
        }
    };
    is_whole &= object.iter().all(|(key, value)| {
        KNOWN.contains(&key.as_str()) || key == crate::kgents::extras::KEY || is_nothing(value)
    });
    if !is_whole {
        let problem = "its turns are read; it holds more, for which there is no place";
        notes.set_aside(Oddity::UnknownField, place, COLUMN, text, problem);
    }
    OldContext { turns, extras }
}

/// A context as Membrane writes it. Extras of turns stay as they are: they may hold numbers and texts that a parsed
/// value cannot.
#[derive(Deserialize)]
struct OurContext {
    turns: Vec<OurTurn>,
}

#[derive(Deserialize)]
struct OurTurn {
    user_message: String,
    assistant_response: String,
    linearity_tag: String,
    started_at: String,
    completed_at: String,
    metadata: Box<RawValue>,
}

/// What Membrane wrote, if all of it is as Membrane writes it.
fn read_ours(old: &OldCheckpoint, text: &str) -> Option<OldContext> {
    let extras = CheckpointExtras::decode(text).ok()??;
    let context: OurContext = serde_json::from_str(text).ok()?;
    let turn = |(index, turn): (usize, OurTurn)| {
        TurnExtras::decode(turn.metadata.get()).ok()??;
        let mut place = old.place.clone();
        place.row = format!("{}, turn {index} of context_json", place.row);
        Some(OldTurn {
            place,
            user_message: turn.user_message,
            assistant_response: turn.assistant_response,
            user_linearity: Some(turn.linearity_tag.clone()),
            assistant_linearity: Some(turn.linearity_tag),
            started_at: Some(turn.started_at),
            completed_at: Some(turn.completed_at),
            evidence_delta_json: Some(turn.metadata.get().to_owned()),
            ..OldTurn::default()
        })
    };
    let turns = context.turns.into_iter().enumerate().map(turn).collect::<Option<_>>()?;
    Some(OldContext { turns: Some(turns), extras: Some(extras) })
}

/// A turn; `None` if the value is none at all, of which the whole text is kept.
fn read_turn(
    old: &OldCheckpoint,
    index: usize,
    value: Value,
    is_ours: bool,
    is_whole: &mut bool,
) -> Option<OldTurn> {
    let Value::Object(mut fields) = value else {
        *is_whole = false;
        return None;
    };
    let mut place = old.place.clone();
    place.row = format!("{}, turn {index} of context_json", place.row);
    let metadata = match fields.swap_remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => Map::new(),
        Some(_) => {
            *is_whole = false;
            Map::new()
        }
    };
    let metadata_text = Value::Object(metadata.clone()).to_string();
    let has_extras = is_ours && matches!(TurnExtras::decode(&metadata_text), Ok(Some(_)));
    *is_whole &= has_extras || metadata.is_empty();
    let mut text = |key: &str, is_whole: &mut bool| match fields.swap_remove(key) {
        Some(Value::String(text)) => Some(text),
        None | Some(Value::Null) => None,
        Some(other) => {
            *is_whole = false;
            Some(other.to_string())
        }
    };
    let tag = text("linearity_tag", is_whole);
    let turn = OldTurn {
        place,
        id: text("id", is_whole).filter(|id| !id.is_empty()),
        turn_number: None,
        user_message: text("user_message", is_whole).unwrap_or_default(),
        assistant_response: text("assistant_response", is_whole).unwrap_or_default(),
        user_linearity: tag.clone(),
        assistant_linearity: tag,
        started_at: text("started_at", is_whole),
        completed_at: text("completed_at", is_whole),
        tools_json: fields.get("tools_used").filter(|tools| !is_nothing(tools)).map(Value::to_string),
        evidence_delta_json: has_extras.then_some(metadata_text),
        ..OldTurn::default()
    };
    // What is left is of no interest as long as it says nothing: a place in the context, no summary's sources.
    *is_whole &= fields.into_iter().all(|(key, value)| match key.as_str() {
        "turn_number" | "tools_used" => true,
        "in_context" => value == Value::Bool(true),
        "trailing" => value == Value::Bool(false),
        _ => is_nothing(&value),
    });
    Some(turn)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(_) | Value::String(_) => false,
    }
}
