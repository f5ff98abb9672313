//! Old evidence: totals, and what turns did to them.

use serde_json::{Map, Value};

use super::notes::Notes;
use crate::kgents::extras::{SessionExtras, TurnExtras};
use crate::kgents::json;
use crate::kgents::old::Place;
use crate::kgents::report::Oddity;

/// An old session's total.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OldTotal {
    pub(super) alpha: f64,
    pub(super) beta: f64,
}

/// What an evidence object says.
#[derive(Debug, Default)]
pub(super) struct OldEvidence {
    /// The total, if there is one.
    pub(super) total: Option<OldTotal>,
    /// What Membrane wrote into it.
    pub(super) extras: Option<SessionExtras>,
}

/// Keys that are derived anew, or are about the object itself.
const DERIVED: [&str; 9] = [
    "id",
    "prior_alpha",
    "prior_beta",
    "confidence",
    "should_stop",
    "tools_succeeded",
    "tools_failed",
    "created_at",
    "updated_at",
];

/// Reads a session's `evidence_json`.
pub(super) fn read(notes: &mut Notes<'_>, place: &Place, text: Option<&str>) -> OldEvidence {
    const COLUMN: &str = "evidence_json";
    let Some(text) = text.filter(|text| !text.is_empty()) else { return OldEvidence::default() };
    let object = match json::parse_object(text) {
        Ok((object, _)) => object,
        Err(problem) => {
            notes.set_aside(Oddity::BadEvidence, place, COLUMN, text, problem.to_string());
            return OldEvidence::default();
        }
    };
    match SessionExtras::decode(text) {
        Ok(Some(extras)) => return OldEvidence { total: total(&object), extras: Some(extras) },
        Ok(None) => {}
        Err(problem) => notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string()),
    }
    let total = total(&object);
    let has_total = object.contains_key("prior_alpha") || object.contains_key("prior_beta");
    if total.is_none() && has_total {
        notes.set_aside(Oddity::BadEvidence, place, COLUMN, text, "its counts are not numbers");
    } else if total.as_ref().is_some_and(|total| total.alpha < 1.0 || total.beta < 1.0) {
        notes.set_aside(
            Oddity::BadEvidence,
            place,
            COLUMN,
            text,
            "less than the prior, Beta(1,1); read as that",
        );
    } else if object.iter().any(|(key, value)| !DERIVED.contains(&key.as_str()) && !is_empty(value)) {
        let problem = "it holds more than counts, for which there is no place";
        notes.set_aside(Oddity::UnknownField, place, COLUMN, text, problem);
    } else if total.is_some() && counts_tools(&object) {
        notes.keep(place, COLUMN, text, "its total counts; its numbers of tools cannot be told by turn");
    }
    OldEvidence { total, extras: None }
}

/// Whether it counts tools. A total says nothing of which turn used them, so they are answered as none.
fn counts_tools(object: &Map<String, Value>) -> bool {
    ["tools_succeeded", "tools_failed"]
        .iter()
        .any(|key| object.get(*key).is_some_and(|count| count.as_f64().is_none_or(|count| count.abs() > 0.0)))
}

/// As kgents does: a count that is not there is the prior's.
fn total(object: &Map<String, Value>) -> Option<OldTotal> {
    let count = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_f64().filter(|count| count.is_finite()).map(Some),
    };
    match (count("prior_alpha")?, count("prior_beta")?) {
        (None, None) => None,
        (alpha, beta) => Some(OldTotal { alpha: alpha.unwrap_or(1.0), beta: beta.unwrap_or(1.0) }),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What a turn's delta says.
#[derive(Debug, Default)]
pub(super) struct OldDelta {
    /// Whether no tool failed, if it says so.
    pub(super) succeeded: Option<bool>,
    /// Whether it holds more than counts and the change that they made.
    pub(super) has_more: bool,
    /// What Membrane wrote into it.
    pub(super) extras: Option<TurnExtras>,
}

/// Reads a turn's `evidence_delta_json`.
pub(super) fn read_delta(notes: &mut Notes<'_>, place: &Place, text: Option<&str>) -> OldDelta {
    const COLUMN: &str = "evidence_delta_json";
    let Some(text) = text.filter(|text| !text.is_empty() && *text != "null") else {
        return OldDelta::default();
    };
    // What Membrane wrote is read as it is: it may hold numbers and texts that a parsed value cannot.
    if let Ok(Some(extras)) = TurnExtras::decode(text) {
        return OldDelta { extras: Some(extras), ..OldDelta::default() };
    }
    let object = match json::parse_object(text) {
        Ok((object, _)) => object,
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string());
            return OldDelta::default();
        }
    };
    let count = |key: &str| object.get(key).and_then(Value::as_u64);
    let succeeded = count("tools_executed").zip(count("tools_succeeded")).map(|(all, good)| good >= all);
    let has_more = object
        .keys()
        .any(|key| !["tools_executed", "tools_succeeded", "confidence_change"].contains(&key.as_str()));
    match TurnExtras::decode(text) {
        Ok(extras) => OldDelta { succeeded, has_more, extras },
        Err(problem) => {
            notes.set_aside(Oddity::BadJson, place, COLUMN, text, problem.to_string());
            OldDelta { succeeded, has_more: false, extras: None }
        }
    }
}
