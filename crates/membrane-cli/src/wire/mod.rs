//! JSON as clients of the HTTP interface know it: the same keys, every one always there. What is raw
//! JSON in the keep comes out unchanged.

use membrane::core::evidence::Evidence;
use membrane::core::run::{Piece, PieceBody, Run};
use membrane::store::codec;
use membrane::{BranchNode, Checkpoint, Json, KeptTurn, Session, SessionDiff, SessionId, SessionPage};
use serde::Serialize;
use serde::ser::Error;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::failure::Failure;

mod turn;

pub(crate) use turn::{SignalView, TurnView, signals, turn};

/// A JSON text in its place.
pub(crate) struct Raw<'a>(pub(crate) &'a Json);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(self.0.as_str()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// An evidence object.
pub(crate) struct EvidenceView<'a>(pub(crate) &'a Session);

impl Serialize for EvidenceView<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let session = self.0;
        let text = codec::evidence_json(
            &session.id,
            &session.created_at.to_string(),
            session.last_active,
            &session.evidence(),
            session.turn_count(),
        );
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags that clients know by these keys")]
pub(crate) struct SessionView<'a> {
    id: &'a str,
    project_id: Option<&'a str>,
    title: Option<&'a str>,
    tags: &'a [String],
    pinned: bool,
    archived: bool,
    trailing: bool,
    metadata: Raw<'a>,
    branch_name: &'a str,
    parent_id: Option<&'a str>,
    fork_point: Option<u64>,
    is_merged: bool,
    merged_into: Option<&'a str>,
    version: u64,
    turn_count: u64,
    context_size: i64,
    state: &'static str,
    pending: Option<Value>,
    created_at: String,
    last_active: String,
    evidence: EvidenceView<'a>,
}

/// A session without its turns.
pub(crate) fn session(session: &Session, pending: Option<Value>) -> SessionView<'_> {
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
        created_at: session.created_at.to_string(),
        last_active: session.last_active.to_string(),
        evidence: EvidenceView(session),
    }
}

/// The unfinished turn of a session.
pub(crate) fn pending(session: &Session, run: &Run, pieces: &[Piece]) -> Value {
    let text = |piece: &Piece| match &piece.body {
        PieceBody::Text(text) => Some(text.clone()),
        PieceBody::Reasoning(_) | PieceBody::Tool(_) => None,
    };
    json!({
        "turn_number": session.turn_count(),
        "user_message": run.user.content,
        "partial": pieces.iter().filter_map(text).collect::<String>(),
        "started_at": run.started_at.to_string(),
    })
}

/// A session with some of its turns.
#[derive(Serialize)]
pub(crate) struct WholeSession<'a> {
    #[serde(flatten)]
    pub(crate) session: SessionView<'a>,
    /// Whether there are turns that are not shown.
    pub(crate) turns_truncated: bool,
    pub(crate) turns: Vec<TurnView<'a>>,
}

#[derive(Serialize)]
pub(crate) struct PageView<'a> {
    sessions: Vec<SessionView<'a>>,
    total: u64,
    limit: u32,
    offset: u64,
    next_cursor: Option<String>,
}

/// A page of sessions.
pub(crate) fn page(page: &SessionPage, limit: u32) -> PageView<'_> {
    PageView {
        sessions: page.sessions.iter().map(|one| session(one, None)).collect(),
        total: page.total,
        limit,
        offset: 0,
        next_cursor: page.next.as_ref().map(membrane::Cursor::encode),
    }
}

/// A checkpoint that was just made, with what it holds.
pub(crate) fn made_checkpoint(left: &Checkpoint, session: &Session, last: Option<&KeptTurn>) -> Value {
    let evidence = match last {
        Some(kept) => Evidence::derive(kept.totals, kept.flipped, session.legacy),
        None => Evidence::derive(membrane::core::turn::Totals::ZERO, 0, session.legacy),
    };
    let mut value = checkpoint(left);
    value["checkpoint_id"] = json!(left.id.as_str());
    value["session_id"] = json!(left.session.as_str());
    value["context_size"] = json!(last.map_or(0, |kept| kept.totals.tokens));
    value["branch_name"] = json!(session.branch_name);
    value["evidence_snapshot"] = json!({
        "confidence": evidence.confidence(),
        "tools_succeeded": evidence.tools_succeeded,
        "tools_failed": evidence.tools_failed,
    });
    value
}

/// A checkpoint in a list.
pub(crate) fn checkpoint(left: &Checkpoint) -> Value {
    json!({
        "id": left.id.as_str(),
        "name": left.name,
        "kind": left.kind.as_str(),
        "turn_count": left.cut.turn_count,
        "created_at": left.created_at.to_string(),
    })
}

#[derive(Serialize)]
pub(crate) struct DiffView<'a> {
    common: u64,
    only_left: Vec<TurnView<'a>>,
    only_right: Vec<TurnView<'a>>,
    turn_count: Value,
    content_hash_same: bool,
    evidence_equivalent: bool,
    evidence: Sides<'a>,
}

#[derive(Serialize)]
struct Sides<'a> {
    left: EvidenceView<'a>,
    right: EvidenceView<'a>,
}

/// Two sessions side by side; `turn_count.diff` is how many more turns the right one has.
pub(crate) fn diff(found: &SessionDiff) -> DiffView<'_> {
    let (left, right) = (found.left.turn_count(), found.right.turn_count());
    DiffView {
        common: found.common,
        only_left: found.only_left.iter().map(|kept| turn(&found.left, kept)).collect(),
        only_right: found.only_right.iter().map(|kept| turn(&found.right, kept)).collect(),
        turn_count: json!({"left": left, "right": right, "diff": i128::from(right) - i128::from(left)}),
        content_hash_same: found.content_hash_same,
        evidence_equivalent: found.evidence_equivalent,
        evidence: Sides { left: EvidenceView(&found.left), right: EvidenceView(&found.right) },
    }
}

/// A node of the tree; a deleted one has its place and no content.
pub(crate) fn branch(node: &BranchNode, active: &SessionId) -> Value {
    let parent = node.parent_id().map(SessionId::as_str);
    match node {
        BranchNode::Live(session) => json!({
            "id": session.id.as_str(),
            "parent_id": parent,
            "fork_point": session.fork_point.unwrap_or(0),
            "branch_name": session.branch_name,
            "turn_count": session.turn_count(),
            "created_at": session.created_at.to_string(),
            "last_active": session.last_active.to_string(),
            "is_merged": session.is_merged,
            "merged_into": session.merged_into.as_ref().map(SessionId::as_str),
            "is_active": session.id == *active,
            "deleted": false,
        }),
        BranchNode::Deleted(tombstone) => json!({
            "id": tombstone.id.as_str(),
            "parent_id": parent,
            "fork_point": tombstone.fork_point.unwrap_or(0),
            "branch_name": null,
            "turn_count": null,
            "created_at": null,
            "last_active": null,
            "is_merged": false,
            "merged_into": null,
            "is_active": false,
            "deleted": true,
        }),
    }
}

/// A session that returned to a checkpoint.
#[derive(Serialize)]
pub(crate) struct RestoredView<'a> {
    pub(crate) session: SessionView<'a>,
    pub(crate) missing: u64,
}

/// A turn's signals after one more.
#[derive(Serialize)]
pub(crate) struct FeedbackView<'a> {
    pub(crate) turn_number: u64,
    pub(crate) signals: Vec<SignalView<'a>>,
    pub(crate) evidence: EvidenceView<'a>,
}

/// An error.
pub(crate) fn failure(failure: &Failure) -> Value {
    json!({"detail": failure.to_string(), "code": failure.code()})
}
