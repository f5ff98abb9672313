//! The floor's JSON: the keys of Membrane's, from plain structs. What the floor does not keep is written as it
//! stands in a plain session whose turns all went well.

use serde::Serialize;

use super::keep::Loaded;
use crate::floor::FloorTurn;

/// A list that is always empty.
const NOTHING: [(); 0] = [];

#[derive(Serialize)]
struct Nothing {}

/// A frame with the answer so far.
#[derive(Serialize)]
pub(super) struct Content<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    content: &'a str,
}

/// The last frame.
#[derive(Serialize)]
pub(super) struct Done<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    turn_count: i64,
    turn: TurnView<'a>,
}

/// A session with its turns.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the keys that clients know")]
pub(super) struct Session<'a> {
    id: &'a str,
    project_id: Option<&'a str>,
    title: Option<&'a str>,
    tags: [(); 0],
    pinned: bool,
    archived: bool,
    trailing: bool,
    metadata: Nothing,
    branch_name: &'a str,
    parent_id: Option<&'a str>,
    fork_point: Option<u64>,
    is_merged: bool,
    merged_into: Option<&'a str>,
    version: i64,
    turn_count: i64,
    context_size: i64,
    state: &'a str,
    pending: Option<()>,
    created_at: &'a str,
    last_active: &'a str,
    evidence: Evidence<'a>,
    turns_truncated: bool,
    turns: Vec<TurnView<'a>>,
}

#[derive(Serialize)]
struct Evidence<'a> {
    id: &'static str,
    prior_alpha: i64,
    prior_beta: i64,
    confidence: f64,
    should_stop: bool,
    tools_succeeded: i64,
    tools_failed: i64,
    ashc_equivalence: Option<f64>,
    created_at: &'a str,
    updated_at: &'a str,
    metadata: Nothing,
}

#[derive(Serialize)]
struct TurnView<'a> {
    id: String,
    turn_number: i64,
    status: &'static str,
    user_message: Message<'a>,
    assistant_response: Message<'a>,
    tools_used: [(); 0],
    portal_emissions: [(); 0],
    evidence_delta: Delta,
    confidence: f64,
    signals: [(); 0],
    model: Option<&'static str>,
    usage: Option<()>,
    finish_reason: Option<&'static str>,
    reasoning: Option<()>,
    error: Option<()>,
    started_at: &'a str,
    completed_at: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    mentions: [(); 0],
    linearity_tag: &'static str,
}

#[derive(Serialize)]
struct Delta {
    tools_executed: u32,
    tools_succeeded: u32,
    confidence_change: f64,
}

/// The answer so far.
pub(super) fn content(content: &str) -> Content<'_> {
    Content { kind: "content", content }
}

/// The end of an answer, as the echo's.
pub(super) fn done(turn_count: i64, answered: &FloorTurn) -> Done<'_> {
    let turn = TurnView { model: Some("echo"), finish_reason: Some("stop"), ..turn(answered) };
    Done { kind: "done", turn_count, turn }
}

/// A session with its turns.
pub(super) fn session(loaded: &Loaded) -> Session<'_> {
    let Loaded { id, project, branch, turn_count, last_active, state, turns } = loaded;
    Session {
        id,
        project_id: project.as_deref(),
        title: None,
        tags: NOTHING,
        pinned: false,
        archived: false,
        trailing: false,
        metadata: Nothing {},
        branch_name: branch,
        parent_id: None,
        fork_point: None,
        is_merged: false,
        merged_into: None,
        version: turn_count + 1,
        turn_count: *turn_count,
        context_size: turn_count * 350,
        state,
        pending: None,
        created_at: last_active,
        last_active,
        evidence: Evidence {
            id: "chat-evd-000000000000",
            prior_alpha: turn_count + 1,
            prior_beta: 1,
            confidence: confidence(*turn_count),
            should_stop: *turn_count > 2,
            tools_succeeded: *turn_count,
            tools_failed: 0,
            ashc_equivalence: None,
            created_at: last_active,
            updated_at: last_active,
            metadata: Nothing {},
        },
        turns_truncated: false,
        turns: turns.iter().map(turn).collect(),
    }
}

fn turn(turn: &FloorTurn) -> TurnView<'_> {
    let confidence_after = confidence(turn.number + 1);
    TurnView {
        id: format!("turn-{:032x}", turn.number),
        turn_number: turn.number,
        status: "complete",
        user_message: message("user", &turn.user),
        assistant_response: message("assistant", &turn.reply),
        tools_used: NOTHING,
        portal_emissions: NOTHING,
        evidence_delta: Delta {
            tools_executed: 0,
            tools_succeeded: 0,
            confidence_change: confidence_after - confidence(turn.number),
        },
        confidence: confidence_after,
        signals: NOTHING,
        model: None,
        usage: None,
        finish_reason: None,
        reasoning: None,
        error: None,
        started_at: &turn.started_at,
        completed_at: &turn.completed_at,
    }
}

fn message<'a>(role: &'static str, content: &'a str) -> Message<'a> {
    Message { role, content, mentions: NOTHING, linearity_tag: "preserved" }
}

/// After so many turns that went well.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn confidence(n_turns: i64) -> f64 {
    (n_turns + 1) as f64 / (n_turns + 2) as f64
}
