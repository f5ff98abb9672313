//! Sessions and turns of the router as the old objects that a source gives.

use serde_json::{Map, Value};

use crate::kgents::fields::{self, Fields};
use crate::kgents::old::{OldRow, OldSession, OldTurn, Place};
use crate::kgents::report::{Finding, Oddity};

/// How the counts call sessions and turns.
pub(super) const SESSIONS: &str = "sessions";
pub(super) const TURNS: &str = "turns";

/// An old object, and what has no place in it.
pub(super) type Read<T> = (T, Vec<(OldRow, Finding)>);

/// A session; its turns were taken out before.
pub(super) fn session(
    id: &str,
    object: Map<String, Value>,
    original: Option<Original<'_>>,
) -> Read<OldSession> {
    let place = Place { table: SESSIONS, row: row_of(id) };
    let mut found = Fields::new(place.clone(), Some(id.to_owned()), object);
    if let Some(original) = original {
        found.note_repairs("text", original.text, original.repairs);
    }
    // The one is the key, the other counts characters, which follow from the turns.
    found.ignore(&["id", "context_size"]);
    let session = OldSession {
        place,
        id: id.to_owned(),
        project_id: found.text("project_id"),
        parent_id: found.text("parent_id"),
        fork_point: found.integer("fork_point"),
        branch_name: found.text("branch_name"),
        state: found.text("state"),
        turn_count: found.integer("turn_count"),
        evidence_json: found.json_value("evidence"),
        metadata_json: found.json_value("metadata"),
        is_merged: found.flag("is_merged"),
        merged_into: found.text("merged_into"),
        created_at: found.text("created_at"),
        last_active: found.text("last_active"),
    };
    (session, found.finish())
}

/// The text of a session in which something had to be replaced.
#[derive(Clone, Copy)]
pub(super) struct Original<'t> {
    pub(super) text: &'t str,
    pub(super) repairs: crate::kgents::json::Repairs,
}

/// How a session is called as a row.
pub(super) fn row_of(id: &str) -> String {
    format!("id {id:?}")
}

/// How a turn is called as a row: by its place in its session, counted from 0.
pub(super) fn row_of_turn(session: &str, at: usize) -> String {
    format!("session {session:?}, turn {at}")
}

/// A turn. The router counts them from 1; `base` is the number of the first one.
pub(super) fn turn(session: &str, at: usize, base: i64, object: Map<String, Value>) -> Read<OldTurn> {
    let place = Place { table: TURNS, row: row_of_turn(session, at) };
    let mut found = Fields::new(place.clone(), Some(session.to_owned()), object);
    let mut parts = Vec::new();
    let user = message(&mut found, session, "user_message", "user", &mut parts);
    let reply = message(&mut found, session, "assistant_response", "assistant", &mut parts);
    let turn = OldTurn {
        place,
        id: found.text("id"),
        turn_number: found.integer("turn_number").map(|number| number.saturating_sub(base)),
        user_message: user.content,
        assistant_response: reply.content,
        user_linearity: user.linearity,
        assistant_linearity: reply.linearity,
        tools_json: list(&mut found, "tools_used"),
        evidence_delta_json: found.json_value("evidence_delta"),
        confidence: found.number("confidence"),
        started_at: found.text("started_at"),
        completed_at: found.text("completed_at"),
        user_mentions_json: user.mentions,
        assistant_mentions_json: reply.mentions,
        portal_emissions_json: list(&mut found, "portal_emissions"),
    };
    parts.append(&mut found.finish());
    (turn, parts)
}

#[derive(Default)]
struct Message {
    content: String,
    mentions: Option<String>,
    linearity: Option<String>,
}

/// A message: an object, or its text alone.
fn message(
    turn: &mut Fields,
    session: &str,
    name: &str,
    role: &str,
    parts: &mut Vec<(OldRow, Finding)>,
) -> Message {
    let object = match turn.take(name) {
        Some(Value::Object(object)) => object,
        Some(Value::String(content)) => return Message { content, ..Message::default() },
        other => {
            let text = other.unwrap_or(Value::Null).to_string();
            let what = format!("{name} is {}, not a message; read as empty", fields::shown(&text));
            turn.put_aside(name, &text, Oddity::WrongType, what);
            return Message::default();
        }
    };
    let mut found = Fields::new(turn.place().clone(), Some(session.to_owned()), object);
    let message = Message {
        content: found.words("content"),
        mentions: list(&mut found, "mentions"),
        linearity: found.text("linearity_tag"),
    };
    if let Some(other) = found.take("role").filter(|said| said != role) {
        let text = other.to_string();
        let what = format!("role is {}, where {role} belongs", fields::shown(&text));
        found.put_aside("role", &text, Oddity::UnknownWord, what);
    }
    for (mut part, mut finding) in found.finish() {
        let field = part.source.rsplit('.').next().unwrap_or_default().to_owned();
        part.source = format!("{TURNS}.{name}.{field}");
        finding.what = format!("in {name}, {}", finding.what);
        part.reason.clone_from(&finding.what);
        parts.push((part, finding));
    }
    message
}

/// The JSON of a list; nothing if it is empty.
fn list(found: &mut Fields, name: &str) -> Option<String> {
    found.json_value(name).filter(|text| text != "[]")
}
