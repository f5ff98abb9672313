//! Forks, rewinds and the tree of a family. Merging and comparing are in `merge.rs` and `diff.rs`.

use std::collections::BTreeMap;

use membrane_core::branches::{BranchNode, Tombstone, breadth_first};
use membrane_core::checkpoint::CheckpointKind;
use membrane_core::error::ValueError;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_core::session::{NewSession, Session};
use membrane_core::state::Action;
use membrane_store::change::{Leave, Origin};
use membrane_store::{Change, IdempotencyKey, Requirement, Write};

use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope, WriteOptions};
use crate::sessions::made_session;

/// How to fork; the default takes all turns along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForkOptions {
    /// How many of the first turns the fork holds: 0 for none, `None` for all.
    pub fork_point: Option<i64>,
    /// What the fork is called; `None` for `branch-<n>`, n being how many sessions the family had.
    pub branch_name: Option<String>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

impl Chat {
    /// Makes a new session that holds the first turns of another: the same turns, not copies. Project,
    /// title, tags and metadata go along; checkpoints and the crystal stay. Costs the same whatever the
    /// session's length.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: the fork point is negative or beyond the end.
    /// - [`ChatError::TooLarge`]: the branch name is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the session keeps changing.
    pub async fn fork(&self, id: &SessionId, options: ForkOptions) -> Result<Session, ChatError> {
        self.limits().check_optional_name("branch name", options.branch_name.as_deref())?;
        let scope = Scope::new("fork", Some(id), options.key.clone())?;
        let new_id = SessionId::generate(self.ids());
        let key = scope.as_ref().map(|scope| scope.with(new_id.as_str()));
        let decide = |attempt| self.decide_fork(attempt, id, &new_id, &options, key.as_ref());
        let receipt = self.commit_decided(scope.as_ref(), decide).await?;
        self.get_session(&made_session(&receipt, new_id)).await
    }

    async fn decide_fork(
        &self,
        attempt: Attempt,
        id: &SessionId,
        new_id: &SessionId,
        options: &ForkOptions,
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let parent = self.get_session(id).await?;
        let fork_point = parent.resolve_fork_point(options.fork_point)?;
        let branch_name = match &options.branch_name {
            Some(name) => name.clone(),
            None => format!("branch-{}", self.store().list_family(&parent.family).await?.len()),
        };
        let cut = Cut { turn_count: fork_point, ..parent.cut };
        let session = NewSession {
            id: new_id.clone(),
            family: parent.family,
            project_id: parent.project_id,
            parent_id: Some(parent.id),
            fork_point: Some(fork_point),
            branch_name,
            title: parent.title,
            tags: parent.tags,
            metadata: parent.metadata,
        };
        let change = Change::at(attempt.now)
            .once(key.cloned())
            .require(Requirement::Allows { session: id.clone(), action: Action::Fork })
            .require(Requirement::Sees { session: id.clone(), cut })
            .write(Write::CreateSession { session, origin: Origin::Cut(cut), created_at: None });
        Ok(Decision::Commit(change))
    }

    /// Takes exactly `turns` turns, at least 1, off the session's end, together with their evidence,
    /// and leaves an automatic checkpoint with which it can be undone. Costs the same whatever the
    /// session's length.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Conflict`]: it is not at the expected version.
    /// - [`ChatError::Refused`]: there are fewer turns, or a turn is under way.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the session keeps changing.
    pub async fn rewind(
        &self,
        id: &SessionId,
        turns: u64,
        options: WriteOptions,
    ) -> Result<Session, ChatError> {
        if turns == 0 {
            return Err(ValueError::Unknown {
                what: "number of turns to take off",
                value: "0".to_owned(),
                allowed: "1 up to as many as the session has",
            }
            .into());
        }
        let scope = Scope::new("rewind", Some(id), options.key)?;
        let key = scope.as_ref().map(|scope| scope.with(""));
        let decide = |attempt| self.decide_rewind(attempt, id, turns, options.expected_version, key.as_ref());
        self.commit_decided(scope.as_ref(), decide).await?;
        self.runs().forget_ended_of(id);
        self.get_session(id).await
    }

    async fn decide_rewind(
        &self,
        attempt: Attempt,
        id: &SessionId,
        turns: u64,
        expected_version: Option<u64>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let session = self.get_session(id).await?;
        let actual = session.version;
        if let Some(expected) = expected_version.filter(|expected| *expected != actual) {
            return Err(ChatError::Conflict { session: id.clone(), expected, actual });
        }
        session.state.require(id, Action::Rewind)?;
        let turn_count = session.resolve_rewind(turns)?;
        // How many turns are left was decided on this very version: an append in between counts.
        let change = Change::at(attempt.now)
            .once(key.cloned())
            .require(Requirement::Version { session: id.clone(), version: actual })
            .require(Requirement::Allows { session: id.clone(), action: Action::Rewind })
            .write(Write::MoveSession {
                session: id.clone(),
                to: Cut { turn_count, ..session.cut },
                leave: Leave::automatic(CheckpointId::generate(self.ids()), CheckpointKind::Rewind),
            });
        Ok(Decision::Commit(change))
    }

    /// The tree of the family that the session belongs to: breadth-first from its root, siblings by
    /// age. A deleted ancestor shows as a node without content, so that the tree holds together.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session.
    pub async fn branches(&self, id: &SessionId) -> Result<Vec<BranchNode>, ChatError> {
        let session = self.get_session(id).await?;
        let mut nodes = self.store().list_family(&session.family).await?;
        let missing = missing_parents(&nodes);
        for tombstone in missing.into_values() {
            // A parent may also live in another family: an old file may say so.
            nodes.push(match self.store().find_session(&tombstone.id).await? {
                Some(parent) => BranchNode::Live(Box::new(parent)),
                None => BranchNode::Deleted(tombstone),
            });
        }
        Ok(breadth_first(nodes))
    }
}

/// Parents that are not among the nodes. Nothing is known of one but that it was there when its first
/// child was made: that is its `deleted_at`.
fn missing_parents(nodes: &[BranchNode]) -> BTreeMap<SessionId, Tombstone> {
    let known: std::collections::HashSet<&SessionId> = nodes.iter().map(BranchNode::id).collect();
    let mut missing: BTreeMap<SessionId, Tombstone> = BTreeMap::new();
    for node in nodes {
        let Some(parent) = node.parent_id().filter(|parent| !known.contains(parent)) else { continue };
        let (family, seen_at) = match node {
            BranchNode::Live(session) => (&session.family, session.created_at),
            BranchNode::Deleted(tombstone) => (&tombstone.family, tombstone.deleted_at),
        };
        let tombstone = missing.entry(parent.clone()).or_insert_with(|| Tombstone {
            id: parent.clone(),
            family: family.clone(),
            parent_id: None,
            fork_point: None,
            deleted_at: seen_at,
        });
        tombstone.deleted_at = tombstone.deleted_at.min(seen_at);
    }
    missing
}
