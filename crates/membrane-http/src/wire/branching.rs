//! Branches, checkpoints and differences.

use membrane::core::evidence::Standing;
use membrane::{Alternative, BranchNode, Checkpoint, KeptTurn, Session, SessionDiff, SessionId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EvidenceSchema, EvidenceView, Shown, TurnView, turn};

/// A checkpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub struct CheckpointView<'a> {
    id: &'a str,
    #[schema(required)]
    name: Option<&'a str>,
    /// `named`, or `rewind` or `restore` for one that was left automatically.
    kind: &'static str,
    turn_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown<Timestamp>,
}

/// A session's checkpoints, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointList<'a> {
    /// The checkpoints.
    pub checkpoints: Vec<CheckpointView<'a>>,
}

/// A checkpoint that was just made, with what it holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointMade<'a> {
    #[serde(flatten)]
    checkpoint: CheckpointView<'a>,
    checkpoint_id: &'a str,
    session_id: &'a str,
    context_size: i64,
    branch_name: &'a str,
    evidence_snapshot: EvidenceSnapshot,
}

#[derive(Debug, Serialize, ToSchema)]
struct EvidenceSnapshot {
    confidence: f64,
    tools_succeeded: i64,
    tools_failed: i64,
}

/// A checkpoint in a list.
pub fn checkpoint(left: &Checkpoint) -> CheckpointView<'_> {
    CheckpointView {
        id: left.id.as_str(),
        name: left.name.as_deref(),
        kind: left.kind.as_str(),
        turn_count: left.cut.turn_count,
        created_at: Shown(left.created_at),
    }
}

/// A checkpoint that was just made: of its session, and with the last turn that it holds.
pub fn made_checkpoint<'a>(
    left: &'a Checkpoint,
    session: &'a Session,
    last: Option<&KeptTurn>,
) -> CheckpointMade<'a> {
    let standing = last.map_or(Standing { legacy: session.legacy, ..Standing::default() }, |kept| Standing {
        totals: kept.totals,
        flipped: kept.flipped,
        legacy: session.legacy,
    });
    let evidence = standing.evidence();
    CheckpointMade {
        checkpoint: checkpoint(left),
        checkpoint_id: left.id.as_str(),
        session_id: left.session.as_str(),
        context_size: standing.totals.tokens,
        branch_name: &session.branch_name,
        evidence_snapshot: EvidenceSnapshot {
            confidence: evidence.confidence(),
            tools_succeeded: evidence.tools_succeeded,
            tools_failed: evidence.tools_failed,
        },
    }
}

/// Two sessions side by side.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diff)]
pub struct DiffView<'a> {
    /// How many turns both hold.
    common: u64,
    only_left: Vec<TurnView<'a>>,
    only_right: Vec<TurnView<'a>>,
    turn_count: Counts,
    content_hash_same: bool,
    evidence_equivalent: bool,
    evidence: Sides<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiffCounts)]
struct Counts {
    left: u64,
    right: u64,
    /// How many more the right one has.
    diff: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiffEvidence)]
struct Sides<'a> {
    #[schema(value_type = EvidenceSchema)]
    left: EvidenceView<'a>,
    #[schema(value_type = EvidenceSchema)]
    right: EvidenceView<'a>,
}

/// Two sessions side by side.
pub fn diff(found: &SessionDiff) -> DiffView<'_> {
    let (left, right) = (found.left.turn_count(), found.right.turn_count());
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    DiffView {
        common: found.common,
        only_left: found.only_left.iter().map(|kept| turn(&found.left, kept)).collect(),
        only_right: found.only_right.iter().map(|kept| turn(&found.right, kept)).collect(),
        turn_count: Counts { left, right, diff: signed(right) - signed(left) },
        content_hash_same: found.content_hash_same,
        evidence_equivalent: found.evidence_equivalent,
        evidence: Sides { left: EvidenceView(&found.left), right: EvidenceView(&found.right) },
    }
}

/// A node of a family's tree; a deleted one has its place and no content.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Branch)]
pub struct BranchView<'a> {
    id: &'a str,
    #[schema(required)]
    parent_id: Option<&'a str>,
    /// 0 where there is none.
    fork_point: u64,
    #[schema(required)]
    branch_name: Option<&'a str>,
    #[schema(required)]
    turn_count: Option<u64>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    created_at: Option<Shown<Timestamp>>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_active: Option<Shown<Timestamp>>,
    is_merged: bool,
    #[schema(required)]
    merged_into: Option<&'a str>,
    /// Whether it is the session that was asked for.
    is_active: bool,
    deleted: bool,
}

/// The tree of a family, breadth-first from its root.
#[derive(Debug, Serialize, ToSchema)]
pub struct BranchTree<'a> {
    /// The nodes.
    pub branches: Vec<BranchView<'a>>,
}

/// A node of the tree that `active` was asked for.
pub fn branch<'a>(node: &'a BranchNode, active: &SessionId) -> BranchView<'a> {
    let place = BranchView {
        id: node.id().as_str(),
        parent_id: node.parent_id().map(SessionId::as_str),
        fork_point: 0,
        branch_name: None,
        turn_count: None,
        created_at: None,
        last_active: None,
        is_merged: false,
        merged_into: None,
        is_active: node.id() == active,
        deleted: true,
    };
    match node {
        BranchNode::Deleted(tombstone) => {
            BranchView { fork_point: tombstone.fork_point.unwrap_or(0), ..place }
        }
        BranchNode::Live(session) => BranchView {
            fork_point: session.fork_point.unwrap_or(0),
            branch_name: Some(&session.branch_name),
            turn_count: Some(session.turn_count()),
            created_at: Some(Shown(session.created_at)),
            last_active: Some(Shown(session.last_active)),
            is_merged: session.is_merged,
            merged_into: session.merged_into.as_ref().map(SessionId::as_str),
            deleted: false,
            ..place
        },
    }
}

/// The turns that stand at a point.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlternativeList<'a> {
    /// The one that was asked for first, then those of other sessions, oldest session first.
    alternatives: Vec<AlternativeView<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alternative)]
struct AlternativeView<'a> {
    /// A session that holds the turn.
    session_id: &'a str,
    turn_number: u64,
    turn: TurnView<'a>,
}

/// The turns that stand at a point.
pub fn alternatives(found: &[Alternative]) -> AlternativeList<'_> {
    let alternatives = found.iter().map(|Alternative { session, kept }| AlternativeView {
        session_id: session.id.as_str(),
        turn_number: kept.number,
        turn: super::turn(session, kept),
    });
    AlternativeList { alternatives: alternatives.collect() }
}
