//! Sessions: alone, with their turns, in a list.

use membrane::{Cursor, PendingTurn, Session, SessionId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CallView, EvidenceSchema, EvidenceView, Raw, Shown, SignalView, TurnView, call};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags that clients know by these keys")]
pub struct SessionView<'a> {
    id: &'a str,
    #[schema(required)]
    project_id: Option<&'a str>,
    #[schema(required)]
    title: Option<&'a str>,
    tags: &'a [String],
    pinned: bool,
    archived: bool,
    trailing: bool,
    #[schema(value_type = Object)]
    metadata: Raw<'a>,
    branch_name: &'a str,
    #[schema(required)]
    parent_id: Option<&'a str>,
    /// How many of the parent's turns it took along; null unless forked.
    #[schema(required)]
    fork_point: Option<u64>,
    is_merged: bool,
    #[schema(required)]
    merged_into: Option<&'a str>,
    /// Counts the changes of its record, from 1.
    version: u64,
    /// How many finished turns it has.
    turn_count: u64,
    /// An estimate of their tokens.
    context_size: i64,
    /// `idle`, `processing` or `awaiting_tool`.
    state: &'static str,
    /// The turn that is under way; it is not in `turns` or `turn_count`.
    #[schema(required)]
    pending: Option<PendingView<'a>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    last_active: Shown<Timestamp>,
    #[schema(value_type = EvidenceSchema)]
    evidence: EvidenceView<'a>,
}

/// A turn under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pending)]
pub struct PendingView<'a> {
    turn_number: u64,
    user_message: &'a str,
    /// What has arrived of the answer.
    partial: &'a str,
    /// The calls of tools for whose results it waits; left out while it waits for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    tool_calls: Vec<CallView<'a>>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Shown<Timestamp>,
}

/// What is under way on a session.
pub fn pending(pending: &PendingTurn) -> PendingView<'_> {
    PendingView {
        turn_number: pending.turn_number,
        user_message: &pending.user_message,
        partial: &pending.partial,
        tool_calls: pending.calls.iter().map(|open| call(&open.call, open.consent.as_ref())).collect(),
        started_at: Shown(pending.started_at),
    }
}

/// A session without its turns.
pub fn session<'a>(session: &'a Session, pending: Option<PendingView<'a>>) -> SessionView<'a> {
    SessionView {
        id: session.id.as_str(),
        project_id: session.project_id.as_deref(),
        title: session.title.as_deref(),
        tags: &session.tags,
        pinned: session.pinned,
        archived: session.archived,
        trailing: session.trailing,
        metadata: Raw(&session.metadata),
        branch_name: &session.branch_name,
        parent_id: session.parent_id.as_ref().map(SessionId::as_str),
        fork_point: session.fork_point,
        is_merged: session.is_merged,
        merged_into: session.merged_into.as_ref().map(SessionId::as_str),
        version: session.version,
        turn_count: session.turn_count(),
        context_size: session.totals.tokens,
        state: session.state.as_str(),
        pending,
        created_at: Shown(session.created_at),
        last_active: Shown(session.last_active),
        evidence: EvidenceView(session),
    }
}

/// A session with some of its turns.
#[derive(Debug, Serialize, ToSchema)]
pub struct WholeSession<'a> {
    #[serde(flatten)]
    /// The session.
    pub session: SessionView<'a>,
    /// Whether there are turns that are not shown: all but the newest 1,000, or all if none were asked for.
    pub turns_truncated: bool,
    /// In order; left out if none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Vec<TurnView<'a>>>,
}

/// A session that returned to a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoredView<'a> {
    #[serde(flatten)]
    /// The session as it is then.
    pub session: WholeSession<'a>,
    /// How many of the checkpoint's last turns are gone, because they belonged to a deleted session; left out if
    /// none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_turns: Option<u64>,
}

/// A page of sessions, without their turns.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionPage)]
pub struct PageView<'a> {
    sessions: Vec<SessionView<'a>>,
    /// How many the filters find in all.
    total: u64,
    limit: u32,
    offset: u64,
    /// To be given as `cursor` for what follows; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A page of sessions.
pub fn page<'a>(
    sessions: Vec<SessionView<'a>>,
    total: u64,
    (limit, offset): (u32, u64),
    next: Option<&Cursor>,
) -> PageView<'a> {
    PageView { sessions, total, limit, offset, next_cursor: next.map(Cursor::encode) }
}

/// A turn's signals after one more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Feedback)]
pub struct FeedbackView<'a> {
    /// The turn that they are of.
    pub turn_number: u64,
    /// Oldest first; the newest one counts.
    pub signals: Vec<SignalView<'a>>,
    /// The session's evidence then.
    #[schema(value_type = EvidenceSchema)]
    pub evidence: EvidenceView<'a>,
}
