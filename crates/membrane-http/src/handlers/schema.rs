//! What the OpenAPI document says of requests and refusals. Requests are read in `request/`, refusals made in
//! `error.rs`; a test compares what the server does with what stands here.

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// Why nothing was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// A sentence, or for a body or query of the wrong shape a list of what is wrong with each field.
    detail: RefusalDetail,
    /// A stable word for programs.
    code: String,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only says what the forms are")]
pub(crate) enum RefusalDetail {
    Text(String),
    Fields(Vec<WrongField>),
}

/// What is wrong with a field, as pydantic says it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WrongField {
    #[serde(rename = "type")]
    kind: String,
    /// Where it stands: `body` or `query`, then names and indexes.
    #[schema(value_type = Vec<serde_json::Value>)]
    loc: Vec<String>,
    msg: String,
    /// What was given.
    #[schema(value_type = serde_json::Value)]
    input: Option<String>,
    #[schema(value_type = Option<Object>)]
    ctx: Option<String>,
}

/// Refusals of a call that only reads.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only says what the answers are")]
pub(crate) enum ReadRefusals {
    /// A value cannot be accepted.
    #[response(status = 400)]
    InvalidArgument(Refusal),
    /// There is no such thing.
    #[response(status = 404)]
    NotFound(Refusal),
    /// The query has the wrong shape.
    #[response(status = 422)]
    InvalidQuery(Refusal),
    /// Too much is waiting; `Retry-After` says when to try again.
    #[response(status = 503)]
    Unavailable(Refusal),
}

/// Refusals of a call that writes.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only says what the answers are")]
pub(crate) enum WriteRefusals {
    /// A value cannot be accepted.
    #[response(status = 400)]
    InvalidArgument(Refusal),
    /// There is no such thing.
    #[response(status = 404)]
    NotFound(Refusal),
    /// The body stopped coming.
    #[response(status = 408)]
    Timeout(Refusal),
    /// `conflict`, `busy`, `wrong_state` or `key_reused`.
    #[response(status = 409)]
    Conflict(Refusal),
    /// A value or the body is over its limit.
    #[response(status = 413)]
    TooLarge(Refusal),
    /// The body or the query has the wrong shape.
    #[response(status = 422)]
    InvalidBody(Refusal),
    /// Too much is waiting; `Retry-After` says when to try again.
    #[response(status = 503)]
    Unavailable(Refusal),
    /// The disk is full. Nothing was changed.
    #[response(status = 507)]
    StorageFull(Refusal),
}

/// A new session; every field may be left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSession {
    project_id: Option<String>,
    /// `main` by default; may be empty, not null.
    #[schema(required = false)]
    branch_name: String,
    title: Option<String>,
    #[schema(required = false)]
    tags: Vec<String>,
    /// An object of the client's own. `model` and `tools` in it choose who answers, and what the model may call.
    #[schema(value_type = Option<Object>)]
    metadata: Option<String>,
}

/// What changes; what is left out stays.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionChange {
    /// Null removes it.
    title: Option<String>,
    #[schema(required = false)]
    tags: Vec<String>,
    #[schema(required = false)]
    pinned: bool,
    #[schema(required = false)]
    archived: bool,
    /// Null takes it out of its project.
    project_id: Option<String>,
    /// Replaces the object as a whole.
    #[schema(required = false, value_type = Object)]
    metadata: String,
}

/// What to say in place of a turn.
#[derive(Serialize, ToSchema)]
pub(crate) struct EditedTurn {
    /// May be empty; at most 4 MiB unless configured otherwise.
    message: String,
    /// What the new session is called; `edit-<n>` by default.
    branch_name: Option<String>,
}

/// How to have a message answered once more; the body may be left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegeneratedTurn {
    /// What the new session is called; `regenerate-<n>` by default.
    branch_name: Option<String>,
}

/// What came of a tool.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewToolResult {
    /// Any value, null by default; the model gets a text as it is, and anything else as JSON.
    #[schema(required = false, value_type = serde_json::Value)]
    output: String,
    /// True by default.
    #[schema(required = false)]
    success: bool,
    /// Why it did not work.
    error: Option<String>,
    /// How long it took; the time since the model called by default.
    #[schema(minimum = 0)]
    duration_ms: Option<f64>,
    /// Who hands it in; `user` by default.
    by: Option<String>,
}

/// What somebody says to a tool's use; the body may be left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewToolDecision {
    reason: Option<String>,
    /// Who; `user` by default.
    by: Option<String>,
}

/// What was said to a tool's use.
#[derive(Serialize, ToSchema)]
pub(crate) struct Decided {
    pub(crate) call_id: String,
    pub(crate) approved: bool,
}

/// A message.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewMessage {
    /// May be empty; at most 4 MiB unless configured otherwise.
    message: String,
}

/// A fork.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewFork {
    branch_name: String,
    /// How many of the first turns it takes along: 0 for none, null for all.
    fork_point: Option<i64>,
}

/// How many turns are taken off the end.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rewind {
    #[schema(minimum = 1)]
    turns: u64,
}

/// A merge.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewMerge {
    other_id: String,
    #[schema(required = false, inline)]
    strategy: Strategy,
    /// For `manual`: the turns to keep, in order.
    turns: Option<Vec<PickedTurn>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it only says what the words are")]
pub(crate) enum Strategy {
    Sequential,
    Interleave,
    Manual,
}

/// A turn of one of the two sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct PickedTurn {
    session_id: String,
    #[schema(minimum = 0)]
    turn_number: i64,
}

/// A checkpoint; the body may be left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewCheckpoint {
    name: Option<String>,
}

/// Where to return to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Restore {
    checkpoint_id: String,
}

/// What a user says of a turn.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewFeedback {
    turn_number: i64,
    #[schema(inline)]
    signal: SignalWord,
    comment: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it only says what the words are")]
pub(crate) enum SignalWord {
    Positive,
    Negative,
    Correction,
}

/// A crystal.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewCrystal {
    title: String,
    summary: String,
    #[schema(required = false)]
    key_decisions: Vec<String>,
    #[schema(required = false)]
    artifacts: Vec<String>,
}

/// The turn under way is being stopped.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cancelled {
    pub(crate) cancelled: bool,
}

/// Whether the server can do its work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    pub(crate) status: &'static str,
    pub(crate) version: &'static str,
}
